"""Expectations checked in a second process: it imports Great Expectations, which takes seconds, while a line begins."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ProjectError, one_line

LIBRARY = "great_expectations"


class Checked(NamedTuple):
    failures: list[str]  # a line for each expectation that failed
    notes: list[str]  # what is left out, for columns.sensitive
    texts: dict[str, str]  # files: the page, and all results as JSON


@functools.cache
def second_process() -> subprocess.Popen[str]:
    """The process, started when it is first asked for; it ends with this one. An interrupt does not reach it."""
    code = f"from {__name__} import answer_requests; answer_requests()"
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "encoding": "utf-8"}
    return subprocess.Popen([sys.executable, "-c", code], **pipes, start_new_session=True)


def answer_requests() -> None:
    """What the process does: it answers each request of `held_to` on stdin by a line on stdout."""
    from .expectations import answer

    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    for line in sys.stdin:
        try:
            answered = answer(**json.loads(line))
        except Exception as error:
            answered = {"refused": one_line(error)}
        print(json.dumps(answered), file=answers, flush=True)


def held_to(table: Path, expectations: list[dict[str, Any]], *, sensitive: Collection[str]) -> Checked:
    """What a Parquet file makes of `expectations`, without values of the columns `sensitive`.

    Raises ProjectError for an unknown type of expectation, and for a wrong argument.
    """
    checking = second_process()
    request = {"table": str(table), "expectations": expectations, "sensitive": [*sensitive]}
    with suppress(BrokenPipeError):
        print(json.dumps(request, default=str), file=checking.stdin, flush=True)
    line = checking.stdout.readline() if checking.stdout else ""
    if not line:
        second_process.cache_clear()
        raise ProjectError(f"the process that checks expectations ended, with code {checking.wait()}: is memory short?")
    answer = json.loads(line)
    if refused := answer.get("refused"):
        raise ProjectError(refused) from RuntimeError("in the other process")  # what a library says may name values
    return Checked(**answer)

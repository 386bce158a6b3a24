"""A second process: it imports slow libraries, checks expectations and draws while the first one goes on."""

from __future__ import annotations

import functools
import os
import pickle
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from importlib import import_module
from subprocess import PIPE, Popen
from typing import Any

from .errors import ProjectError

_ALONE = threading.Lock()


@functools.cache
def companion() -> Popen[bytes]:
    """The process, started when it is first asked for; it ends with this one. An interrupt does not reach it."""
    code = f"from {__name__} import answer_requests; answer_requests()"
    return Popen([sys.executable, "-c", code], stdin=PIPE, stdout=PIPE, start_new_session=True)


def answer_requests() -> None:
    """What the process does: it calls what stdin says, and writes to stdout what that gave, all of it pickled."""
    stdout, sys.stdout = sys.stdout, sys.stderr  # a library's words are no answer
    try:
        while True:
            function, args, more = pickle.load(sys.stdin.buffer)
            answered: tuple[Any, str | None]
            try:
                answered = function(*args, **more), None
            except Exception:
                answered = None, traceback.format_exc()
            pickle.dump(answered, stdout.buffer)
            stdout.flush()
    except (EOFError, BrokenPipeError):  # nobody asks any more
        os._exit(0)


def submit(function: Callable[..., Any], *args: Any, **more: Any) -> Future[Any]:
    """What `function`, which a module defines, gives in that process, where it is called once those before are done.

    The future raises ProjectError where the process ends, and RuntimeError with the traceback of what is raised there.
    """
    answer: Future[Any] = Future()
    threading.Thread(target=_ask, args=(pickle.dumps((function, args, more)), answer), daemon=True).start()
    return answer


def load(module: str) -> None:
    """Imports a `module` of this package, such as .report.plots: what is begun there before it is needed."""
    import_module(module, __package__)


def _ask(request: bytes, answer: Future[Any]) -> None:
    with _ALONE:
        asked: Any = companion()
        try:
            asked.stdin.write(request)
            asked.stdin.flush()
            given, error = pickle.load(asked.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            companion.cache_clear()
            what = "the process that checks expectations and draws"
            answer.set_exception(ProjectError(f"{what} ended, with code {asked.wait()}: is memory short?"))
        else:
            answer.set_exception(RuntimeError(error)) if error else answer.set_result(given)

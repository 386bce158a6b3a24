"""What a model answers when it is served as a user would serve it: in a clean environment, over HTTP."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import pandas as pd
import polars as pl
import requests

from ..mlflow import model_format
from ..model import derived
from .request import request

NEAR = 1e-6  # what another machine may calculate otherwise, relatively
PATIENCE = 60  # seconds for an answer
LEAKS = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")  # what would bring this environment into the other


def difference(
    folder: Path, frame: pd.DataFrame, expected: pd.DataFrame, *, private: bool, manager: str = "uv", wait: float = 600
) -> str | None:
    """A sentence on how the served model in `folder` answers the rows of `frame` otherwise than `expected`.

    None where every answer is the same to the last bit. `manager`: how MLflow makes the environment, see
    `mlflow models serve --env-manager`; `wait`: seconds until it has to answer. Where values are `private`, nothing of
    what the server says of the rows is told, for it may name some.
    """
    try:
        with _served(folder, manager, wait) as address:
            answers = _posted(f"{address}/invocations", request(frame), private)
    except (OSError, ValueError) as error:  # of the connection, of what is no JSON
        return f"the served model does not answer: {error}"
    wanted = json.loads(json.dumps(expected.to_dict("records"), default=lambda value: value.item()))
    if len(answers) != len(wanted):
        return f"the served model answers {len(answers)} rows where there are {len(wanted)}"
    for row, (served, here) in enumerate(zip(answers, wanted, strict=True), start=1):
        for name in {**here, **served}:
            if json.dumps(served.get(name)) != json.dumps(here.get(name)):
                return f"the {name} of row {row} is {served.get(name)} when it is served, and {here.get(name)} here"
    return None


def wrong_answer(folder: Path, rows: pl.DataFrame, *, private: bool) -> str | None:
    """How the model in `folder`, once it is served, answers `rows` otherwise than here; see `difference`."""
    model = model_format.load(folder)
    frame = derived.typed(rows, model.inputs).to_pandas()
    manager = "uv" if shutil.which("uv") else "local"  # an image has none: what it has is the lock
    return difference(folder, frame, model.predict(frame), private=private, manager=manager)


class Reply(NamedTuple):
    seconds: float
    status: int | None  # None: there was no answer at all
    answers: list[dict[str, Any]]
    why: str  # where there are none


def replies(address: str, body: bytes, *, count: int, token: str | None) -> list[Reply]:
    """What `address` answers to `body`, posted `count` times with `token` as its bearer's; fewer where it is silent."""
    received: list[Reply] = []
    while len(received) < count and [each.status for each in received[-3:]] != [None] * 3:
        received.append(_reply(address, body, token))
    return received


def alike(answers: list[dict[str, Any]], recorded: list[dict[str, Any]]) -> bool:
    """Whether a server's answers are the recorded ones, numbers as near as another machine may calculate them."""
    if len(answers) != len(recorded):
        return False
    pairs = [(one.get(name), other[name]) for one, other in zip(answers, recorded, strict=True) for name in other]
    return all(
        math.isclose(here, there, rel_tol=NEAR, abs_tol=NEAR)
        if isinstance(here, int | float) and isinstance(there, int | float)
        else here == there
        for here, there in pairs
    )


def _reply(address: str, body: bytes, token: str | None) -> Reply:
    began, status, why = time.monotonic(), None, ""
    answers: list[dict[str, Any]] = []
    try:
        answer = _post(address, body, timeout=PATIENCE, token=token)
        status = answer.status_code
        if answer.ok:
            answers = json.loads(answer.content)["predictions"]
        else:
            why = f"status {status}{_message(answer)}"
    except OSError as error:
        why = str(error)
    except (ValueError, KeyError, TypeError):
        why = "the answer is not that of a model"
    return Reply(time.monotonic() - began, status, answers, why)


def _posted(address: str, body: bytes, private: bool) -> list[dict[str, Any]]:
    """The predictions that `address` answers to `body`. Raises OSError where it refuses."""
    answer = _post(address, body, timeout=600)
    if not answer.ok:
        raise OSError(f"status {answer.status_code}{'' if private else _message(answer)}")
    return json.loads(answer.content)["predictions"]


def _post(address: str, body: bytes, *, timeout: float, token: str | None = None) -> requests.Response:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    return requests.post(address, data=body, headers=headers, timeout=timeout)


def _message(answer: requests.Response) -> str:
    """The reason that MLflow's server gives where it refuses a request: ": ..."."""
    try:
        return f": {json.loads(answer.content).get('message', '').rpartition('Error: ')[2][-500:]}"
    except (ValueError, AttributeError):
        return ""


@contextmanager
def _served(folder: Path, manager: str, wait: float) -> Iterator[str]:
    """The address at which the model in `folder` is served until the end of the block, by processes that end then.

    Raises OSError, with the server's own reason, where it does not answer within `wait` seconds.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["-m", "mlflow", "models", "serve", "-m", str(folder.resolve()), "--env-manager", manager]
    words += ["--host", "127.0.0.1", "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if name not in LEAKS}
    with tempfile.TemporaryFile() as log, tempfile.TemporaryDirectory() as nowhere:
        how: Any = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "start_new_session": True}
        how["cwd"] = nowhere  # and not where this package could be imported from
        process = subprocess.Popen([sys.executable, *words], env=environment, **how)
        try:
            _await(f"http://127.0.0.1:{port}/ping", process, wait, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _await(address: str, process: subprocess.Popen[bytes], wait: float, log: IO[bytes]) -> None:
    """Waits until `address` answers. Raises OSError where `process` ends before, and where `wait` seconds are over."""
    end = time.monotonic() + wait
    while process.poll() is None and time.monotonic() < end:
        try:
            requests.get(address, timeout=5).raise_for_status()
            return
        except OSError:
            time.sleep(0.2)
    log.seek(0)
    why = "it has ended" if process.poll() is not None else f"{wait:g} seconds are over"
    raise OSError(f"{why}; its log says: {cause(log.read().decode(errors='replace'))}")


def cause(log: str) -> str:
    """The line of a server's `log` that says why it does not answer: the last error, else its last line."""
    lines = [line for line in log.splitlines() if line.strip() and not re.match("INFO:|ERROR: +Child process", line)]
    causes = [line for line in lines if re.match(r"(\w+\.)*[A-Z]\w*[a-z]: ", line) and "non zero" not in line]
    return (causes or lines or ["nothing"])[-1].strip()[:500]

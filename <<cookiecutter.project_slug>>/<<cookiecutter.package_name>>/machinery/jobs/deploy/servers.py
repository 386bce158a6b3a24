"""The servers of a deployment, each in a folder of its own: model, code, log and socket.

Processes are known by a variable of their environment, whoever started them: so what a killed command left is found.
"""

from __future__ import annotations

import http.client
import json
import os
import shlex
import shutil
import signal
import socket
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import TYPE_CHECKING, Any

import psutil

from ...errors import ProjectError
from ...mlflow import model_format
from ...serving import model_server, server_check

if TYPE_CHECKING:
    from ...config.schema import Deploy

OWNER = "MODEL_SERVER_FOLDER"  # the variable
SOCKET, LOG = "socket", "log.txt"
_START = 300  # seconds until a server has to answer, its environment not counted


class _Connection(http.client.HTTPConnection):
    """HTTP over the socket in a folder."""

    def __init__(self, folder: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = os.path.relpath(folder / SOCKET)  # the name of a socket is short

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(folder: Path, path: str, body: bytes | None = None, *, timeout: float) -> Any:
    """What the server in `folder` answers, JSON read. Raises OSError where it does not, or refuses."""
    connection = _Connection(folder, timeout)
    try:
        headers = {"Content-Type": "application/json", "X-Request-ID": model_server.CHECK}
        connection.request("POST" if body else "GET", path, body, headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise OSError(f"status {answer.status}: {answer.read(300).decode(errors='replace')}")
        return json.load(answer)
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(f"it is no answer: {error!r}") from error
    finally:
        connection.close()


def layers(deploy: Deploy, target: str | None, columns: list[str]) -> dict[str, Any]:
    """The settings of the log of answers and of the cache, see model_server.

    `target`: what a model predicts; `columns`: what it takes, and the one beside it, which the log keeps.
    """
    folder = str(Path(deploy.log_folder).resolve())
    log: dict[str, Any] = {"folder": folder, "key": deploy.log_key, "columns": columns, "leave_out": deploy.sensitive}
    log |= {"seconds": deploy.log_seconds, "megabytes": deploy.log_megabytes, "answers": target not in deploy.sensitive}
    cache = {"address": deploy.cache, "seconds": deploy.cache_seconds, "personal": bool(deploy.sensitive)}
    return ({"log": log} if deploy.log_predictions else {}) | ({"cache": cache} if deploy.cache else {})


def start(folder: Path, deploy: Deploy, settings: dict[str, Any]) -> None:
    """Starts a server of the model in `folder`, in the environment that `deploy` says; waits until it answers.

    Raises ProjectError where it does not.
    """
    compiled = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(model_server.__file__).parent, folder / "model_server", ignore=compiled)
    if "cache" in settings and (client := find_spec("redis")):  # whose files are the same in every environment
        shutil.copytree(Path(client.origin or "").parent, folder / "redis", ignore=compiled)
    entered = model_format.activation(folder / "model", deploy.env_manager)
    python = "python" if entered else shlex.quote(sys.executable)
    options = f"--uds {SOCKET} --workers {deploy.workers} --no-access-log --timeout-worker-healthcheck 60"
    serve = f"exec {python} -m uvicorn model_server.app:app {options} --timeout-graceful-shutdown {deploy.timeout:.0f}"
    left = ("MLFLOW_", *server_check.LEAKS)  # MLflow's credentials, and what belongs to this environment
    known = {name: value for name, value in os.environ.items() if not name.startswith(left)}
    known |= {OWNER: str(folder.resolve()), "__pyfunc_model_path__": "model", "MODEL_SERVER": json.dumps(settings)}
    known |= {"MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT": f"{deploy.timeout:.0f}", "MLFLOW_DISABLE_TELEMETRY": "true"}
    words = ["bash", "-c", " && ".join([*entered, serve])]
    with (folder / LOG).open("ab") as log:
        process = Popen(words, cwd=folder, env=known, stdin=DEVNULL, stdout=log, stderr=log, start_new_session=True)
    end = time.monotonic() + _START
    while True:
        with suppress(OSError):
            ask(folder, "/health", timeout=2)
            return
        said, is_late = (folder / LOG).read_text("utf-8", "replace"), time.monotonic() > end
        if is_late or "] died" in said or _has_ended(process, deploy.workers):
            finish(running(folder.parent).get(folder.name, []), signal.SIGKILL, patience=0)
            why = f"{_START} seconds are over" if is_late else "it ends"
            raise ProjectError(f"the server does not start: {why}; its log says: {server_check.cause(said)}")
        time.sleep(0.1)


def version(folder: Path) -> dict[str, str] | None:
    """What the server in `folder` says it is, see model_server; None where nothing answers."""
    with suppress(OSError):
        return ask(folder, "/health", timeout=5)
    return None


def running(folder: Path) -> dict[str, list[psutil.Process]]:
    """The processes of all servers of the deployment in `folder`, by the name of each one's folder."""
    found: dict[str, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            owner = process.environ().get(OWNER)
            if owner and Path(owner).parent == folder.resolve():
                found.setdefault(Path(owner).name, []).append(process)
    return found


def finish(processes: list[psutil.Process], politely: int = signal.SIGTERM, *, patience: float) -> None:
    """Ends `processes` once they have answered what they were asked, at the latest after `patience` seconds."""
    for sent, seconds in ((politely, patience + 5), (signal.SIGKILL, 5)):
        for process in processes:
            with suppress(psutil.Error):
                process.send_signal(sent)
        late = time.monotonic() + seconds
        while (processes := [each for each in processes if _is_alive(each)]) and time.monotonic() < late:
            time.sleep(0.05)


def _has_ended(server: Popen[bytes], workers: int) -> bool:
    """Whether it has, or one of several workers, whose next one would end likewise: uvicorn takes a minute to see."""
    with suppress(psutil.Error):
        leader = psutil.Process(server.pid)  # whose children are workers only where there are several
        has_workers = workers > 1 and "uvicorn" in leader.cmdline()
        return server.poll() is not None or (has_workers and not all(map(_is_alive, leader.children())))
    return True


def _is_alive(process: psutil.Process) -> bool:
    """Whether it runs: one that has ended and that nobody waited for, as in a container, does not."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False

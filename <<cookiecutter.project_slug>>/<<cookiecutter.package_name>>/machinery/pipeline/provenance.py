"""Where a run comes from: the commit and the changes to it, the lock, the machine and its threads, the user."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from . import processes

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
    """{"uncommitted.diff": "..."} with what differs from the commit, or why it is not recorded; {} where nothing does.

    Not recorded: large files, and all of it where `secret` finds a credential in it. New files are added to a copy of
    git's index by their names alone, so that nothing is written to the repository.
    """
    if tree(root).get("git.dirty") != "true":
        return {}
    new = [name for name in _git(root, "ls-files", "--others", "--exclude-standard", "-z").split("\0") if name]
    new = [name for name in new if (root / name).exists()]  # another process may have removed one
    large = [name for name in new if (root / name).stat().st_size > MOST]
    with tempfile.TemporaryDirectory() as folder:
        index = Path(_git(root, "rev-parse", "--absolute-git-dir").strip()) / "index"
        other = {"GIT_INDEX_FILE": shutil.copy(index, folder)}
        try:
            if small := [name for name in new if name not in large]:
                _git(root, "add", "--intent-to-add", "--", *small, **other)
            text = _git(root, "diff", "--binary", "--relative", "HEAD", "--", ".", **other)
        except UnicodeDecodeError:
            return {"uncommitted.txt": "not recorded: the changes are no UTF-8\n"}
        except subprocess.CalledProcessError:
            return {"uncommitted.txt": "not recorded: files changed while git read them\n"}
    if len(text) > 10 * MOST:
        return {"uncommitted.txt": f"not recorded: the changes are {len(text):,} characters long\n"}
    if what := secret(text):
        return {"uncommitted.txt": f"not recorded: {what} stands in the changes\n"}
    left = {"uncommitted.txt": "not recorded, too large: " + ", ".join(large) + "\n"} if large else {}
    return {"uncommitted.diff": text, **left}


def about() -> dict[str, str]:
    """The machine and its Python, as tags, and the process, by which a later run sees that this one died."""
    return {
        "machine.platform": platform.platform(),
        "machine.cpu": _cpu(),
        "machine.cores": str(processes.cores()),
        "machine.python": platform.python_version(),
        "process": processes.this(),
    }


def user() -> str:
    """Who gives this command: the user of the tracking server, else of GitHub Actions, else of this machine."""
    names = ("MLFLOW_TRACKING_USERNAME", "GITHUB_ACTOR")
    return next((os.environ[name] for name in names if os.environ.get(name)), None) or getpass.getuser()


def threads() -> dict[str, str]:
    """How many threads the libraries that are imported use, as tags."""
    import threadpoolctl

    counts = {
        each.get("internal_api", each["user_api"]): str(each["num_threads"]) for each in threadpoolctl.threadpool_info()
    }
    if polars := sys.modules.get("polars"):
        counts["polars"] = str(polars.thread_pool_size())
    return {f"threads.{name}": count for name, count in counts.items()}


def _git(root: Path, *words: str, **more: str) -> str:
    """The output of a git command in the folder `root`."""
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, check=True, env={**os.environ, **more})
    return done.stdout.decode()


def _cpu() -> str:
    """The processor's name, else its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()

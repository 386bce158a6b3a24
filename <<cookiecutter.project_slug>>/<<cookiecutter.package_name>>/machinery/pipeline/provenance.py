"""Where a run comes from: the commit and the changes to it, the lock, the machine and its threads, the user."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from . import processes

MOST = 100_000  # bytes of a file that nobody committed, and ten times that of all changes together
_SHOWN = 50  # names of files that were left out
_PROGRAMS = (".py", ".pyi", ".sql", ".sh")
_CODE = (*_PROGRAMS, ".yaml", ".yml", ".toml", ".cfg", ".ini")
_CODE_NAMES = ("requirements.txt", "MLproject", "Makefile", "Dockerfile")
_DIFF = (  # whatever the user's own settings are
    *("--no-renames", "--no-ext-diff", "--no-textconv", "--no-color", "--relative", "-U3", "-O/dev/null"),
    *("--src-prefix=a/", "--dst-prefix=b/"),
)
LOST = "not recorded"  # of code, without which a run cannot be made again; what is left out is not missed
_SECRET = re.compile(
    r"(?i)secret|credential|passw|(\b|_)tokens?\b|vault|kubeconfig|(^|/)\.(env|aws|ssh|kube|azure|docker|gnupg)"
)


def tree(root: Path) -> dict[str, str]:
    """Commit, branch and whether the work tree below `root` is dirty, as tags; none outside a git work tree, but in an
    image that was built of a commit and nothing else (deploy/kubernetes/Dockerfile)."""
    try:
        commit, branch = (
            _git(root, *words).decode(errors="replace").strip()
            for words in (["rev-parse", "HEAD"], ["branch", "--show-current"])
        )
        dirty = bool(_git(root, "--no-optional-locks", "status", "--porcelain", "--", "."))
    except (OSError, subprocess.CalledProcessError):
        commit = os.environ.get("IMAGE_COMMIT", "")
        return {"git.commit": commit, "git.dirty": "false"} if commit else {}
    return {"git.commit": commit, "git.branch": branch or "(detached)", "git.dirty": str(dirty).lower()}


def lock(root: Path) -> str:
    """The digest of the lock."""
    return hashlib.sha256((root / "requirements.txt").read_bytes()).hexdigest()


def changes(root: Path, *, secret: Callable[[str, bool], str | None]) -> dict[str, str]:
    """{"uncommitted.diff": "...", "uncommitted.txt": "..."}: code that differs from the commit, and what is left out.

    Code are the files that a run executes or is configured by. All else, such as tables, is named and not recorded;
    neither are files in which `secret` (of their change, and whether it is a program) finds a credential, whose names
    say that they hold some, that are large, no text, or no files: links, repositories in the repository. New files are
    added to a copy of git's index by their names alone, so that nothing is written to the repository.
    """
    if tree(root).get("git.dirty") != "true":
        return {}
    try:
        changed = _names(root, "diff", "--name-only", "--no-renames", "--relative", "-z", "HEAD", "--", ".")
        new = _names(root, "ls-files", "--others", "--exclude-standard", "-z")
        left = {name: _why_left(root / name, name, new=name in new) for name in dict.fromkeys([*changed, *new])}
        code = [name for name, why in left.items() if not why]
        parts = _diff(root, code, [name for name in code if name in new])
    except (OSError, subprocess.CalledProcessError) as error:
        return {"uncommitted.txt": f"{LOST}: git cannot tell the changes ({type(error).__name__})\n"}
    left |= {name: _why_not_told(part, name, secret) for name, part in parts.items()}
    text = "".join(part.decode() for name, part in parts.items() if not left[name])
    if len(text) > 10 * MOST:
        return {"uncommitted.txt": f"{LOST}: the changes are {len(text):,} characters long\n"}
    lines = "".join(f"{why}: {_listed(left, why)}\n" for why in dict.fromkeys(filter(None, left.values())))
    return {name: each for name, each in {"uncommitted.diff": text, "uncommitted.txt": lines}.items() if each}


def _why_left(path: Path, name: str, *, new: bool) -> str | None:
    """Why a changed file is not recorded, by its name and kind; None where it is."""
    if path.is_symlink() or (new and not path.is_file()):
        return "left out, no files"
    if name.startswith("data/") or not (path.suffix in _CODE or path.name in _CODE_NAMES):
        return "left out, no code"
    if _SECRET.search(name) and path.suffix not in _PROGRAMS:
        return "left out, credentials by their names"
    if not path.exists():  # it was deleted
        return None
    if not os.access(path, os.R_OK):
        return f"{LOST}, not readable"
    return f"{LOST}, too large" if new and path.stat().st_size > MOST else None


def _diff(root: Path, code: list[str], new: list[str]) -> dict[str, bytes]:
    """The change of each file of `code` since the commit, `new` ones among them, as git writes it."""
    if not code:
        return {}
    paths = [f":(literal){name}" for name in code]
    with tempfile.TemporaryDirectory() as folder:
        index = Path(_git(root, "rev-parse", "--absolute-git-dir").decode().strip()) / "index"
        other = {"GIT_INDEX_FILE": shutil.copy(index, folder)}
        if new:
            _git(root, "add", "--intent-to-add", "--", *(f":(literal){name}" for name in new), **other)
        text = _git(root, "diff", *_DIFF, "HEAD", "--", *paths, **other)
    # a line of a file has a sign before it; the order is that of the names, as bytes
    parts = re.split(rb"(?m)^(?=diff --git )", text)[1:]
    if len(parts) != len(code):
        raise OSError("files changed while git read them")
    return dict(zip(sorted(code, key=os.fsencode), parts, strict=True))


def _why_not_told(part: bytes, name: str, secret: Callable[[str, bool], str | None]) -> str | None:
    """Why a file's change is not recorded, by what is in it; None where it is."""
    try:
        text = part.decode()
    except UnicodeDecodeError:
        return f"{LOST}, no UTF-8"
    if re.search(r"(?m)^Binary files ", text):
        return f"{LOST}, no text"
    what = secret(text, Path(name).suffix in _PROGRAMS)
    return f"{LOST}, {what} stands in them" if what else None


def _listed(left: dict[str, str | None], why: str) -> str:
    names = [os.fsencode(name).decode(errors="replace") for name, each in left.items() if each == why]
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def about() -> dict[str, str]:
    """The machine and its Python, as tags, and the process, by which a later run sees that this one died."""
    return {
        "machine.platform": platform.platform(),
        "machine.cpu": _cpu(),
        "machine.cores": str(processes.cores()),
        "machine.python": platform.python_version(),
        "process": processes.this(),
    }


def dependencies() -> dict[str, Any]:
    """Python and all that is installed for it: {"python": "3.11.9", "packages": {"mlflow": "3.17.2", ...}}."""
    described = (each.metadata for each in metadata.distributions())  # once each: they are parsed anew each time
    packages = {each["Name"]: each["Version"] for each in described}
    return {"python": platform.python_version(), "packages": dict(sorted(packages.items()))}


def ci() -> dict[str, str]:
    """The addresses of the CI run and of the review that it is for, as tags; none elsewhere.

    Sources: https://docs.github.com/actions/reference/workflows-and-actions/variables,
    https://docs.gitlab.com/ci/variables/predefined_variables/
    """
    given = defaultdict(str, os.environ)
    run, review = given["CI_PIPELINE_URL"] or given["CI_JOB_URL"], ""
    if given["CI_MERGE_REQUEST_IID"]:
        review = f"{given['CI_MERGE_REQUEST_PROJECT_URL']}/-/merge_requests/{given['CI_MERGE_REQUEST_IID']}"
    if given["GITHUB_RUN_ID"]:
        repository = f"{given['GITHUB_SERVER_URL'] or 'https://github.com'}/{given['GITHUB_REPOSITORY']}"
        run = f"{repository}/actions/runs/{given['GITHUB_RUN_ID']}"
        if number := re.match(r"refs/pull/(\d+)/", given["GITHUB_REF"]):
            review = f"{repository}/pull/{number[1]}"
    return {name: address for name, address in {"ci.run": run, "ci.review": review}.items() if address}


def user() -> str:
    """Who gives this command: the user of the tracking server, else of GitHub Actions, else of this machine."""
    names = ("MLFLOW_TRACKING_USERNAME", "GITHUB_ACTOR")
    if named := next((os.environ[name] for name in names if os.environ.get(name)), None):
        return named
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # containers may run as a number that has no name
        return f"uid {os.getuid()}"


def threads() -> dict[str, str]:
    """How many threads the libraries that are imported use, as tags."""
    import threadpoolctl

    counts = {
        each.get("internal_api", each["user_api"]): str(each["num_threads"]) for each in threadpoolctl.threadpool_info()
    }
    if polars := sys.modules.get("polars"):
        counts["polars"] = str(polars.thread_pool_size())
    return {f"threads.{name}": count for name, count in counts.items()}


def _git(root: Path, *words: str, **more: str) -> bytes:
    """The output of a git command in the folder `root`."""
    return subprocess.run(["git", *words], cwd=root, capture_output=True, check=True, env={**os.environ, **more}).stdout


def _names(root: Path, *words: str) -> list[str]:
    """The names of files that a git command lists, of any bytes."""
    return [os.fsdecode(name) for name in _git(root, *words).split(b"\0") if name]


def _cpu() -> str:
    """The processor's name, else its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()

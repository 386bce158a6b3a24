"""A commit and its lock, made into a folder and an environment to run things in."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import ProjectError


def has(root: Path, commit: str) -> bool:
    """Whether `commit` is in the repository of `root`."""
    try:
        return bool(_git(root, "cat-file", "-t", commit))
    except (OSError, subprocess.CalledProcessError):
        return False


@contextmanager
def worktree(root: Path, commit: str, diff: str | None, folder: Path) -> Iterator[Path]:
    """The folder of the project as it was at `commit`, `diff` applied, in a work tree that is gone at the end."""
    _git(root, "worktree", "add", "--detach", str(folder), commit)
    try:
        here = _git(root, "rev-parse", "--show-prefix").strip()
        if diff:
            _git(folder, "apply", "--whitespace=nowarn", f"--directory={here}", "-", given=diff)
        yield folder / here
    except subprocess.CalledProcessError as error:
        raise ProjectError(f"git cannot do it: {error.stderr.decode(errors='replace').strip()}") from error
    finally:
        _git(root, "worktree", "remove", "--force", str(folder))


def environment(folder: Path, project: Path, version: str, more: list[str]) -> Path:
    """The Python of a new environment in `folder`, with what the lock of `project` pins, and `more` pins, for Python
    `version`."""
    minor, python = version.rpartition(".")[0], folder / "bin" / "python"
    same = minor == platform.python_version().rpartition(".")[0]
    lock = ["-r", str(project / "requirements.txt"), *more]
    if uv := shutil.which("uv"):
        do([uv, "venv", "--quiet", "--no-project", "--python", sys.executable if same else minor, str(folder)], project)
        do([uv, "pip", "install", "--quiet", "--python", str(python), *lock], project)
    elif same:
        do([sys.executable, "-m", "venv", str(folder)], project)
        do([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *lock], project)
    else:
        raise ProjectError(
            f"the run was made by Python {version}, this is {platform.python_version()}: uv makes either"
        )
    return python


def do(words: list[str], folder: Path, **more: str) -> None:
    """Runs a command in `folder`, as a person at a new terminal would; its output is printed, indented.

    Raises ProjectError where it fails.
    """
    hidden = ("MLFLOW_", "VIRTUAL_ENV", "PYTHONPATH", "UV_PROJECT_ENVIRONMENT")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    with subprocess.Popen(
        words, cwd=folder, env=kept | more, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        for line in process.stdout or ():
            if not line.startswith("look: "):  # its store is gone at the end
                print(f"  {line}", end="", flush=True)
    if process.returncode:
        command = f"{Path(words[0]).name} {' '.join(words[1:4])} ..."
        raise ProjectError(f"{command} ended with exit code {process.returncode}; its output is above")


def _git(root: Path, *words: str, given: str = "") -> str:
    """The output of a git command in the folder `root`, with `given` as its input."""
    done = subprocess.run(["git", *words], cwd=root, input=given.encode(), capture_output=True, check=True)
    return done.stdout.decode()

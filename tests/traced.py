"""The files of a package whose code executes while something runs, in all threads of the process.

Module bodies execute once, at the first import: so start a fresh process for what has to see them.

    python traced.py executed.json penguin_classifier train model=forest

runs `python -m penguin_classifier train model=forest` and writes ["__init__", "stages.train", ...] to executed.json.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any


def executed_modules(call: Callable[[], Any], folder: Path) -> set[str]:
    """The modules of the package in `folder` in which any code executes during `call`: {"__init__", "stages.train"}.

    They are named as CodeFingerprint names them. What `call` raises is raised.
    """
    with recording() as files:
        call()
    return modules(files, folder)


@contextmanager
def recording() -> Iterator[set[str]]:
    """The file names of all code that executes in the block: module bodies, functions, generators, Jinja templates.

    Threads that start in the block count; those that a compiled library starts count from Python 3.12 on.
    """
    files: set[str] = set()
    if sys.version_info >= (3, 12):
        events, monitoring = sys.monitoring.events, sys.monitoring
        tool = next(number for number in range(6) if monitoring.get_tool(number) is None)

        def started(code: CodeType, offset: int) -> object:
            files.add(code.co_filename)
            return monitoring.DISABLE  # each code object is seen once: what runs a million times costs nothing

        monitoring.use_tool_id(tool, "executed modules")
        monitoring.register_callback(tool, events.PY_START, started)
        monitoring.register_callback(tool, events.PY_RESUME, started)  # a generator that was started before
        monitoring.set_events(tool, events.PY_START | events.PY_RESUME)
        monitoring.restart_events()  # what an earlier recording disabled
        try:
            yield files
        finally:
            monitoring.set_events(tool, 0)
            monitoring.free_tool_id(tool)
    else:

        def called(frame: FrameType, event: str, argument: object) -> None:
            files.add(frame.f_code.co_filename)

        threading.setprofile(called)  # cProfile, although in C, took longer: it reads clocks
        sys.setprofile(called)
        try:
            yield files
        finally:
            sys.setprofile(None)
            threading.setprofile(None)


def modules(files: set[str], folder: Path) -> set[str]:
    """The modules of the package in `folder` among `files`, without templates: "stages/train.py" -> "stages.train"."""
    paths = [Path(path) for path in inside(files, folder) if path.endswith(".py")]
    names = [".".join(path.with_suffix("").parts) for path in paths]
    return {name.removesuffix(".__init__") for name in names}


def inside(files: set[str], folder: Path) -> set[str]:
    """The `files` that lie in `folder`, by their path in it: {"stages/train.py", "machinery/report/report.html"}."""
    start = os.path.realpath(folder)
    paths = [os.path.realpath(name) for name in files if not name.startswith("<")]
    return {Path(os.path.relpath(path, start)).as_posix() for path in paths if path.startswith(start + os.sep)}


def main(written: str, package: str, *words: str) -> None:
    """Runs `python -m package words`, as the module docstring says; ends with its exit code."""
    sys.argv, folder, output = [package, *words], Path(package).resolve(), Path(written).resolve()
    sys.path.insert(0, str(Path.cwd()))
    files: set[str] = set()
    try:
        with recording() as files:
            runpy.run_module(package, run_name="__main__", alter_sys=True)
    finally:
        output.write_text(json.dumps(sorted(modules(files, folder))), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

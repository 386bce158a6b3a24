"""Where a project lies and what it is called: the one place that looks up what is the user's, by name."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .pipeline.code_fingerprint import CodeFingerprint

MACHINERY = __name__.rpartition(".")[0]  # wherever it was imported from


@dataclass(frozen=True)
class Layout:
    """A project: its folder `root`, and the name of the package below it that holds stages and config."""

    root: Path
    package: str

    @cached_property
    def fingerprint(self) -> CodeFingerprint:
        """What the project's code means now."""
        from .pipeline.code_fingerprint import CodeFingerprint

        return CodeFingerprint(self.root, self.package)

    @property
    def conf(self) -> Path:
        """The folder of the Hydra configuration."""
        return self.root / "conf"

    @property
    def lock(self) -> Path:
        """The file of exact pins."""
        return self.root / "requirements.txt"

    @cached_property
    def stages(self) -> tuple[str, ...]:
        """The names of the stages, in their order."""
        return tuple(self.load("stages", "STAGES"))

    @cached_property
    def jobs(self) -> tuple[str, ...]:
        """The names of the jobs: the folders of `jobs/`."""
        return tuple(sorted(file.parent.name for file in Path(__file__).parent.glob("jobs/*/job.py")))

    def load(self, module: str, name: str) -> Any:
        """What the user's `module` calls `name`.

        Its imports are made with the garbage collector off: looking for garbage among what stays anyway cost a third of
        the start-up (measured).
        """
        return _load(f"{self.package}.{module}", name)

    def function(self, word: str) -> Callable[..., Any]:
        """The function of the stage or the job that is called `word`."""
        if word in self.stages:
            return self.load(f"stages.{word}", word)
        return _load(f"{MACHINERY}.jobs.{word}.job", word)

    def module(self, word: str) -> str:
        """The module of the stage or job `word`, as the code fingerprint names it."""
        if word in self.stages:
            return f"stages.{word}"
        return f"{MACHINERY}.jobs.{word}.job".removeprefix(f"{self.package}.")

    def job_arguments(self, job: str) -> type:
        """The dataclass of the keys that `job` adds to the configuration."""
        return _load(f"{MACHINERY}.jobs.{job}", "Arguments")


def _load(module: str, name: str) -> Any:
    enabled = gc.isenabled()
    gc.disable()
    try:
        return getattr(import_module(module), name)
    finally:
        if enabled:
            gc.freeze()
            gc.enable()

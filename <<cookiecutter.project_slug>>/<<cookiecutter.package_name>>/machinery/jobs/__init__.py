"""What a command does beside bringing stages up to date: one folder a job, with all that only it uses."""

from __future__ import annotations

from contextlib import suppress
from typing import Any


def model_files(model: Any, sides: Any, **about: Any) -> dict[str, str]:
    """What jobs want to lie with a model, for later: {"reference.json": "..."}; nothing of a job that was removed."""
    with suppress(ModuleNotFoundError):
        from .monitor import reference

        return {reference.FILE: reference.statistics(model, sides, **about)}
    return {}

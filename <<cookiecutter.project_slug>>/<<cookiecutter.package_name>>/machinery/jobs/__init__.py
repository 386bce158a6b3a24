"""Jobs, the commands that are no stages: a folder for each, with everything that only it uses."""

from __future__ import annotations

from contextlib import suppress
from typing import Any


def model_files(model: Any, sides: Any, **about: Any) -> dict[str, str]:
    """The files that jobs store with a model, by name, {"reference.json": "{...}"}; none of a job that was removed."""
    with suppress(ModuleNotFoundError):
        from .monitor import reference

        return {reference.FILE: reference.statistics(model, sides, **about)}
    return {}

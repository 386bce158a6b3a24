"""Jobs, the commands that are no stages: a folder for each, with everything that only it uses."""

from __future__ import annotations

from typing import Any


def model_files(model: Any, sides: Any, **about: Any) -> dict[str, str]:
    """The files that jobs store with a model, by name, {"reference.json": "{...}"}; none of a job that was removed."""
    try:
        from .monitor import reference
    except ImportError as error:
        if error.name != f"{__package__}.monitor":  # something that it needs
            raise
        return {}
    return {reference.FILE: reference.statistics(model, sides, **about)}

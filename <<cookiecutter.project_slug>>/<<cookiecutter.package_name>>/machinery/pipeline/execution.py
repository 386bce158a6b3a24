"""A stage's function called with what its arguments name.

This module and all that it imports decide what a stage gives, whatever the stage is: they are part of every key. What
happens around the call (the command line, the plan, MLflow's runs) is not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import fields, is_dataclass
from typing import Any

from ..config.binding import bound
from ..errors import sentences
from ..result import StageResult
from . import seeds
from .store import Store

OPEN = ("source", "model")  # sections of `_target_` and its arguments: a stage gets the call that they describe


def execute(
    function: Callable[..., StageResult],
    store: Store,
    *,
    inputs: dict[str, Any],
    seed: int,
    libraries: Collection[str],
    opened: Collection[str] = OPEN,
) -> StageResult:
    """The result of `function`, its sections `opened` bound, after the global generators are set from `seed`.

    `libraries`: the top-level names of what a stage imports, by which torch's and TensorFlow's generators are set too.
    """
    seeds.plant(seed, libraries=libraries)
    inputs = {name: bound(value, name=name) if name in opened else value for name, value in inputs.items()}
    with sentences():
        return function(store, **inputs)


def view(section: Any, annotation: str) -> Any:
    """`section`, a dataclass, as its parent class that is called `annotation`; itself where it has no such parent.

    Task(kind="regression", ..., metrics=["r2"]) as "Objective" is without `metrics`.
    """
    parents = [each for each in type(section).__mro__[1:] if each.__name__ == annotation.rpartition(".")[2]]
    if not parents or not is_dataclass(parents[0]):
        return section
    return parents[0](**{field.name: getattr(section, field.name) for field in fields(parents[0])})

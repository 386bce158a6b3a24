"""Who does the work that is heavy by row: this machine, or a cluster. `conf/engine/` chooses one.

A table is a list of parts, LazyFrames of polars in the order of their rows, and every engine has the same few verbs:
`open` (a source as parts), `parts` (what a stage wrote, as parts), `map` (a function over parts, or over other items,
its results in their order) and `aside` (a check that takes a library of its own). What a stage gives does not depend on
the engine, so that none is part of a key; but on how many rows a model is fitted to, see fitting. A cluster can have
one verb more: `boosted` (trees fitted to parts by all workers together).
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..config.schema import Engine
    from ..layout import Layout


def engine(settings: Engine, layout: Layout) -> Any:
    """The engine that `settings` describe. Raises ConfigError for one that is not there, or that needs what is not."""
    for name, value in vars(settings).items():
        if type(value) is int and value < 1:
            raise ConfigError(f"engine.{name}={value}: it is 1 or more, or null")
    kinds = ["local", *(module.name for module in iter_modules(__path__) if module.ispkg)]
    if settings.kind not in kinds:
        raise ConfigError(f"engine.kind={settings.kind}: there is no such engine; there are {', '.join(kinds)}")
    kind = import_module(f".{settings.kind}", __package__)
    return getattr(kind, f"{settings.kind.title()}Engine")(settings, layout)

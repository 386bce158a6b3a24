"""The same config with other values in it, as a search tries them."""

from __future__ import annotations

import inspect
import pkgutil
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ...config.binding import bound, close
from ...config.compose import sentence
from ...config.schema import Task
from ...errors import ProjectError
from ...layout import Layout


def varied(layout: Layout, typed: DictConfig, values: dict[str, Any]) -> tuple[dict[str, Any], Any, Task]:
    """The sections model, features and task of `typed`, a config as `composed` gives it, once `values` are in it.

    `values`: by the full names of their keys. Raises ProjectError for a key that is not there and for a value that it
    does
    not take.
    """
    try:
        for key, value in values.items():
            OmegaConf.update(typed, key, value, merge=False, force_add=key.startswith(("model.", "task.linear.")))
        model = cast("dict[str, Any]", OmegaConf.to_container(typed.model, resolve=True))
        features, task = (cast(Any, OmegaConf.to_object(each)) for each in (typed.features, typed.task))
    except OmegaConfBaseException as error:
        raise ProjectError(sentence(layout, error)) from error
    return model, features, task


def present(typed: DictConfig, key: str) -> Any:
    """The value of `key` in `typed`, a config as `composed` gives it; the callable's own where conf/ names none.

    Raises ProjectError where there is no such key.
    """
    *parents, name = key.split(".")
    above: Any = typed
    for part in parents:
        if not isinstance(above, DictConfig) or part not in above:
            raise ProjectError(f"{key}: there is no such key" + (close(part, list(above)) if above else ""))
        if OmegaConf.is_interpolation(above, part):
            raise ProjectError(f"{key}: {part} is {above._get_node(part)._value()}: name it there")  # type: ignore[union-attr]
        above = above[part]
    section = cast("dict[str, Any]", OmegaConf.to_container(above, resolve=True))
    if name in section:
        return section[name]
    if "_target_" not in section:
        raise ProjectError(f"{key}: there is no such key{close(name, list(section))}")
    bound({**section, name: None}, name=".".join(parents))
    known = inspect.signature(pkgutil.resolve_name(section["_target_"])).parameters.get(name)
    return None if known is None or known.default is known.empty else known.default

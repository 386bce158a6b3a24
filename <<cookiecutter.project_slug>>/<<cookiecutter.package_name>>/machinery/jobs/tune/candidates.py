"""Candidates: the typed config with other values, as a search tries them."""

from __future__ import annotations

import inspect
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ...config import targets
from ...config.binding import bound
from ...config.compose import sentence
from ...config.schema import Task
from ...errors import ConfigError, close
from ...layout import Layout


def with_values(layout: Layout, typed: DictConfig, values: dict[str, Any]) -> tuple[dict[str, Any], Any, Task]:
    """The sections model, features and task of `typed`, the result of `composed`, after `values` are set in it.

    `values`: by the full names of their keys, {"model.C": 3.0}. They stay set in `typed`, so that each call has to set
    the same keys. Raises ConfigError for a key that does not exist and for a value that it does not accept.
    """
    try:
        for key, value in values.items():
            OmegaConf.update(typed, key, value, merge=False, force_add=key.startswith(("model.", "task.linear.")))
        model = cast("dict[str, Any]", OmegaConf.to_container(typed.model, resolve=True))
        features, task = (cast(Any, OmegaConf.to_object(each)) for each in (typed.features, typed.task))
    except OmegaConfBaseException as error:
        raise ConfigError(sentence(layout, error)) from error
    return model, features, task


def current_value(typed: DictConfig, key: str) -> Any:
    """The value of `key`, such as model.C, in `typed`, the result of `composed`; the callable's default without one.

    Raises ConfigError where there is no such key.
    """
    *parents, name = key.split(".")
    above: Any = typed
    for part in parents:
        if not isinstance(above, DictConfig) or part not in above:
            raise ConfigError(f"{key}: there is no such key" + (close(part, above) if above else ""))
        if OmegaConf.is_interpolation(above, part):
            raise ConfigError(f"{key}: {part} is {above._get_node(part)._value()}: name it there")  # type: ignore[union-attr]
        above = above[part]
    section = cast("dict[str, Any]", OmegaConf.to_container(above, resolve=True))
    if name in section:
        return section[name]
    if "_target_" not in section:
        raise ConfigError(f"{key}: there is no such key{close(name, section)}")
    bound({**section, name: None}, name=".".join(parents))
    parameter = inspect.signature(targets.resolved(section["_target_"])).parameters.get(name)
    return None if parameter is None or parameter.default is parameter.empty else parameter.default

"""The calls that open sections describe by `_target_` and arguments, checked against the signatures of their
callables."""

import difflib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from ..errors import ConfigError, close
from . import targets

TOLERANCE = "_tolerance_"  # of a model: how far apart its predictions may be when it is fitted anew; see jobs/reproduce


def bound(section: dict[str, Any], *, name: str) -> Callable[[], Any]:
    """The call that `section` describes by `_target_` and keyword arguments, checked against the signature.

    Raises ConfigError for a target that cannot be imported and for an argument that it does not take or misses.
    """
    if not section.get("_target_"):
        raise ConfigError(f"{name}._target_ is missing: it names the callable")
    for where, call in calls(section, name):
        _check(call, where)
    return functools.partial(_call, {key: value for key, value in section.items() if key != TOLERANCE})


def calls(section: dict[str, Any], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """What describes a call by `_target_`: `section`, and what is nested in it, each with its full name."""
    for key, part in section.items():
        for each in part if isinstance(part, list) else [part]:
            if isinstance(each, dict | list):
                yield from calls(each if isinstance(each, dict) else {"": each}, f"{name}.{key}".removesuffix("."))
    if "_target_" in section:
        yield name, section


def _check(section: dict[str, Any], name: str) -> None:
    """Raises ConfigError as `bound` does."""
    target = section["_target_"]
    try:
        takes = _parameters(targets.resolved(target))
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"{name}._target_={target} cannot be imported: {error}") from error
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values())
    for key in section:
        misspelt = not anything or difflib.get_close_matches(key, takes, n=1, cutoff=0.9)
        if not key.startswith("_") and key not in takes and misspelt:
            raise ConfigError(f"{name}.{key}: {target} has no such argument{close(key, takes)}")
    for key, parameter in takes.items():
        named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if named and parameter.default is parameter.empty and key not in section and not section.get("_partial_"):
            raise ConfigError(f"{name}.{key} is missing: {target} needs it")


def _parameters(call: Any) -> dict[str, inspect.Parameter]:
    """What `call` takes; and where it is a class that hands on what it does not name, what those above it name."""
    takes = dict(inspect.signature(call).parameters)
    if isinstance(call, type) and any(each.kind is each.VAR_KEYWORD for each in takes.values()):
        for above in call.__mro__[:-1]:
            named = inspect.signature(above).parameters
            takes |= {name: each for name, each in named.items() if each.default is not each.empty}
    return takes


def _call(section: dict[str, Any]) -> Any:
    """What the callable gives; its own error where it raises one, not Hydra's around it.

    Hydra sees what holds calls alone: a name `${x}` among plain values would be an interpolation to it.
    """
    values = {key: value for key, value in section.items() if key[:1] != "_" and not _has_call(value)}
    others = {key: value for key, value in section.items() if key not in values}
    try:
        made = functools.partial(instantiate({**others, "_partial_": True}, _convert_="all"), **values)
    except InstantiationException as error:
        raise error.__cause__ or error from None
    return made if section.get("_partial_") else made()


def _has_call(value: Any) -> bool:
    """Whether a `_target_` is nested in `value`."""
    if isinstance(value, dict):
        return "_target_" in value or any(map(_has_call, value.values()))
    return isinstance(value, list) and any(map(_has_call, value))

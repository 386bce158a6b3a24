"""Which callables a configuration may name: of known libraries, of the project's own modules, and what conf/ says.

conf/ is code: who may write there decides what runs. What a command line, a scheduler or a workflow's input says is
not, so that it chooses among what is trusted, by the name alone, before anything is imported.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import ConfigError

TRUSTED = ("polars", "sklearn", "lightgbm", "xgboost")
_NUMERIC = ("numpy", "scipy", "pandas")
_HELD = ("operator.methodcaller", "functools.partial", "collections", "datetime")  # that models hold
_SINGLE = ("sqlalchemy.create_engine",)  # for databases of polars.read_database
_BARRED = ("deserialize",)  # what polars writes so may hold pickled functions
READERS = (["data", "readers"], ["engines", "spark", "readers"])  # of the machinery, that a source may name
_KEYS = ("_target_", "metrics", "threshold")  # whose texts name callables by their places, package.module.function


def refuse_untrusted(config: Any, *, package: str, conf: Path, trusted: list[str]) -> None:
    """Raises ConfigError for the first callable that `config` names and that nothing trusts.

    Trusted are TRUSTED, the modules of `package` but for its machinery, what the files below `conf` name word by
    word, and what begins with one of `trusted`.
    """
    stated: set[str] | None = None
    for key, name in _named(config):
        name = f"{package}{name}" if name.startswith(".") else name
        if _is_known(name, (*TRUSTED, package), package) or _begins(name, (*_SINGLE, *trusted)):
            continue
        if stated is None:  # read only where it matters
            stated = _stated(conf)
        if not any(re.fullmatch(each, name) for each in stated):
            raise ConfigError(
                f"{key}={name} is not trusted: state it in a file of conf/, or name it, or its library, in trusted of "
                f"conf/config.yaml; trusted are {', '.join((*TRUSTED, package))}"
            )


def is_trusted_type(name: str, *, package: str, conf: Path, trusted: list[str]) -> bool:
    """Whether a model's file may hold objects of the class `name`: of libraries that models are made of, too, and of
    any that conf/ names a model of."""
    root = name.partition(".")[0]
    if root in (*TRUSTED, *_NUMERIC, package) or _begins(name, (*_HELD, *trusted)):
        return True
    return root in {each.partition("\\.")[0] for each in _stated(conf)}


def resolved(name: str) -> Any:
    """The object behind a dotted name, of the library that the name begins with: not what that itself imports.

    Raises ImportError and AttributeError where there is none.
    """
    root, *parts = name.split(".")
    target: Any = importlib.import_module(root)
    for at, part in enumerate(parts):
        if not hasattr(target, part) and inspect.ismodule(target):
            importlib.import_module(".".join((root, *parts[: at + 1])))
        target = getattr(target, part)
        if inspect.ismodule(target) and target.__name__.partition(".")[0] != root:
            raise ImportError(f"{target.__name__} is another library than {root}")
    home = str(target.__module__).partition(".")[0] if isinstance(target, type) or inspect.isroutine(target) else root
    standard = home in sys.stdlib_module_names and root not in sys.stdlib_module_names
    if standard or (root in TRUSTED and home != root):
        raise ImportError(f"it is of {home}, not of {root}")
    return target


def _named(value: Any, key: str = "", inside: bool = False) -> Iterator[tuple[str, str]]:
    """The callables that `value` names, nested, each with the key where it does."""
    if key.endswith("_target_") and not isinstance(value, str | None) and "space." not in key:
        raise ConfigError(f"{key}={value}: it is the name of a callable, such as polars.scan_csv")
    if isinstance(value, str):
        if inside and (key.endswith("_target_") or re.fullmatch(r"[A-Za-z_.][\w.]*\.\w+", value)):
            yield key, value
        return
    pairs = enumerate(value) if isinstance(value, list | tuple) else getattr(value, "__dict__", value)
    for name, each in pairs.items() if isinstance(pairs, dict) else pairs if isinstance(pairs, enumerate) else ():
        at = key if isinstance(pairs, enumerate) else f"{key}.{name}".removeprefix(".")
        yield from _named(each, at, inside or name in _KEYS)


def _is_known(name: str, roots: tuple[str, ...], package: str) -> bool:
    """Whether `name` is of one of `roots` by its words: none private, none of the machinery."""
    root, *parts = name.split(".")
    inner = root == package and parts[:1] == ["machinery"] and parts[1:-1] not in READERS
    return root in roots and not inner and all(part[:1].isalpha() and part not in _BARRED for part in parts)


def _begins(name: str, with_: tuple[str, ...]) -> bool:
    return any(each and f"{name}.".startswith(f"{each}.") for each in with_)


def _stated(conf: Path) -> set[str]:
    """A pattern for each callable that a file below `conf` names: of sklearn.ensemble.RandomForest${task.estimator}
    each."""
    import yaml

    names: set[str] = set()
    for file in (each for each in conf.rglob("*.yaml") if each.is_file()):
        try:
            stated = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, yaml.YAMLError):
            continue  # it is said where the file is chosen
        names |= {name for _, name in _named(stated)}
    return {re.sub(r"\\\$\\\{.*?\\\}", r"\\w*", re.escape(name)) for name in names}

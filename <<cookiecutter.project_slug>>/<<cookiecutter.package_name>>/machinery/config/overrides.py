"""The words of a command line as Hydra overrides."""

import csv
import os
import re
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..layout import Layout
from . import compose

_DEEP, _LONG = 20, 60  # the most dots in a key, and characters of one in a sentence


def overrides(layout: Layout, words: list[str], caller: Path, job: str | None = None) -> list[str]:
    """Hydra overrides that give every key the value typed, whatever Hydra's grammar makes of it.

    `--key value` and `key=value` mean the same; `+key=value` and `~key` go to Hydra as they are. A relative path of a
    source is looked for in `caller`, the folder in which the command was typed, first.
    """

    pairs, plain = _pairs(words)
    groups = compose.groups(layout)
    chosen = [f"{key}={_option(key, value, groups[key])}" for key, value in pairs if key in groups]
    others = [(key, value) for key, value in pairs if key not in groups]
    base = compose.composed(layout, chosen, job) if others else None  # tells what these keys take
    values = [(key, value, compose.wants(base, key)) for key, value in others if base is not None]
    clash = {"mapping": ("{", "["), "list": ("{",)}  # replaced, where Hydra would merge them or take neither
    replaced = [f"~{key}" for key, value, kind in values if value[:1] in clash.get(kind, ())]
    return (
        chosen
        + [_as_typed(word, groups) for word in plain]
        + replaced
        + [_override(key, value, kind, caller) for key, value, kind in values]
    )


def _option(group: str, value: str, options: list[str]) -> str:
    """`value` for Hydra, as an option of `group`: not 2024 or true, which are none to it, nor a file elsewhere."""
    if value == "null":
        return value
    if value not in options:
        raise ConfigError(compose.no_option(group, value, options))
    return (
        value if re.fullmatch(r"(?!(?i:true|false|null|nan|inf)$)[a-zA-Z_][\w\-]*", value, re.ASCII) else _quoted(value)
    )


def typed_arguments(overrides: list[str], section: str) -> dict[str, Any]:
    """What the Hydra `overrides` set in a `section`, by the key in it: {"separator": "^"} of `source`."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(overrides)
    prefix = f"{section}."
    return {
        each.key_or_group.removeprefix(prefix): each.value() for each in parsed if each.key_or_group.startswith(prefix)
    }


def caller_folder() -> Path:
    """The folder in which the command was typed: that of `mlflow run` where it is an ancestor, else the current one."""
    if "MLFLOW_RUN_ID" in os.environ:
        import psutil

        for process in psutil.Process().parents():
            try:
                if "mlflow" in Path(" ".join(process.cmdline()[:2])).name:
                    return Path(process.cwd())
            except psutil.Error:  # another user's process
                break
    return Path.cwd()


def _pairs(words: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """The (key, value) pairs in `words`, and the words that are for Hydra as they stand."""
    pairs, plain, rest = [], [], list(words)
    while rest:
        word = rest.pop(0)
        if word in ("--multirun", "-m"):
            raise ConfigError(f"{word}: one command is one run; `for n in 1 2 3; do ... seed=$n; done` makes several")
        if word[:1] in ("+", "~"):
            plain.append(word)
            continue
        key, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and not equals and rest:
            value = rest.pop(0)
        elif not equals:
            raise ConfigError(f"{word[:_LONG]!r} is neither key=value nor --key value")
        if not re.fullmatch(rf"(?a:[\w\-]+\.){{0,{_DEEP}}}(?a:[\w\-]+)", key) or len(key) > 4 * _LONG:
            raise ConfigError(f"{key[:_LONG]!r}{' ...' if len(key) > _LONG else ''} is no key that can be typed")
        pairs.append((_open(key), value))
    return pairs, plain


def _open(key: str) -> str:
    """`key`, where a command line may set it: not what says which code and which files are trusted."""
    if re.match(r"(hydra|trusted)\b", key):
        raise ConfigError(f"{key[:_LONG]} decides what code may run: it is set in conf/, not on a command line")
    return key


def _as_typed(word: str, groups: dict[str, list[str]]) -> str:
    """A `word` for Hydra that begins with + or ~, where it names no file elsewhere as an option."""
    key, _, value = word.lstrip("+~").partition("=")
    _open(key.lstrip("/"))
    option = key in groups or re.search(r"[/@]", key)
    if len(key) > 4 * _LONG or (option and ".." in value):
        raise ConfigError(f"{word[:_LONG]!r} is no key=value that can be typed")
    return word


def _override(key: str, value: str, kind: str, caller: Path) -> str:
    """One override in Hydra's grammar; `kind`: what the key takes, see config.wants."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    if value.startswith("~/"):
        value = str(Path(value).expanduser())
    elif (key in ("path", "input") or key.startswith("source.")) and value and os.path.exists(caller / value):
        value = str(caller / value)
    elif key == "output" and value and not re.match(r"\w[\w+]*://|\$\{", value):
        value = str(caller / value)  # it need not be there yet
    elif key == "output" and re.match(r"sqlite:///[^/]", value):
        value = value.replace(":///", f":///{caller}/", 1)
    # `++`: conf/ need not list every argument of an open section's callable; a closed section refuses what it has not
    if key.startswith("features.derive.") and value[:1] not in "{":  # `COALESCE(a, 0)` would be a call to Hydra
        kind = "text or null"
    if kind == "text or null" and value == "'null'":
        return f"++{key}='null'"  # the text, for a column that is called so
    if kind == "texts":
        return f"++{key}=[{','.join(_quoted(item) for item in _items(value))}]"
    if kind == "text" or (kind == "text or null" and value != "null"):
        return f"++{key}={_quoted(value)}"
    try:
        parsed = OverridesParser.create().parse_override(f"{key}={value}")
        understood = not parsed.is_sweep_override()
    except HydraException:
        understood = False
    return f"++{key}={value if understood else _quoted(value)}"


def _items(value: str) -> list[str]:
    """The texts of a list `[a, "b, c"]`; without brackets, the one text that `value` is."""
    inner = value.strip()
    if not (inner.startswith("[") and inner.endswith("]")):
        return [value] if value else []
    inner = " ".join(inner[1:-1].split("\n")).strip()
    quote = '"' if '"' in inner else "'"
    return [item.strip() for item in next(csv.reader([inner], quotechar=quote, skipinitialspace=True), [])]


def _quoted(text: str) -> str:
    """`text` as a quoted value of Hydra's grammar, in which backslashes count before a quote only."""
    return "'" + re.sub(r"(\\*)('|\Z)", lambda run: 2 * run[1] + ("\\'" if run[2] else ""), text) + "'"

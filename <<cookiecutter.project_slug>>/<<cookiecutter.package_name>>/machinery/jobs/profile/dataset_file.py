"""The text of the file in conf/data/ that describes a table, for people to read and change."""

from __future__ import annotations

from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Any

import yaml

from ...errors import one_line

if TYPE_CHECKING:
    from .profiles import Column


NOTHING = "nothing to predict"
_HERE = "of this machine alone: within the repository, colleagues and CI have it, too"


def text(
    columns: list[Column],
    *,
    title: str,
    source: dict[str, Any],
    missing: list[str],
    types: dict[str, dict[str, str]],
    task: dict[str, Any],
    defaults: dict[str, tuple[str, str]],
    split: dict[str, Any],
    expectations: list[dict[str, Any]],
) -> str:
    """The whole file, YAML with comments.

    `defaults`, `task` and `split` give a value and a reason: {"/task": ("binary", ""), "/split": ("time", "")}.
    `types` are those of config.schema.Type: {"born": {"kind": "date", "format": "%Y-%m-%d"}}.
    """
    by_role = {role: [column for column in columns if column.role == role] for role in ("key", "group", "time", "drop")}
    target = next((column for column in columns if column.role == "target"), None)
    sensitive = [column.name for column in columns if column.sensitive]
    given = {key: _plain(value) if isinstance(value, list) else value for key, value in source.items()}
    secret = [_flow(_plain(sensitive))] if sensitive else []
    aim = (f"  target: {_flow(_plain(target.name))}", value_counts(target)) if target else ("  target: null", NOTHING)
    lines = [
        "# @package _global_",
        f"# {one_line(title)}",
        "# Everything below was decided by looking at the table, and is yours to change.",
        "defaults:",
        *(_with_comment(f"  - {key}: {option}", why) for key, (option, why) in defaults.items()),
        "",
        "source:",
        *(_with_comment(f"  {key}: {_flow(value)}", _HERE * _is_local(value)) for key, value in given.items()),
        "",
        "columns:",
        _with_comment(*aim),
        *_listed("key", by_role["key"]),
        *_listed("group", by_role["group"]),
        *(_with_comment(f"  time: {_flow(_plain(column.name))}", column.reason) for column in by_role["time"]),
        *_listed("drop", by_role["drop"]),
        *(f"  sensitive: {each} # their values appear nowhere outside of the table" for each in secret),
        "",
    ]
    if missing:
        lines += [f"missing: {_flow(_plain(missing))} # how the table writes that a text or number is missing", ""]
    if types:
        lines += ["# How each column is read; a value that its type does not allow stops the line.", "types:"]
        lines += [
            _with_comment(f"  {_flow(column.name)}: {_flow(types[column.name])}", value_counts(column))
            for column in columns
            if column.name in types
        ]
        lines.append("")
    for name, section in (("task", task), ("split", split)):
        if section:
            lines += [
                f"{name}:",
                *(_with_comment(f"  {key}: {_flow(_plain(value))}", why) for key, (value, why) in section.items()),
                "",
            ]
    lines += ["# What the next delivery is held to: https://greatexpectations.io/expectations", "expectations:"]
    for each in expectations:
        lines += [f"  - type: {each['type']}", f"    kwargs: {_flow(_plain(each['kwargs']))}"]
    return "\n".join(lines) + "\n"


def _is_local(value: Any) -> bool:
    return isinstance(value, str) and (value.startswith(("/", "~")) or PureWindowsPath(value).is_absolute())


def value_counts(column: Column) -> str:
    """How many different values a column has, and what share is missing: "3 different, 1.2% missing"."""
    absent = f", {column.missing:.1%} missing" if column.missing else ""
    return f"{column.distinct:,} different{absent}"


def _listed(role: str, columns: list[Column]) -> list[str]:
    if not columns:
        return []
    return [f"  {role}:", *(_with_comment(f"    - {_flow(_plain(column.name))}", column.reason) for column in columns)]


def _with_comment(line: str, comment: str) -> str:
    return f"{line} # {one_line(comment)}" if comment else line


class _OneLine(yaml.SafeDumper):
    """Writes texts with line ends, which names of columns may have, with signs for them."""

    def represent_scalar(self, tag: str, value: str, style: str | None = None) -> yaml.ScalarNode:
        """A node of `value`, in double quotes where it has signs that cannot be printed."""
        return super().represent_scalar(tag, value, style if value.isprintable() else '"')


def _flow(value: Any) -> str:
    """`value` in YAML on one line."""
    how: dict[str, Any] = {"default_flow_style": True, "allow_unicode": True, "width": 10**9, "sort_keys": False}
    return yaml.dump(value, Dumper=_OneLine, **how).strip().removesuffix("\n...")


def _plain(value: Any) -> Any:
    """`value` with every `${` escaped: names of columns are text, not interpolations."""
    if isinstance(value, str):
        return value.replace("${", "\\${")
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return {key: _plain(each) for key, each in value.items()} if isinstance(value, dict) else value

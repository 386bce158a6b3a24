"""What the configuration itself says of columns whose values appear nowhere: expectations hold some."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

WITHHELD = "withheld: columns.sensitive"


def named(kwargs: dict[str, Any], *, type_: str) -> set[str]:
    """The columns whose values an expectation with these `kwargs` reads: {"island"}; none of one about the table."""
    if type_.startswith("expect_table_"):
        return set()
    given = [value for name, value in kwargs.items() if name.startswith("column")]
    return {name for value in given for name in (value if isinstance(value, list | set | tuple) else [value])}


def stated_values(kwargs: dict[str, Any], *, type_: str, sensitive: Collection[str]) -> dict[str, Any]:
    """Those of `kwargs` that say something of values of the columns `sensitive`: {"value_set": ["a", "b"]}."""
    condition = str(kwargs.get("row_condition") or "")
    if not (named(kwargs, type_=type_) & set(sensitive) or any(name in condition for name in sensitive)):
        return {}
    return {
        name: value
        for name, value in kwargs.items()
        if name not in ("batch_id", "mostly", "condition_parser") and not name.startswith("column")
    }


def withheld(raw_config: dict[str, Any], sensitive: Collection[str]) -> dict[str, Any]:
    """`raw_config` without what its expectations say of values of the columns `sensitive`."""
    expectations = []
    for each in raw_config["expectations"]:
        kwargs, type_ = each.get("kwargs") or {}, str(each.get("type"))
        masks = dict.fromkeys(stated_values(kwargs, type_=type_, sensitive=sensitive), WITHHELD)
        expectations.append({**each, "kwargs": kwargs | masks} if masks else each)
    return {**raw_config, "expectations": expectations}


def words_withheld(overrides: list[str], sensitive: Collection[str]) -> list[str]:
    """`overrides` without typed expectations, where there are columns `sensitive`."""
    typed = re.compile(r"[+~]*expectations\b")
    return [f"expectations={WITHHELD}" if sensitive and typed.match(word) else word for word in overrides]


def stands_in(text: str, expectations: list[dict[str, Any]], sensitive: Collection[str]) -> bool:
    """Whether one of the values that `expectations` name of the columns `sensitive` is a word of `text`."""
    stated = [
        stated_values(each.get("kwargs") or {}, type_=str(each.get("type")), sensitive=sensitive)
        for each in expectations
    ]
    return any(re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text) for value in _texts(stated))


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict | list):
        return [text for each in (value.values() if isinstance(value, dict) else value) for text in _texts(each)]
    return [] if value is None or isinstance(value, bool) or value == "" else [str(value)]

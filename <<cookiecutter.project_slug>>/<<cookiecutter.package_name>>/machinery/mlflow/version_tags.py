"""What this project writes on a version in the registry: the one place that says what each tag holds.

A tag is text; records, and `against`, are JSON. A user's own tags stand next to these.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

LONGEST = 5000  # characters of a text that are kept: MLflow refuses a tag of 100 000


@dataclass(frozen=True)
class SplitRecord:
    """How the table was split that a model was trained on: enough to tell later which rows those were.

    `key`, `group`, `time`, `drop` and `target` are the roles of columns, as in the config.
    """

    by: str
    shares: dict[str, float]  # {"test": 0.2, "validation": 0.0, "train": 0.8}
    target: str | None
    seed: int
    gap: str | None
    cuts: list[float]  # by time: where test rows and validation rows begin, as polars' physical numbers
    key: list[str]
    group: list[str]
    time: str | None
    drop: list[str]
    columns: str  # a hash of the column names where these identify a row; "" where columns.key does


@dataclass(frozen=True)
class ScoresRecord:
    """What a model scored when it was registered; `monitor` compares later scores with it."""

    test: dict[str, float]  # {"roc_auc": 0.993, "f1": 0.938}: the deciding one first; {} without a target
    interval: list[float | None]  # [low, high] of the deciding score
    rows: int  # test rows
    confidence: float  # of the interval


@dataclass(frozen=True)
class VersionTags:
    """The tags of a version, read; None and "" where one is not there."""

    digest: str = ""  # of what the model answers, see estimators.digest
    files: str = ""  # of the bytes of its files, see model_format.fingerprint_of_files
    trained: SplitRecord | None = None
    scores: ScoresRecord | None = None
    against: dict[str, str] | None = None  # the champion that it met: {"version": "3", "digest": "8c1f..."}
    gate: str = ""  # "passed" or "failed"
    reasons: str = ""  # the gates' sentences: all of them, or those of gates that failed
    rolled_back: str = ""  # "on 2026-11-02 by ana: wrong prices"; "" also once it is approved again
    approver: str = ""  # who made it champion by hand,
    approved: str = ""  # when ("2026-11-02 14:05 UTC")
    reason: str = ""  # and why


# of fields
_KINDS: Any = {"str": str, "int": int, "float": (int, float), "list": list, "dict": dict, "None": type(None)}
RECORDS = {"trained": SplitRecord, "scores": ScoresRecord}


def from_tags(tags: Mapping[str, str]) -> VersionTags:
    """What the `tags` of a version say; those that are not this project's are left out."""
    values: dict[str, Any] = {field.name: tags[field.name] for field in fields(VersionTags) if field.name in tags}
    if "against" in values:
        values["against"] = _record(
            values["against"], lambda version, digest, **_: {"version": version, "digest": digest}
        )
    for name, record in RECORDS.items():
        if name in values:
            values[name] = _record(values[name], functools.partial(_typed, record))
    return VersionTags(**values)


def _record(text: str, make: Callable[..., Any]) -> Any:
    """What `make` gives for the JSON object in `text`; None for another text, which somebody else has written there."""
    with suppress(ValueError, TypeError):
        return make(**json.loads(text))
    return None


def _typed(record: type, **stored: Any) -> Any:
    """`record` of the values that are `stored` for its fields. Raises TypeError where one is of another kind."""
    values = {field.name: stored[field.name] for field in fields(record) if field.name in stored}
    for field in fields(record):
        kinds = tuple(_KINDS[name.strip()] for name in re.sub(r"\[.*\]", "", str(field.type)).split("|"))
        if field.name in values and not isinstance(values[field.name], kinds):
            raise TypeError(field.name)
    return record(**values)


def to_tags(**values: Any) -> dict[str, str]:
    """`values`, some of the fields of VersionTags, as tags: {"gate": "passed", "against": "null"}."""
    assert values.keys() <= {field.name for field in fields(VersionTags)}
    return {name: _text(value) for name, value in values.items()}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value[:LONGEST]
    return json.dumps(asdict(value) if is_dataclass(value) and not isinstance(value, type) else value)

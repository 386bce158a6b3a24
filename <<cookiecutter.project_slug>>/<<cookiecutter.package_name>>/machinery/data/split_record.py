"""The record of a split, by which it is later known which rows a model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import polars as pl

from ..config.schema import Roles
from ..mlflow.version_tags import SplitRecord
from . import splits

if TYPE_CHECKING:
    from ..config.schema import Split

ROLES = ("key", "group", "time", "drop", "target")


def record_split(names: Sequence[str], *, split: Split, columns: Roles, seed: int, cuts: list[float]) -> SplitRecord:
    """The record of the `split` of a table that has the columns `names`; `cuts`: see splits.times."""
    shares = splits.shares(test=split.test, validation=split.validation, train=split.train)
    roles = {role: getattr(columns, role) for role in ROLES}
    whole_row = not columns.key and split.by in ("hash", "stratified")
    mark = _mark(names, columns.drop) if whole_row else ""
    return SplitRecord(by=split.by, shares=shares, seed=seed, gap=split.gap, cuts=cuts, columns=mark, **roles)


def can_replay(record: SplitRecord, names: Sequence[str]) -> bool:
    """Whether `record` tells the sides of the rows of a table with the columns `names`."""
    return not record.columns or record.columns == _mark(names, record.drop)


def replay(table: pl.LazyFrame, record: SplitRecord) -> pl.Series:
    """The side (n,) of each row of `table`, which has no column `split`, for the model that has this `record`."""
    roles = Roles(**{role: getattr(record, role) for role in ROLES})
    how: dict[str, Any] = {name: getattr(record, name) for name in ("by", "shares", "seed", "gap", "cuts")}
    return splits.assign(table, columns=roles, **how).select("split").collect().to_series()


def _mark(names: Sequence[str], drop: list[str]) -> str:
    kept = [name for name in names if name not in drop]
    return blake2b("\x1f".join(kept).encode(), digest_size=16).hexdigest()

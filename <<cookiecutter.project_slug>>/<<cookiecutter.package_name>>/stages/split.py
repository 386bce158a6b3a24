"""The table with a column `split`: which rows train a model and which are kept from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ..machinery.data import leakage as leakages
from ..machinery.data import splits
from ..machinery.errors import DataError
from ..machinery.result import StageResult

if TYPE_CHECKING:
    from ..machinery.config.schema import Leakage, Problem, Roles, Split
    from ..machinery.pipeline.store import Store


def split(store: Store, *, split: Split, columns: Roles, task: Problem, leakage: Leakage, seed: int) -> StageResult:
    """Raises DataError where a side is left without rows, and for leakage; rows without a target are left out."""
    shares = splits.shares(test=split.test, validation=split.validation, train=split.train)
    table = store.table("ingest")
    labelled = table
    if columns.target and task.kind != "anomaly":
        is_there = pl.col(columns.target).is_not_null()
        if table.collect_schema()[columns.target].is_float():
            is_there &= pl.col(columns.target).is_not_nan()
        labelled = table.filter(is_there)
    rows = labelled.select(pl.len()).collect().item()
    if not rows:
        raise DataError(f"columns.target={columns.target} is missing in every row: name another column")
    cuts = list(splits.times(labelled, shares=shares, columns=columns)) if split.by == "time" else []
    assigned = splits.assign(labelled, by=split.by, shares=shares, columns=columns, seed=seed, gap=split.gap, cuts=cuts)
    digest = store.save_table("split", assigned)
    counts = dict(store.table("split").group_by("split").len().sort("split").collect().iter_rows())
    for side, share in shares.items():
        if share and not counts.get(side):
            raise DataError(f"split.{side}={share:g} of {rows} rows is none: it takes more rows, or a larger share")
    if leaks := leakages.objections(store.table("split"), split, columns, task.kind, leakage, counts):
        raise DataError("; ".join(leaks))
    unlabelled = table.select(pl.len()).collect().item() - rows
    summary = ", ".join(f"{counts[side]:,} {side}" for side in ("train", "validation", "test", "gap") if side in counts)
    return StageResult(
        summary + (f" rows; {unlabelled:,} without {columns.target} left out" if unlabelled else " rows"),
        scores={f"rows_{side}": count for side, count in counts.items()},
        facts={"digest": digest, "rows": counts, "unlabelled": unlabelled, "cuts": cuts},
    )

"""The table with a column `split`: which rows train a model and which are kept from it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from ..machinery.data import leakage as leakages
from ..machinery.data import splits
from ..machinery.engines import places
from ..machinery.errors import DataError
from ..machinery.result import StageResult

if TYPE_CHECKING:
    from ..machinery.config.schema import Leakage, Problem, Roles, Split
    from ..machinery.pipeline.store import Store


def split(store: Store, *, split: Split, columns: Roles, task: Problem, leakage: Leakage, seed: int) -> StageResult:
    """Raises DataError where a side is left without rows, and for leakage; rows without a target are left out."""
    shares = splits.shares(test=split.test, validation=split.validation, train=split.train)
    table = store.table("ingest")
    target = columns.target if task.kind != "anomaly" else None
    labelled = splits.with_target(table, target)
    rows = labelled.select(pl.len()).collect(engine="streaming").item()
    if not rows:
        raise DataError(f"columns.target={columns.target} is missing in every row: name another column")
    cuts = list(splits.times(labelled, shares=shares, columns=columns)) if split.by == "time" else []
    parts = [splits.with_target(part, target) for part in store.parts("ingest")]
    parts = [labelled] if split.by == "stratified" else parts  # whose ranks are of the whole table
    how: dict[str, Any] = {"by": split.by, "shares": shares, "columns": columns, "seed": seed, "gap": split.gap}
    digest = store.save_parts("split", partial(splits.assign, **how, cuts=cuts), parts)
    counts = splits.Sides(store.table("split")).rows
    for side, share in shares.items():
        if share and not counts.get(side):
            raise DataError(f"split.{side}={share:g} of {rows} rows is none: it takes more rows, or a larger share")
    parts, most = store.parts("split"), store.engine.sample_rows
    some = places.few(store.engine, parts, rows=sum(counts.values()), most=most, columns=columns)
    if leaks := leakages.objections(some, split, columns, task.kind, leakage, splits.Sides(some).rows):
        raise DataError("; ".join(leaks))
    unlabelled = store.outcome("ingest").facts["rows"] - rows
    summary = ", ".join(f"{counts[side]:,} {side}" for side in ("train", "validation", "test", "gap") if side in counts)
    return StageResult(
        summary + (f" rows; {unlabelled:,} without {columns.target} left out" if unlabelled else " rows"),
        scores={f"rows_{side}": count for side, count in counts.items()},
        facts={"digest": digest, "rows": counts, "unlabelled": unlabelled, "cuts": cuts},
    )

"""The table with a column `split`: which rows train a model and which are kept from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from .. import splits
from ..errors import Refused
from ..outcomes import Outcome

if TYPE_CHECKING:
    from ..config import Columns, Split
    from ..store import Store


def split(store: Store, *, split: Split, columns: Columns, seed: int) -> Outcome:
    """Raises Refused where a side is left without rows; rows without a target are left out and counted."""
    shares = splits.shares(test=split.test, validation=split.validation, train=split.train)
    table = store.table("ingest")
    known = pl.col(columns.target).is_not_null()
    if table.collect_schema()[columns.target].is_float():
        known &= pl.col(columns.target).is_not_nan()
    labelled = table.filter(known)
    assigned = splits.assign(labelled, by=split.by, shares=shares, key=columns.key, target=columns.target, seed=seed)
    digest = store.save_table("split", assigned)
    counts = dict(store.table("split").group_by("split").len().sort("split").collect().iter_rows())
    for side, share in shares.items():
        if share and not counts.get(side):
            rows = sum(counts.values())
            raise Refused(f"split.{side}={share:g} of {rows} rows is none: it takes more rows, or a larger share")
    unlabelled = table.select(pl.len()).collect().item() - sum(counts.values())
    summary = ", ".join(f"{counts[side]:,} {side}" for side in ("train", "validation", "test") if counts.get(side))
    return Outcome(
        summary + (f" rows; {unlabelled:,} without {columns.target} left out" if unlabelled else " rows"),
        scores={f"rows_{side}": count for side, count in counts.items()},
        facts={"digest": digest, "rows": counts, "unlabelled": unlabelled},
    )

"""The table with a column `split`: which rows train a model and which are kept from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ..machinery.data import leakage as leaks
from ..machinery.data import splits
from ..machinery.errors import DataError
from ..machinery.result import StageResult

if TYPE_CHECKING:
    from ..config import Leakage, Problem, Roles, Split
    from ..machinery.pipeline.store import Store


def split(store: Store, *, split: Split, columns: Roles, task: Problem, leakage: Leakage, seed: int) -> StageResult:
    """Raises DataError where a side is left without rows, and for leakage; rows without a target are left out."""
    shares = splits.shares(test=split.test, validation=split.validation, train=split.train)
    table = store.table("ingest")
    labelled = table
    if columns.target and task.kind != "anomaly":
        known = pl.col(columns.target).is_not_null()
        if table.collect_schema()[columns.target].is_float():
            known &= pl.col(columns.target).is_not_nan()
        labelled = table.filter(known)
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
    if found := _leaks(store.table("split"), split, columns, task, leakage, counts):
        raise DataError("; ".join(found))
    unlabelled = table.select(pl.len()).collect().item() - rows
    summary = ", ".join(f"{counts[side]:,} {side}" for side in ("train", "validation", "test", "gap") if side in counts)
    return StageResult(
        summary + (f" rows; {unlabelled:,} without {columns.target} left out" if unlabelled else " rows"),
        scores={f"rows_{side}": count for side, count in counts.items()},
        facts={"digest": digest, "rows": counts, "unlabelled": unlabelled, "cuts": cuts},
    )


def _leaks(
    table: pl.LazyFrame, split: Split, columns: Roles, task: Problem, leakage: Leakage, counts: dict[str, int]
) -> list[str]:
    """A sentence for each guard that finds something, see leakage.py, unless leakage.allow names it."""
    found = []
    out = {columns.target, "split", *columns.key, *columns.group, *columns.drop}
    names = [name for name in table.collect_schema().names() if name not in out]
    if columns.target and task.kind != "anomaly":
        rows = leaks.sample(table.filter(split="train"), rows=counts["train"], most=leaks.ROWS)
        asked = [name for name in names if name not in leakage.allow]
        told = leaks.tell_all(rows, target=columns.target, kind=task.kind, names=asked)
        found += [
            f"column {name} alone tells {share:.4f} of {columns.target} (leakage.threshold={leakage.threshold:g}): "
            f"columns.drop=[{name}] if it is known only afterwards, else leakage.allow=[{name}]"
            for name, share in told.items()
            if share >= leakage.threshold
        ]
    same = [*names, *([columns.target] if columns.target else [])]
    if "rows" not in leakage.allow and names and (share := leaks.twins(table, names=same, rows=counts["test"])):
        found.append(
            f"{share:.1%} of the test rows have a twin among the training rows: take the repeated rows out of the "
            "source, or name what they share in columns.group and take split=group; leakage.allow=[rows] lets them be"
        )
    if columns.group and split.by != "time" and "groups" not in leakage.allow:  # whom one knows comes again, later
        both, groups = leaks.straddling(table, group=columns.group)
        if both:
            found.append(
                f"{both:,} of {groups:,} groups of {', '.join(columns.group)} stand on both sides: take split=group; "
                "leakage.allow=[groups] lets them be"
            )
    if columns.time and "time" not in leakage.allow and (late := leaks.late(table, time=columns.time)):
        found.append(
            f"{late:,} of {counts['train']:,} training rows are no earlier than the first test row by {columns.time}: "
            "take split=time; leakage.allow=[time] lets them be"
        )
    return found

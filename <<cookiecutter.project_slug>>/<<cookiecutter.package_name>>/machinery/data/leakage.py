"""What would make a model look better than it is: columns that give the target away, rows that stand on both sides."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from .frames import sample

if TYPE_CHECKING:
    from ..config.schema import Leakage, Roles, Split

LEAST = 40  # fewer rows prove nothing
ROWS = 10_000  # are enough to find repeated rows
TELLING = 4_000  # are enough to find a column that gives the target away
STEPS = 20  # a column of more different values is no grouping of a number
TWINS = 0.1  # the share of test rows with a twin among the training rows that is not chance any more


def objections(
    table: pl.LazyFrame, split: Split, columns: Roles, kind: str, leakage: Leakage, counts: dict[str, int]
) -> list[str]:
    """A sentence for each guard that objects to the `split` table, unless leakage.allow names it.

    `kind`: of the task; `counts`: rows of each side, {"train": 262, "test": 71}.
    """
    sentences = []
    out = {columns.target, "split", *columns.key, *columns.group, *columns.drop}
    names = [name for name in table.collect_schema().names() if name not in out]
    if columns.target and kind != "anomaly":
        rows = sample(table.filter(split="train"), rows=counts["train"], most=TELLING)
        guarded = [name for name in names if name not in leakage.allow]
        sentences += [
            f"column {name} alone tells {share:.4f} of {columns.target} (leakage.threshold={leakage.threshold:g}): "
            f"columns.drop=[{name}] if it is known only afterwards, else leakage.allow=[{name}]"
            for name, share in tell_all(rows, target=columns.target, kind=kind, names=guarded).items()
            if share >= leakage.threshold
        ]
    same = [*names, *([columns.target] if columns.target else [])]
    if "rows" not in leakage.allow and names and (share := twins(table, names=same, rows=counts["test"])):
        sentences.append(
            f"{share:.1%} of the test rows have a twin among the training rows: take the repeated rows out of the "
            "source, or name what they share in columns.group and take split=group; leakage.allow=[rows] lets them be"
        )
    if columns.group and split.by != "time" and "groups" not in leakage.allow:  # by time, groups come again by design
        both, groups = straddling(table, group=columns.group)
        if both:
            sentences.append(
                f"{both:,} of {groups:,} groups of {', '.join(columns.group)} stand on both sides: take split=group; "
                "leakage.allow=[groups] lets them be"
            )
    if columns.time and "time" not in leakage.allow and (after := late(table, time=columns.time)):
        sentences.append(
            f"{after:,} of {counts['train']:,} training rows are no earlier than the first test row by {columns.time}: "
            "take split=time; leakage.allow=[time] lets them be"
        )
    return sentences


def tell_all(rows: pl.DataFrame, *, target: str, kind: str, names: Collection[str]) -> dict[str, float]:
    """How much each of the columns `names` alone tells of the target, the most telling first.

    0 is nothing, 1 all: of a class the share of the majority's errors that a tree over that one column does not make,
    of a number R² of such a tree, both on rows that it was not fitted to, or the squared rank correlation; or, of a
    number, how well the number tells the column, where that has few values.
    """
    rows = rows.filter(pl.col(target).is_not_null())
    classes = kind != "regression"
    wanted = _codes(rows[target]) if classes else rows[target].cast(pl.Float64).fill_nan(None).to_numpy()
    different = len(np.unique(wanted))
    if len(rows) < LEAST or different < 2 or (classes and different > len(rows) / 4):
        return {}
    shares = {}
    for name in names:
        values = rows[name]
        if values.n_unique() < 2 or values.dtype.is_nested():
            continue
        share = _power(_numbers(values), wanted, classes=classes)
        if not classes:
            share = max(share, _ranked(_numbers(values), wanted))
            if 2 <= values.n_unique() <= STEPS and values.value_counts()["count"].to_numpy().min() >= STEPS:
                share = max(share, _power(wanted, _codes(values), classes=True))
        shares[name] = share
    return dict(sorted(shares.items(), key=lambda each: -each[1]))


def twins(table: pl.LazyFrame, *, names: list[str], rows: int) -> float:
    """The share of the `rows` test rows that equal a training row in all of `names`; 0 where that may be chance."""
    marked = table.select("split", mark=pl.struct(names).hash())  # of polars' own, within one process
    marks = sample(marked.filter(split="test"), rows=rows, most=ROWS)["mark"]
    same = pl.col("mark").is_in(marks.unique().implode())
    repeated = (
        marked.filter((pl.col("split") == "train") & same).select(pl.col("mark").unique()).collect(engine="streaming")
    )
    share = float(np.mean(marks.is_in(repeated["mark"].implode()).to_numpy()))
    kept = table.filter(pl.col("split").is_in(["train", "test"]))
    return share if share >= TWINS and not by_chance(kept, names=names) else 0.0


def by_chance(table: pl.LazyFrame, *, names: list[str]) -> bool:
    """Whether rows of `table` may well be equal in all columns `names` by chance.

    They may where no column holds values that hardly repeat, or where so few different ones stand in all of them that
    rows would meet, were the columns independent.
    """
    meet, most, rows = 1.0, 0, 1.0
    for name in names:
        counts = table.group_by(name).len().collect(engine="streaming")["len"].cast(pl.Float64)
        rows = float(counts.sum())
        meet *= float(((counts / rows) ** 2).sum())
        most = max(most, len(counts))
    return rows * meet > 0.02 or most < 0.1 * rows


def straddling(table: pl.LazyFrame, *, group: list[str]) -> tuple[int, int]:
    """How many groups of `table` have rows on more than one side, and how many groups there are."""
    sides = table.filter(pl.col("split") != "gap").group_by(group).agg(pl.col("split").n_unique())
    counts = sides.select((pl.col("split") > 1).sum().alias("both"), pl.len().alias("all"))
    both, whole = counts.collect(engine="streaming").row(0)
    return both, whole


def late(table: pl.LazyFrame, *, time: str) -> int:
    """How many training rows are as late as the first test row, or later."""
    first = table.filter(split="test").select(pl.col(time).min())
    return table.filter(split="train").select((pl.col(time) >= first.collect().item()).sum()).collect().item()


def _power(given: np.ndarray, wanted: np.ndarray, *, classes: bool) -> float:
    """How much of `wanted` (n,) a tree over `given` (n,) gets wrong on rows that it was not fitted to."""
    half = np.random.default_rng(0).permutation(len(given)) % 2 == 0
    wrong = np.zeros(len(given))
    for side in (half, ~half):
        tree = (DecisionTreeClassifier if classes else DecisionTreeRegressor)(random_state=0, max_leaf_nodes=1000)
        answer = tree.fit(given[side, None], wanted[side]).predict(given[~side, None])
        wrong[~side] = answer != wanted[~side] if classes else (answer - wanted[~side]) ** 2
    if not classes:
        return float(1 - wrong.mean() / max(wanted.var(), np.finfo(float).tiny))
    counts = np.bincount(wanted)
    cuts = DecisionTreeClassifier(random_state=0, max_leaf_nodes=len(counts)).fit(given[:, None], wanted)
    if (cuts.predict(given[:, None]) == wanted).all():  # a row beside a cut may fall on the wrong side above
        return 1.0
    return float(1 - wrong.mean() / (1 - counts.max() / len(wanted)))


def _ranked(given: np.ndarray, wanted: np.ndarray) -> float:
    """The squared rank correlation of two numbers (n,): 1 where one is a monotone function of the other."""
    if np.isnan(given).mean() > 0.1:
        return 0.0
    there = ~np.isnan(given)
    ranks = [pl.Series(values[there]).rank().to_numpy() for values in (given, wanted)]
    if not ranks[0].std() or not ranks[1].std():
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1] ** 2)


def as_text(values: pl.Series) -> pl.Series:
    """Each of `values` as a text; a time as its number, which polars writes no text of for all types."""
    return (values.to_physical() if values.dtype.is_temporal() else values).cast(pl.String)


def _codes(values: pl.Series) -> np.ndarray:
    return as_text(values).fill_null("").rank("dense").cast(pl.Int64).to_numpy() - 1


def _numbers(values: pl.Series) -> np.ndarray:
    """A column as float64 (n,): texts as the place of each in their order."""
    if values.dtype.is_numeric() or values.dtype.is_temporal() or values.dtype == pl.Boolean:
        numbers = values.to_physical().cast(pl.Float64).to_numpy().astype(np.float64)
        return np.where(np.isfinite(numbers) & (np.abs(numbers) < 1e38), numbers, np.nan)  # trees take float32
    return _codes(values).astype(np.float64)

"""Which rows are for training and which are kept from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import polars.selectors as cs

from ..engines.places import place
from ..errors import ConfigError, ProjectError

if TYPE_CHECKING:
    from ..config.schema import Roles

RULES = ("hash", "stratified", "group", "time")


class Sides(Mapping[str, pl.DataFrame]):
    """The rows of each side of a `table` with the column `split`: {"train": rows, "test": rows}.

    They are read when they are asked for, each time anew: no more than is in use takes memory.
    """

    def __init__(self, table: pl.LazyFrame) -> None:
        self.table = table
        self.rows = dict(table.group_by("split").len().sort("split").collect(engine="streaming").iter_rows())

    def __getitem__(self, side: str) -> pl.DataFrame:
        if side not in self.rows:
            raise KeyError(side)
        return self.lazy(side).collect(engine="streaming")

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def lazy(self, side: str) -> pl.LazyFrame:
        """The rows of `side`, not read yet."""
        return self.table.filter(pl.col("split") == side)


def shares(*, test: float, validation: float, train: float | None) -> dict[str, float]:
    """The share of each side; `train` defaults to the rest. Raises ConfigError unless they sum to 1."""
    given = {"test": test, "validation": validation, "train": 1 - test - validation if train is None else train}
    stated = ", ".join(
        f"split.{side}={share:g}" for side, share in given.items() if side != "train" or train is not None
    )
    total = round(test + validation + (train or 0), 9)
    if total != 1 and (train is not None or total > 1):
        raise ConfigError(f"{stated}: shares sum to {total:g}, not 1")
    if min(given.values()) < 0 or test <= 0 or given["train"] <= 0:
        raise ConfigError(
            f"{stated}: split.test and what is left for training are more than 0, split.validation at least 0"
        )
    return given


def with_target(table: pl.LazyFrame, target: str | None) -> pl.LazyFrame:
    """The rows of `table` that have a `target`; all without one."""
    return table if target is None else table.drop_nulls(target).drop_nans(cs.by_name(target) & cs.float())


def assign(
    table: pl.LazyFrame,
    *,
    by: str,
    shares: dict[str, float],
    columns: Roles,
    seed: int,
    gap: str | None = None,
    cuts: list[float] | None = None,
) -> pl.LazyFrame:
    """`table` with the column `split`: "test", "validation" or "train"; by `time` with a `gap` also "gap".

    By `hash`, a row's side follows from its identity and the seed alone: it stays as the table grows; by `group`, from
    the group's. By `stratified`, the rows of each class are put in the order of that hash and
    cut by the shares. By `time`, the rows are cut at `cuts`, see times. Raises ProjectError for columns that are not as
    the
    rule needs them.
    """
    if by not in RULES:
        raise ConfigError(f"split.by={by}: it is one of {', '.join(RULES)}")
    if by == "time":
        return _timed(table, columns, cuts or list(times(table, shares=shares, columns=columns)), gap)
    if by == "group" and not columns.group:
        raise ConfigError("split=group needs columns.group: the columns that say which rows belong together")
    placed = position(table, key=columns.group if by == "group" else identity(table, columns), seed=seed)
    if by == "stratified":
        _refuse_numbers(table, columns.target)
        placed = placed.with_columns(
            (pl.col("split").rank("ordinal").over(columns.target) - 0.5) / pl.len().over(columns.target)
        )
    return placed.with_columns(split=_side(shares["test"], shares["test"] + shares["validation"]))


def times(table: pl.LazyFrame, *, shares: dict[str, float], columns: Roles) -> tuple[float, float]:
    """The times at which the test rows and the validation rows of `table` begin, as polars' physical numbers."""
    name = columns.time
    if not name:
        raise ConfigError("split=time needs columns.time: the column that orders the rows")
    dtype = table.collect_schema()[name]
    if not (dtype.is_temporal() or dtype.is_numeric()):
        raise ProjectError(
            f"columns.time={name} holds {dtype}, not dates or numbers: types.{name} can say how it is read"
        )
    if missing := table.select(pl.col(name).is_null().sum()).collect().item():
        raise ProjectError(f"columns.time={name} is missing in {missing:,} rows: split=time needs it in each")
    when = table.select(pl.col(name).to_physical().sort()).collect().to_series()
    first, second = 1 - shares["test"], 1 - shares["test"] - shares["validation"]
    return when[min(int(len(when) * first), len(when) - 1)], when[int(len(when) * second)]


def folds(
    table: pl.DataFrame, *, by: str, count: int, columns: Roles, seed: int, gap: str | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The row numbers of `table` to train on and those to test on, for each of `count` folds, by the rule of `assign`.

    Every row is tested on once; by `time` but for the earliest, each fold being trained on what comes before it (and
    before a `gap`). Twins, and the rows of a group, stay together. Raises ProjectError for a fold without rows.
    """
    if by == "time":
        pairs = _windows(table.with_row_index("split row"), count, columns, gap)
    else:
        key = columns.group if by == "group" else identity(table.lazy(), columns)
        rank = pl.col("split").rank("dense")  # evenly, which positions that are cut by shares are not any more
        if by == "stratified":
            rank = rank.over(columns.target)
        fold = position(table.lazy(), key=key, seed=seed).select((rank - 1) % count).collect().to_series().to_numpy()
        pairs = [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(count)]
    if not all(len(side) for pair in pairs for side in pair):
        raise ProjectError(f"{count} folds of {len(table):,} rows by split={by}: one has no rows, take fewer folds")
    return pairs


def identity(table: pl.LazyFrame, columns: Roles) -> list[str]:
    """The columns that tell a row from others: the key, or else all that are not dropped."""
    return columns.key or [name for name in table.collect_schema().names() if name not in columns.drop]


def together(rows: pl.DataFrame, columns: Roles) -> np.ndarray:
    """For each of the `rows` (n,) the number of the first one that it belongs to: of its group, or with its values."""
    names = columns.group or identity(rows.lazy(), columns)
    return rows.with_row_index("split row").select(pl.col("split row").min().over(names)).to_series().to_numpy()


def position(table: pl.LazyFrame, *, key: list[str], seed: int) -> pl.LazyFrame:
    """`table` with the column `split`: a number in [0, 1) out of BLAKE2b over the seed and the row's key columns.

    polars' own hash changes between versions; this one must not, or rows would change side.
    """
    return table.with_columns(split=place(table, key, seed))


def _side(first: float, second: float) -> pl.Expr:
    """The side by the number `split` in [0, 1)."""
    place = pl.col("split")
    side = pl.when(place < first).then(pl.lit("test")).when(place < second).then(pl.lit("validation"))
    return side.otherwise(pl.lit("train"))


def _timed(table: pl.LazyFrame, columns: Roles, cuts: list[float], gap: str | None) -> pl.LazyFrame:
    """Sides by time: test from the first of `cuts` on, validation from the second on, "gap" close before them."""
    dtype, when = table.collect_schema()[columns.time or ""], pl.col(columns.time or "")
    test, validation = (pl.lit(cut).cast(dtype) for cut in cuts)
    side = pl.when(when >= test).then(pl.lit("test")).when(when >= validation).then(pl.lit("validation"))
    sided = table.with_columns(split=side.otherwise(pl.lit("train")))
    if not gap:
        return sided
    try:
        early = [cut - float(gap) if dtype.is_numeric() else cut.dt.offset_by(f"-{gap}") for cut in (test, validation)]
        close = ((when >= early[0]) & (when < test)) | ((when >= early[1]) & (when < validation))
        gapped = sided.with_columns(split=pl.when(close).then(pl.lit("gap")).otherwise(pl.col("split")))
        gapped.head(1).collect()
    except (ValueError, pl.exceptions.PolarsError) as error:
        raise ProjectError(
            f"split.gap={gap}: give a duration such as 30d, 12h or 1mo where {columns.time} holds dates, else a number"
        ) from error
    return gapped


def _windows(table: pl.DataFrame, count: int, columns: Roles, gap: str | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """The row numbers of the folds by time: each of `count` stretches tested by what was trained on all before it."""
    name = columns.time or ""
    when = table[name].to_physical().sort()
    cuts = [when[len(when) * (number + 1) // (count + 1)] for number in range(count)]
    pairs = []
    for number, cut in enumerate(cuts):
        rows = table.filter(pl.col(name).to_physical() < cuts[number + 1]) if number + 1 < count else table
        sided = _timed(rows.lazy(), columns, [cut, cut], gap).select("split row", "split").collect()
        pairs.append(tuple(sided.filter(split=side)["split row"].to_numpy() for side in ("train", "test")))
    return pairs  # type: ignore[return-value]


def _refuse_numbers(table: pl.LazyFrame, target: str | None) -> None:
    if target is None:
        raise ConfigError("split=stratified needs columns.target: use split=hash")
    different = table.select(pl.col(target).n_unique()).collect().item()
    if table.collect_schema()[target].is_numeric() and different > 100:
        raise ProjectError(
            f"split=stratified needs classes, and {target} holds {different} different numbers: use split=hash"
        )

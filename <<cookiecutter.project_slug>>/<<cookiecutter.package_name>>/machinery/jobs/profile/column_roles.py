"""Guesses about the role of each column of a new table: key, group, time, or none, with the reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from ...data import leakage as leaks
from .column_names import AMBIGUOUS, GROUPS, ROW_NUMBERS, STRICT_IDS, is_id, words
from .column_types import FEW
from .profiles import Column

ROW_NUMBER = "a row number"
UNIQUE = "different in every row"


def repeats(table: pl.LazyFrame) -> int:
    """How many rows of `table` repeat an earlier one, whatever a row number says."""
    schema = table.collect_schema()
    names = [name for name in schema if schema[name] != pl.Object and not ROW_NUMBERS.search(words(name))]
    if not names:
        return 0
    counted = table.select(all=pl.len(), different=pl.struct(names).hash().n_unique())
    rows, different = counted.collect(engine="streaming").row(0)
    return rows - different


def assign_roles(columns: list[Column], sample: pl.DataFrame, *, rows: int, repeated: int = 0) -> None:
    """Sets the role and reason of each of `columns` that is a feature so far, from its values in the typed `sample`.

    `rows`: of the whole table, of which so many are `repeated`: a few do not make a key less of one.
    """
    step = max(1, round(rows / len(sample)))
    keys, rows = [], rows - repeated if repeated < 0.05 * rows else rows
    for column in columns:
        if column.role == "feature" and not _is_useless(column):
            keys += [column] if _is_key(column, sample[column.name], rows, step) else []
    for column in sorted(keys, key=lambda each: not is_id(each.name))[1:]:  # what is called an id is one rather
        column.role = "drop"
    _find_time(columns, sample)


def _is_useless(column: Column) -> bool:
    """Whether a column can be dropped by what it holds; its role and reason say so then."""
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        column.reason = f"holds {column.dtype}"
    elif column.missing == 1:
        column.reason = "missing in every row"
    elif column.distinct <= 1 and not column.missing:
        column.reason = "the same in every row"
    elif column.sensitive and column.text:
        column.reason = "personal"
    else:
        return False
    column.role = "drop"
    return True


def _is_key(column: Column, values: pl.Series, rows: int, step: int) -> bool:
    """Whether a column could be the table's key; if not, it gets the role group or drop where it seems to be that."""
    name, number, whole = words(column.name), _numbers_rows(values, step), _is_whole(values)
    unique = column.missing == 0 and column.distinct >= 0.999 * rows and rows > 2
    present, tokens = rows * (1 - column.missing), _tokens(values)
    named = ROW_NUMBERS.search(name) and (number or (column.text if name in AMBIGUOUS else whole))
    if named and (unique or (number and name not in AMBIGUOUS)):
        column.role, column.reason = "drop", ROW_NUMBER
    elif unique and whole and (is_id(name) or number or (column.text and tokens < 1.5 and not column.doubt)):
        column.role, column.reason = "key", UNIQUE
    elif column.sensitive and is_id(name):
        column.role, column.reason = "drop", "personal"
    elif GROUPS.search(name) and whole and column.distinct >= 10:
        again = max(0.0, 1 - column.distinct / present)
        column.role, column.reason = ("group", f"{column.distinct:,} of them; comes again in {again:.0%} of rows")
    elif STRICT_IDS.search(name) and whole and column.distinct > present / 2 and not column.text:
        column.role, column.reason = "drop", "an id by its name, and different in most rows"
    elif column.text and tokens < 4 and column.distinct > max(18, 0.9 * present) and not column.doubt:
        column.role, column.reason = "drop", "different in nearly every row"
    return column.role == "key"


def drop_leaks(columns: list[Column], scores: dict[str, float], *, threshold: float, target: str) -> None:
    """Gives the role drop to features whose score, as the only feature, is at least `threshold`: {"id": 0.999}."""
    for column in columns:
        if column.role == "feature" and scores.get(column.name, 0) >= threshold:
            column.role, column.reason = "drop", f"alone tells {scores[column.name]:.3f} of {target}: leakage?"


def twins(columns: list[Column], sample: pl.DataFrame) -> None:
    """Gives the role drop to features (almost) equal to an earlier one: by values, or numbers in another unit."""
    features = [column for column in columns if column.role == "feature" and column.distinct > 2]
    seen: dict[Any, Column] = {}
    for column in features:
        mark = tuple(leaks.as_text(sample[column.name].head(2000)).rank("dense").to_list())
        _same(seen.setdefault(mark, column), column)
    numbers = [column for column in features if column.role == "feature" and column.number and column.distinct > FEW]
    if len(numbers) < 2:
        return
    values = sample.head(5000).select(pl.col(column.name).cast(pl.Float64) for column in numbers).to_numpy()
    values = np.where(np.isfinite(values), values, np.nan)
    with np.errstate(all="ignore"):
        scaled = np.nan_to_num((values - np.nanmean(values, axis=0)) / np.nanstd(values, axis=0))
    alike = np.abs(scaled.T @ scaled) / len(scaled) > 0.99999 * (1 - np.isnan(values).mean(axis=0))
    for later, earlier in np.argwhere(np.tril(alike, -1)):
        if numbers[earlier].role == "feature" and abs(numbers[earlier].missing - numbers[later].missing) < 0.01:
            _same(numbers[earlier], numbers[later])


def settle_key(columns: list[Column], *, repeated: float, by_chance: bool) -> None:
    """Decides whether a row's key or its content assigns it to a side of the split.

    `repeated`: the share of rows equal to another in features and target. Where that happens `by_chance`, a key, or a
    row number, keeps such rows apart; otherwise their content keeps them on one side.
    """
    if repeated < 0.05:
        return
    keys = [column for column in columns if column.role == "key"]
    numbers = [column for column in columns if column.reason == ROW_NUMBER]
    if by_chance and not keys and numbers:
        numbers[0].role, numbers[0].reason = "key", f"{ROW_NUMBER}; {repeated:.0%} of the rows are alike but for it"
    for column in keys if not by_chance else []:
        column.role, column.reason = "drop", f"no key: {repeated:.0%} of the rows are repeated but for it"


def _find_time(columns: list[Column], sample: pl.DataFrame) -> None:
    """Gives the role time to the first date by which the rows are sorted."""
    dates = [column for column in columns if column.role == "feature" and column.dtype in (pl.Date, pl.Datetime)]
    for column in dates:
        values = sample[column.name].drop_nulls()
        if column.missing == 0 and column.distinct > 10 and (values.is_sorted() or values.is_sorted(descending=True)):
            column.role, column.reason = "time", "the rows are sorted by it"
            return


def _tokens(values: pl.Series) -> float:
    """The mean number of words in `values`; 0 where they are not text."""
    if values.dtype != pl.String:
        return 0
    counts = values.drop_nulls().str.count_matches(r"\S+").to_numpy()
    return float(counts.mean()) if len(counts) else 0


def _same(earlier: Column, later: Column) -> None:
    if earlier is not later and later.role == "feature":
        later.role, later.reason = "drop", f"says the same as {earlier.name}"


def _numbers_rows(values: pl.Series, step: int) -> bool:
    """Whether whole numbers count the rows, of which the sample has one in each `step`, but for a few."""
    if not values.dtype.is_integer():
        return False
    steps = values.diff().drop_nulls()
    return len(steps) > 1 and bool((steps == step).to_numpy().mean() >= 0.99)


def _is_whole(values: pl.Series) -> bool:
    """Whether a column holds no fractions: pandas makes floats of whole numbers where some are missing."""
    return not values.dtype.is_float() or bool((values.drop_nulls() % 1 == 0).all())

"""Guesses about a new table: what its columns hold, the task, the settings that suit it, expectations."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from ...data import leakage, parsing
from ...errors import ProjectError
from .column_types import FEW, NOT_UNDERSTOOD, Reading

LARGE = ("large for a blend", "many classes")
POSITIVE = {word for word, means in parsing.TRUTH.items() if means} - {"o"} | {"positive"}
AT_ONCE = 500  # columns: polars holds over a megabyte for each whose values it counts


@dataclass
class Column:
    """What is decided about one column, and the reason."""

    name: str
    dtype: pl.DataType  # after it was read as its type
    missing: float  # the share of rows
    present: int  # the values that are not missing
    distinct: int
    role: str = "feature"  # target, key, group, time, drop or feature
    reason: str = ""
    sensitive: bool = False
    doubt: str = ""  # why it is text though most of its values are not: "159 of 160 values are numbers, row 1 is not"
    association: float | None = None  # with the target, from 0 to 1

    @property
    def number(self) -> bool:
        return self.dtype.is_numeric()

    @property
    def text(self) -> bool:
        return self.dtype in (pl.String, pl.Categorical, pl.Enum)


def as_modelled(table: pl.LazyFrame) -> pl.LazyFrame:
    """`table` with what features and targets see: NaN is missing, a category is its text, a decimal a number."""
    how: dict[str, pl.Expr] = {}
    for name, dtype in table.collect_schema().items():
        if dtype.is_float():
            how[name] = pl.col(name).fill_nan(None)
        elif dtype.is_decimal():
            how[name] = pl.col(name).cast(pl.Float64)
        elif dtype in (pl.Categorical, pl.Enum):
            how[name] = pl.col(name).cast(pl.String)
    return table.with_columns(**how)


def counts(table: pl.LazyFrame) -> dict[str, dict[str, int]]:
    """The missing and the distinct values of each column of `table`: {"island": {"nulls": 0, "distinct": 3}}."""
    schema = table.collect_schema()
    nested = {name for name, dtype in schema.items() if dtype.is_nested() or dtype == pl.Object}
    nulls = table.select(pl.all().null_count()).collect(engine="streaming").row(0)
    names: list[str] = list(schema)
    different: list[int] = []
    for first in range(0, len(names), AT_ONCE):
        part = names[first : first + AT_ONCE]
        unique = table.select(pl.len().alias(each) if each in nested else pl.col(each).n_unique() for each in part)
        different += unique.collect(engine="streaming").row(0)
    rows = zip(names, nulls, different, strict=True)
    return {name: {"nulls": absent, "distinct": each - (absent > 0)} for name, absent, each in rows}


def columns(
    sample: pl.DataFrame,
    counted: dict[str, dict[str, int]],
    *,
    rows: int,
    target: str | None,
    personal: Collection[str],
) -> list[Column]:
    """A Column for each column of `sample`, with the role feature or target; assign_roles decides the rest.

    `counted`: the counts of all `rows`, see counts.
    """
    return [
        Column(
            name,
            dtype,
            missing=counted[name]["nulls"] / rows,
            present=rows - counted[name]["nulls"],
            distinct=counted[name]["distinct"],
            role="target" if name == target else "feature",
            sensitive=name in personal,
        )
        for name, dtype in sample.schema.items()
    ]


def doubt(columns: list[Column], odd: dict[str, tuple[int, int]], reading: Reading) -> None:
    """Says of the columns that `odd` names how many of their values are not of the type of the others: (count, row)."""
    for column in columns:
        if reading.remarks.get(column.name) == NOT_UNDERSTOOD:
            column.reason = column.doubt = NOT_UNDERSTOOD
        if column.name not in odd:
            continue
        count, first = odd[column.name]
        present = column.present + (count if reading.types[column.name].get("odd") else 0)
        holds = "numbers" if reading.nearly[column.name]["kind"] in ("number", "integer") else "dates"
        rest = f"row {first:,} is not" if count == 1 else f"{count:,} are not, the first in row {first:,}"
        column.reason = column.doubt = f"{present - count:,} of {present:,} values are {holds}, {rest}"


def classes(values: pl.Series) -> dict[Any, int]:
    """The number of rows of each class of a target, the most frequent first: {"male": 168, "female": 165}."""
    return dict(values.drop_nulls().value_counts(sort=True).iter_rows())


def associate(columns: list[Column], sample: pl.DataFrame, *, target: str) -> None:
    """Sets each feature's association with the target: bias-corrected Cramér's V, numbers and dates in ten bins.

    Source: Bergsma, A bias-correction for Cramér's V and Tschuprow's T, 2013
    """
    rows = sample.filter(pl.col(target).is_not_null())
    wanted = _bins(rows[target])
    for column in columns:
        if column.role in ("target", "key") or column.dtype.is_nested() or column.distinct < 1:
            continue
        given = _bins(rows[column.name])
        counts = np.zeros((given.max() + 1, wanted.max() + 1))
        np.add.at(counts, (given, wanted), 1)
        total, size = counts.sum(), (counts.shape[0] - 1, counts.shape[1] - 1)
        if min(size) < 1 or total < 3:
            column.association = 0.0
            continue
        expected = counts.sum(axis=1, keepdims=True) @ counts.sum(axis=0, keepdims=True) / total
        spread = ((counts - expected) ** 2 / np.maximum(expected, 1e-300)).sum() / total
        least = min(each - each**2 / (total - 1) for each in size)
        fixed = max(0.0, spread - size[0] * size[1] / (total - 1))
        column.association = float(min(1.0, np.sqrt(fixed / least))) if least > 0 else 0.0


def facts(columns: list[Column], table: pl.LazyFrame) -> dict[str, dict[str, Any]]:
    """The range or the set of values of each column in use: {"age": {"min": 17, "max": 90}, "sex": {"set": [...]}}."""
    used = [column for column in columns if column.role in ("feature", "time", "target") and not column.sensitive]
    numbers = [column.name for column in used if column.number]
    sets = [column.name for column in used if column.dtype in (pl.String, pl.Boolean) and column.distinct <= FEW]
    finite = {name: pl.col(name).cast(pl.Float64).filter(pl.col(name).cast(pl.Float64).is_finite()) for name in numbers}
    expressions = [finite[name].min().alias(f"{at} min") for at, name in enumerate(numbers)]
    expressions += [finite[name].max().alias(f"{at} max") for at, name in enumerate(numbers)]
    expressions += [
        pl.col(name).drop_nulls().unique().sort().implode().alias(f"{at} set") for at, name in enumerate(sets)
    ]
    row = table.select(expressions).collect(engine="streaming").row(0, named=True) if expressions else {}
    ranges = {name: {"min": row[f"{at} min"], "max": row[f"{at} max"]} for at, name in enumerate(numbers)}
    return ranges | {name: {"set": row[f"{at} set"]} for at, name in enumerate(sets)}


def is_truth(levels: pl.Series) -> bool:
    """Whether the different texts `levels` are words for yes and no, of one language or another."""
    means = {parsing.TRUTH.get(each) for each in levels.str.to_lowercase()}
    return means == {True, False}


def task(values: pl.Series) -> str:
    """The task for a target with these `values`: binary, multiclass or regression.

    Raises ProjectError for a target that cannot be predicted: all missing, constant, too many classes.
    """
    present = values.drop_nulls()
    name, different, rows = values.name, present.n_unique(), len(present)
    if values.dtype.is_float() and not present.is_finite().all():
        raise ProjectError(f"target={name} holds infinite values: leave such rows out of the table")
    if not rows:
        raise ProjectError(f"target={name} is missing in every row: name another column")
    if different == 1:
        raise ProjectError(f"target={name} has the same value in every row: there is nothing to predict")
    number = values.dtype.is_numeric()
    if not number and values.dtype != pl.Boolean and not values.dtype == pl.String:
        raise ProjectError(f"target={name} holds {values.dtype}: a target is a number, a truth value or text")
    if different == 2:
        rarer, few = min(classes(present).items(), key=lambda each: each[1])
        if few < 5:
            raise ProjectError(
                f"target={name}: {few} of {rows:,} rows are {rarer}: too few to learn from and to be tested on"
            )
        return "binary"
    whole = not values.dtype.is_float() or bool((present == present.floor()).all())
    if number and not (whole and different <= FEW // 2 and rows >= 5 * different):
        return "regression"
    if different > max(2, rows / 4) or different > 200:
        raise ProjectError(f"target={name} has {different:,} different texts in {rows:,} rows: too many to be classes")
    return "multiclass"


def positive(counts: dict[Any, int]) -> Any:
    """The positive one of two classes, by their rows: one that says yes, else a clearly rarer one, else the last."""
    yes = [each for each in counts if str(each).strip().lower() in POSITIVE]
    rare, share = min(counts.items(), key=lambda each: each[1])
    if yes:
        return yes[0]
    return rare if share < 0.4 * sum(counts.values()) else max(counts, key=str)


def settings(
    columns: list[Column], kind: str | None, counts: dict[Any, int], *, rows: int
) -> tuple[dict[str, tuple[str, str]], dict[str, tuple[Any, str]], dict[str, tuple[Any, str]]]:
    """The options in defaults, the keys of `task` and those of `split` that suit the table, each with a reason.

    {"override /model": ("boosting", "large for a blend")}. `kind`: of the task, None without a target. `counts`: the
    rows of each class; empty for other tasks.
    """
    features = sum(column.role in ("feature", "time") for column in columns)
    defaults = {"/task": (kind or "anomaly", "" if kind else "there is no target")}
    task: dict[str, tuple[Any, str]] = {}
    split: dict[str, tuple[Any, str]] = {}
    work = rows * features * max(1, len(counts) - 1)
    if kind and work > 300_000:
        fits = ("boosting", LARGE[0]) if len(counts) <= 10 else ("forest", LARGE[1])
        defaults["override /model"] = fits
    if any(column.role == "time" for column in columns):
        defaults.setdefault(
            "override /model", ("boosting", "a blend's linear member would run on beyond the last date")
        )
        defaults["override /split"] = ("time", "trained on the past, tested on what came after")
    elif any(column.role == "group" for column in columns):
        defaults["override /split"] = ("group", "no group on two sides")
    elif counts and min(counts.values()) < 100:
        defaults["override /split"] = ("stratified", "rare classes have rows on every side")
    if kind == "binary":
        yes = positive(counts)
        share = counts[yes] / sum(counts.values())
        task["positive"] = (str(yes), f"{share:.1%} of the rows")
        if min(share, 1 - share) < 0.15 and min(counts.values()) >= 60:
            task["threshold"] = ("balanced_accuracy", "a rare class is hardly ever the likelier one")
            split["validation"] = (0.15, "the rows on which the threshold is chosen")
    if kind == "multiclass" and min(counts.values()) < 25:
        task["metrics"] = (
            ["accuracy", "balanced_accuracy", "f1_macro", "f1_weighted"],
            "all that few rows of a class allow",
        )
    return defaults, task, split


def bars(values: pl.Series, *, most: int = 24) -> list[tuple[str, float]]:
    """The distribution of `values` as bars, (label, height from 0 to 1): ranges of numbers, or the most frequent texts.

    Empty for values that are all different and for nested ones.
    """
    present = values.drop_nulls()
    if present.dtype.is_nested() or not len(present):
        return []
    if present.dtype.is_numeric() or present.dtype.is_temporal():
        numbers = present.to_physical().cast(pl.Float64)
        numbers = numbers.filter(numbers.is_finite())
        if not len(numbers):
            return []
        counted = numbers.hist(bin_count=min(most, present.n_unique()))
        heights = counted["count"].to_list()
        low, high = float(numbers.to_numpy().min()), float(numbers.to_numpy().max())
        ends = [low, *counted["breakpoint"].to_list()[:-1]]
        names = _labels([*ends, high], present.dtype)
        names[-2:] = names[-1:]  # of the last bar the right end
    elif present.n_unique() == len(present):
        return []
    else:
        top = present.cast(pl.String).value_counts(sort=True).head(most)
        names, heights = top[values.name].to_list(), top["count"].to_list()
    return [(name, height / max(1, *heights)) for name, height in zip(names, heights, strict=True)]


def _labels(numbers: list[float], dtype: pl.DataType) -> list[str]:
    """Texts of `numbers`, in order, that tell them apart; of dates, their physical numbers, in the form of `dtype`."""
    if dtype.is_temporal():
        return [str(each) for each in pl.Series(numbers).cast(pl.Int64).cast(dtype)]
    if dtype.is_integer():
        return [f"{round(each)}" for each in numbers]
    step = (numbers[-1] - numbers[0]) / len(numbers) or 1
    digits = 4 + max(0, np.ceil(np.log10(max(map(abs, numbers)) / step))) if any(numbers) else 1
    return [f"{each:.{min(15, int(digits))}g}" for each in numbers]


def holds(column: Column) -> str:
    """A column's type in a word: "numbers", "text", "yes or no"."""
    words = {pl.String: "text", pl.Boolean: "yes or no", pl.Date: "dates", pl.Null: "nothing"}
    words |= {pl.Duration: "durations", pl.Time: "times of the day"}
    if column.number:
        return "numbers" if column.dtype.is_float() else "whole numbers"
    return words.get(column.dtype.base_type(), "dates" if column.dtype == pl.Datetime else str(column.dtype))


def expectations(
    columns: list[Column], facts: dict[str, dict[str, Any]], *, rows: int, most: int = 150
) -> list[dict[str, Any]]:
    """Expectations for the next table, with room for change: [{"type": "expect_...", "kwargs": {...}}, ...].

    `facts`: see facts. Columns after the first `most` have no expectation of their own.
    """
    expected = [
        _expect("table_columns_to_match_set", column_set=[column.name for column in columns]),
        _expect("table_row_count_to_be_between", min_value=max(1, rows // 2)),
    ]
    keys = [column.name for column in columns if column.role == "key" and column.distinct == rows]
    expected += [_expect("column_values_to_be_unique", column=name) for name in keys]
    for column in columns[:most]:
        if column.role == "drop" and not column.sensitive:
            continue
        share = 1.0 if column.role in ("key", "time") else round(0.99 - 1.5 * column.missing - 0.02, 2)
        if column.missing == 0 and share < 1:
            share = 0.99
        if share > 0:
            expected.append(_expect("column_values_to_not_be_null", column=column.name, mostly=share))
        fact = facts.get(column.name, {})
        if column.sensitive or column.role in ("key", "group", "drop"):
            continue
        if column.number and fact.get("min") is not None:
            spread = (fact["max"] - fact["min"]) / 2
            low, high = _rounded(fact["min"] - spread, -1), _rounded(fact["max"] + spread, 1)
            low = max(low, 0) if fact["min"] >= 0 else low
            mostly = {} if column.role == "target" else {"mostly": 0.99}
            expected.append(
                _expect("column_values_to_be_between", column=column.name, min_value=low, max_value=high, **mostly)
            )
        if fact.get("set") and is_truth(pl.Series(map(str, fact["set"]))) and column.text and column.role == "feature":
            counts = {"min_value": 1, "max_value": len(fact["set"])}  # also where they are read as truth values
            expected.append(_expect("column_unique_value_count_to_be_between", column=column.name, **counts))
        elif fact.get("set") and not column.number:
            mostly = {} if column.role == "target" else {"mostly": 0.95}
            expected.append(_expect("column_values_to_be_in_set", column=column.name, value_set=fact["set"], **mostly))
    return expected


def _expect(what: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{what}", "kwargs": kwargs}


def _bins(values: pl.Series, most: int = 10) -> np.ndarray:
    """The bin (n,) of each of `values`, below `most`: bins of equal size, or the frequent values and the rest."""
    if values.n_unique() > most and (values.dtype.is_numeric() or values.dtype.is_temporal()):
        numbers = values.to_physical().cast(pl.Float64).fill_nan(None)
        ends = np.unique(np.quantile(numbers.drop_nulls().to_numpy(), np.linspace(0, 1, most)[1:-1]))
        return np.searchsorted(ends, numbers.fill_null(float("inf")).to_numpy(), side="right")
    texts = leakage.as_text(values).fill_null("")
    frequent = texts.value_counts(sort=True)[values.name].head(most - 1).to_list()
    numbered = texts.replace_strict({text: at for at, text in enumerate(frequent)}, default=len(frequent))
    return np.unique(numbered.cast(pl.Int64).to_numpy(), return_inverse=True)[1]


def _rounded(value: float, towards: int) -> float:
    """`value` rounded to two significant digits, up for `towards` 1 and down for -1."""
    if value == 0 or not abs(value) < 1e300:
        return value
    scale = 10.0 ** (len(str(int(abs(value)))) - 2) if abs(value) >= 1 else 10.0**-6
    steps = value / scale
    whole = int(steps) + (towards if int(steps) != steps and (steps > 0) == (towards > 0) else 0)
    result = whole * scale
    return int(result) if abs(value) >= 10 else round(result, 6)

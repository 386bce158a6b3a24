"""The columns that a model sees, and how they become the frame that it takes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from ..errors import ProjectError

KINDS = ("number", "boolean", "date", "category", "level", "text")
ROWS = 20_000  # enough to tell free text from names of things


def kinds(
    rows: pl.DataFrame, *, sensitive: Collection[str], max_categories: int, stated: Mapping[str, str]
) -> dict[str, str]:
    """The kind of each column of `rows`: {"species": "category", "bill_length_mm": "number"}.

    "number", "boolean", "date"; "category" for text of at most `max_categories` different values, "level" for more,
    "text" for free text, and for `sensitive` text, whose encoding keeps no values; or what is `stated`
    (features.kinds). Raises ProjectError for a column that is none of these, and for a statement that does not fit.
    """
    for name, wanted in stated.items():
        if name not in rows.columns:
            raise ProjectError(f"features.kinds.{name}: there is no such feature; there are {', '.join(rows.columns)}")
        if wanted not in KINDS:
            raise ProjectError(f"features.kinds.{name}={wanted}: it is one of {', '.join(KINDS)}")
        if wanted in ("number", "date") and rows[name].dtype in (pl.String, pl.Categorical, pl.Enum):
            raise ProjectError(
                f"features.kinds.{name}={wanted}: the column holds text; types.{name} says how it is read"
            )
    decided = {name: stated.get(name) or kind(rows[name], max_categories) for name in rows.columns}
    texts = {name for name in sensitive if decided.get(name) in ("category", "level")}
    return decided | dict.fromkeys(texts, "text")


def masked(frame: pd.DataFrame, sensitive: Collection[str]) -> pd.DataFrame:
    """`frame` with a made-up value of the same type in the columns `sensitive`."""
    made: dict[str, Any] = {"f": 0.0, "b": False, "M": pd.Timestamp("2000-01-01")}
    return frame.assign(**{name: made.get(frame[name].dtype.kind, "...") for name in sensitive if name in frame})


def sample(table: pl.LazyFrame, *, rows: int, most: int) -> pl.DataFrame:
    """At most `most` of the `rows` rows of `table`, evenly spread, read as a stream."""
    at = pl.col("row at").cast(pl.Int64)  # a row is taken where the next of `most` steps begins
    spread = table.with_row_index("row at").filter((at * most) % max(rows, 1) < most) if rows > most else table
    return spread.drop("row at", strict=False).collect(engine="streaming")


def target(rows: pl.DataFrame, name: str, *, kind: str) -> np.ndarray:
    """The column `name` of `rows` as (n,): float64 for regression, labels for all else."""
    values = rows[name]
    if kind == "regression":
        if not values.dtype.is_numeric():
            raise ProjectError(f"columns.target={name} holds {values.dtype}, and task=regression needs numbers")
        if not (numbers := values.cast(pl.Float64)).is_finite().all():
            raise ProjectError(f"columns.target={name} holds infinite values: leave such rows out of the table")
        return numbers.to_numpy()
    if values.dtype.is_float() and not (values == values.floor()).all():
        raise ProjectError(f"columns.target={name} holds fractions, and task={kind} needs classes: task=regression?")
    if values.dtype.is_numeric() or values.dtype == pl.Boolean:
        return values.to_numpy()
    codes, labels = pd.factorize(values.cast(pl.String).to_pandas(), use_na_sentinel=False)
    return np.asarray(labels, dtype=object)[codes]  # each label once in memory


def kind(values: pl.Series, max_categories: int) -> str:
    """The kind of the column `values` (n,), see kinds."""
    dtype = values.dtype
    if dtype.is_numeric() or dtype in (pl.Duration, pl.Time):
        return "number"
    if dtype in (pl.Boolean, pl.Null):
        return "boolean"
    if dtype in (pl.Date, pl.Datetime):
        return "date"
    if dtype not in (pl.String, pl.Categorical, pl.Enum):
        raise ProjectError(
            f"column {values.name} holds {dtype}, and features are numbers, booleans, dates or text: "
            f"columns.drop=[{values.name}]"
        )
    texts = values.head(ROWS).drop_nulls().cast(pl.String)
    words = texts.str.count_matches(r"\S+").mean() if len(texts) else 0
    if words and words >= 4 and texts.n_unique() > max(max_categories, 0.2 * len(texts)):  # type: ignore[operator]
        return "text"
    return "category" if values.n_unique() <= max_categories else "level"

"""The columns that a model sees, and how they become the frame that it takes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from ..errors import ProjectError

FRAME: dict[str, Any] = {
    "number": pl.Float64,
    "boolean": pl.Boolean,
    "date": pl.Datetime("us"),
}  # of all other kinds: pl.String
ROWS = 20_000  # enough to tell free text from names of things


def kinds(
    rows: pl.DataFrame, *, target: str | None, out: Collection[str], sensitive: Collection[str], max_categories: int
) -> dict[str, str]:
    """The kind of every feature: all columns of `rows` but `target`, `split` and those left `out`.

    "number", "boolean", "date"; "category" for text of at most `max_categories` different values, "level" for more,
    "text" for free text, and for `sensitive` text, whose encoding keeps no values. Raises ProjectError where no column
    is
    left, and for one that is none of these.
    """
    left = [name for name in rows.columns if name not in {target, "split", *out}]
    if not left:
        raise ProjectError(f"no column is left to predict {target} from: columns.drop, key and group name all others")
    found = {name: _kind(rows[name], max_categories) for name in left}
    texts = {name for name in sensitive if found.get(name) in ("category", "level")}
    return found | dict.fromkeys(texts, "text")


def frame(rows: pl.DataFrame, kinds: dict[str, str]) -> pd.DataFrame:
    """`rows` as a frame (n, d) of float64, boolean, datetime and text columns, as MLflow hands one to a served model.

    Infinite numbers are missing ones. Raises ProjectError for a column that is not of its kind.
    """
    try:
        return rows.select(_plain(rows[name], FRAME.get(kind, pl.String)) for name, kind in kinds.items()).to_pandas()
    except pl.exceptions.PolarsError as error:
        raise ProjectError(f"a column is not of the kind that the model takes: {str(error).splitlines()[0]}") from error


def masked(frame: pd.DataFrame, sensitive: Collection[str]) -> pd.DataFrame:
    """`frame` with a made-up value of the same type in the columns `sensitive`."""
    made: dict[str, Any] = {"f": 0.0, "b": False, "M": pd.Timestamp("2000-01-01")}
    return frame.assign(**{name: made.get(frame[name].dtype.kind, "...") for name in sensitive if name in frame})


def target(rows: pl.DataFrame, name: str, *, kind: str) -> np.ndarray:
    """The column `name` of `rows` as (n,): float64 for regression, labels for all else."""
    values = rows[name]
    if kind == "regression":
        if not values.dtype.is_numeric():
            raise ProjectError(f"columns.target={name} holds {values.dtype}, and task=regression needs numbers")
        if not (found := values.cast(pl.Float64)).is_finite().all():
            raise ProjectError(f"columns.target={name} holds infinite values: leave such rows out of the table")
        return found.to_numpy()
    if values.dtype.is_float() and not (values == values.floor()).all():
        raise ProjectError(f"columns.target={name} holds fractions, and task={kind} needs classes: task=regression?")
    if values.dtype.is_numeric() or values.dtype == pl.Boolean:
        return values.to_numpy()
    return values.cast(pl.String).to_numpy()


def _kind(values: pl.Series, max_categories: int) -> str:
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


def _plain(values: pl.Series, dtype: Any) -> pl.Series:
    if values.dtype in (pl.Duration, pl.Time):
        values = values.to_physical()
    if isinstance(values.dtype, pl.Datetime) and values.dtype.time_zone:
        values = values.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    values = values.cast(dtype)
    return values.set(values.is_infinite(), None) if dtype == pl.Float64 else values

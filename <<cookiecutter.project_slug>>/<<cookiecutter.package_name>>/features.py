"""The columns that a model sees, and how they become the frame that it takes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl

from .errors import Refused

KINDS = ("number", "boolean", "text")


def kinds(schema: pl.Schema, *, target: str, key: list[str], drop: list[str]) -> dict[str, str]:
    """The kind ("number", "boolean" or "text") of every feature: all columns but target, key, dropped and `split`.

    Raises Refused where none is left and for a column that is none of these.
    """
    out = {target, "split", *key, *drop}
    found = {name: _kind(name, dtype) for name, dtype in schema.items() if name not in out}
    if not found:
        raise Refused(f"no column is left to predict {target} from: columns.drop and columns.key name all others")
    return found


def frame(rows: pl.DataFrame, kinds: dict[str, str]) -> pd.DataFrame:
    """`rows` as a frame (n, d) of float64, boolean and text columns, as MLflow hands one to a served model.

    Raises Refused for a column that is not of its kind.
    """
    types = {"number": pl.Float64, "boolean": pl.Boolean, "text": pl.String}
    try:
        return rows.select(pl.col(name).cast(types[kind]) for name, kind in kinds.items()).to_pandas()
    except pl.exceptions.PolarsError as error:
        raise Refused(f"a column is not of the kind that the model takes: {str(error).splitlines()[0]}") from error


def target(rows: pl.DataFrame, name: str, *, kind: str) -> np.ndarray:
    """The column `name` of `rows` as (n,): float64 for regression, labels for classification."""
    values = rows[name]
    if kind == "regression":
        if not values.dtype.is_numeric():
            raise Refused(f"columns.target={name} holds {values.dtype}, and task=regression needs numbers")
        return values.cast(pl.Float64).to_numpy()
    if values.dtype.is_float() and not (values == values.floor()).all():
        raise Refused(f"columns.target={name} holds fractions, and task=classification needs classes: task=regression?")
    if values.dtype.is_numeric() or values.dtype == pl.Boolean:
        return values.to_numpy()
    return values.cast(pl.String).to_numpy()


def _kind(name: str, dtype: pl.DataType) -> str:
    if dtype.is_numeric():
        return "number"
    if dtype in (pl.Boolean, pl.Null):
        return "boolean"
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return "text"
    raise Refused(f"column {name} holds {dtype}, and features are numbers, booleans or text: add it to columns.drop")

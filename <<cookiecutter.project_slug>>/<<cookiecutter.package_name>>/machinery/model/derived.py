"""Columns derived from a table's own columns, by SQL expressions and by functions. This file travels with each model,
as the code that derives the columns of served rows: so it imports nothing of this package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

Resolve = Callable[[str], Callable[..., Any]]  # the function behind a dotted name, see Column.function
PLAIN = {"number": pl.Float64(), "boolean": pl.Boolean(), "date": pl.Datetime("us"), "text": pl.String()}
DAY = 86_400_000_000  # microseconds


class DeriveError(ValueError):
    """One sentence that names the derived column and the way out; what may name values stands in its cause, too."""


@dataclass(frozen=True)
class Column:
    """How one derived column is made; `asdict` and `Column(**...)` take it to JSON and back.

    Either `sql` or `function` is set; `reads`, `kind` and `learned` are, once it was fitted to training rows.
    """

    name: str
    sql: str | None = None  # "bill_length_mm / bill_depth_mm"
    function: str | None = None  # ".features.group_mean", relative as imports are, or "library.module.function"
    arguments: dict[str, Any] = field(default_factory=dict)  # {"of": "body_mass_g", "by": "island"}
    reads: list[str] = field(default_factory=list)  # the columns that it is given, raw ones and those derived before it
    kind: str | None = None  # "number", "boolean", "date" or "text"
    learned: Any = None  # {"overall": 4201.8, "means": {"Biscoe": 4716.0}}

    def error(self, sentence: str) -> DeriveError:
        return DeriveError(f"features.derive.{self.name}: {sentence}")


def apply(columns: list[Column], rows: pl.DataFrame, *, resolve: Resolve) -> pl.DataFrame:
    """`rows`, whose columns are `plain`, with the fitted `columns` after their own."""
    for column in columns:
        rows = rows.with_columns(values(column, rows, resolve))
    return rows


def plain(values: pl.Series) -> pl.Series:
    """`values` as one of the four PLAIN types; of another type, such as lists or nothing but nulls, as they are.

    An infinite number or NaN is missing, a duration is a number of days, a date has the time 00:00, a time zone is UTC.
    """
    dtype = values.dtype
    if dtype == pl.Duration:
        values = values.cast(pl.Duration("us")).to_physical() / DAY
    if dtype == pl.Time:
        values = values.to_physical()
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        values = values.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    if values.dtype.is_numeric():
        values = values.cast(pl.Float64)
        return values.set(~values.is_finite(), None)
    if values.dtype in (pl.Date, pl.Datetime):
        return values.cast(pl.Datetime("us"))
    return values.cast(pl.String) if values.dtype in (pl.Categorical, pl.Enum) else values


def typed(rows: pl.DataFrame, kinds: Mapping[str, str]) -> pl.DataFrame:
    """The columns of `rows` that `kinds` names, {"bill_length_mm": "number"}, each of the PLAIN type of its kind.

    Of a kind that is not in PLAIN, such as "category", it is text; a whole number becomes a text without a point.
    """
    return rows.select(_cast(rows[name], kind) for name, kind in kinds.items())


def _cast(column: pl.Series, kind: str) -> pl.Series:
    values, dtype = plain(column), PLAIN.get(kind, pl.String())
    if dtype == pl.String and values.dtype == pl.Float64 and (values.drop_nulls() % 1 == 0).all():
        values = values.cast(pl.Int64)
    try:
        return values.cast(dtype)
    except pl.exceptions.PolarsError as error:
        sentence = f"column {column.name} holds {column.dtype}, and the model takes a {kind}: {first_line(error)}"
        raise DeriveError(sentence) from error


def values(column: Column, rows: pl.DataFrame, resolve: Resolve) -> pl.Series:
    """The values (n,) of `column` for `rows`, of a PLAIN type; of its own kind once it is fitted."""
    maker = column.sql or str(column.function).rpartition(".")[2]
    try:
        given = rows.select(column.reads)
        made = pl.sql_expr(column.sql) if column.sql is not None else _called(column, given, resolve)
        if isinstance(made, pl.Expr):
            made = given.with_columns(made.alias(column.name))[column.name]
    except Exception as error:
        raise column.error(f"{maker} failed: {type(error).__name__}: {first_line(error)}") from error
    if not isinstance(made, pl.Series):
        raise column.error(f"{maker} gives a {type(made).__name__}; it has to give a pl.Series or a pl.Expr")
    if len(made) != len(rows):
        raise column.error(f"{maker} gives {len(made):,} values for {len(rows):,} rows; it has to give one for each")
    typed, kind = plain(made.alias(column.name)), column.kind
    if kind and typed.dtype == pl.Null:
        return typed.cast(PLAIN[kind])
    if typed.dtype not in ([PLAIN[kind]] if kind else [pl.Null(), *PLAIN.values()]):
        raise column.error(f"{maker} gives {typed.dtype}; it has to give a {kind or 'number, boolean, date or text'}")
    return typed


def _called(column: Column, given: pl.DataFrame, resolve: Resolve) -> Any:
    learned = {} if column.learned is None else {"learned": column.learned}
    return resolve(str(column.function))(given, **column.arguments, **learned)


def first_line(error: Exception) -> str:
    """The first line of the text of `error`."""
    return (str(error).splitlines() or [""])[0]

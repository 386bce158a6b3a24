"""Text columns read as their types: numbers, dates, truth values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from ..errors import ProjectError

if TYPE_CHECKING:
    from ..config.schema import Type

KINDS: dict[str, Any] = {
    "text": pl.String,
    "number": pl.Float64,
    "integer": pl.Int64,
    "boolean": pl.Boolean,
    "date": pl.Date,
    "datetime": pl.Datetime("us"),
}
SIGNS = r"[\s$€£¥₹%'’]|(?i:^(EUR|USD|GBP|CHF)|(EUR|USD|GBP|CHF)$)"  # left out of a number
NUMBERS = {  # by the decimal sign; thousands are grouped by the other one, or not at all
    ".": r"^[+-]?(\d{1,3}(,\d{3})+|\d*)(\.\d*)?([eE][+-]?\d+)?$",
    ",": r"^[+-]?(\d{1,3}(\.\d{3})+|\d*)(,\d*)?([eE][+-]?\d+)?$",
}
TRUTH = {"true": True, "t": True, "yes": True, "y": True, "1": True}
TRUTH |= {"false": False, "f": False, "no": False, "n": False, "0": False}


def read(table: pl.LazyFrame, types: dict[str, Type], *, missing: list[str]) -> pl.LazyFrame:
    """`table` with text stripped, the spellings in `missing` as nulls, and the columns of `types` converted.

    A value that cannot be converted raises when the table is collected; see unreadable. Raises ProjectError for the
    type of a column that the table does not have, and for an unknown kind or decimal sign.
    """
    schema = table.collect_schema()
    for name, type_ in types.items():
        if name not in schema:
            raise ProjectError(f"types.{name}: the table has no such column; it has {', '.join(schema.names())}")
        if type_.kind not in KINDS or type_.decimal not in NUMBERS:
            raise ProjectError(f"types.{name}: kind is one of {', '.join(KINDS)}, decimal one of {' '.join(NUMBERS)}")
    plain = [_stripped(name, missing) for name, dtype in schema.items() if dtype == pl.String]
    return table.with_columns(plain).with_columns(
        _read(pl.col(name), schema[name], type_, strict=True) for name, type_ in types.items()
    )


def fits(values: pl.Series, type_: Type) -> bool:
    """Whether each of the texts `values` can be read as a type."""
    frame = pl.DataFrame({"text": values})
    for rows in (frame.head(50), frame):  # the first few rule out most types
        try:
            read = rows.select(_read(pl.col("text"), values.dtype, type_, strict=False)).to_series()
        except pl.exceptions.PolarsError:  # another format
            return False
        if read.null_count():
            return False
    return True


def unreadable(table: pl.LazyFrame, types: dict[str, Type], *, missing: list[str]) -> dict[str, tuple[int, int]]:
    """The columns with values that their type does not allow, {"age": (3, 17)}: 3 values, the first in row 17."""
    schema = table.collect_schema()
    plain = [_stripped(name, missing) for name, dtype in schema.items() if dtype == pl.String]
    wrong = {
        name: pl.col(name).is_not_null() & _read(pl.col(name), schema[name], type_, strict=False).is_null()
        for name, type_ in types.items()
    }
    flags = table.with_columns(plain).select(each.alias(name) for name, each in wrong.items())
    counts = flags.select(
        *(pl.col(name).sum().alias(f"{at} sum") for at, name in enumerate(wrong)),
        *(pl.col(name).arg_true().first().alias(f"{at} row") for at, name in enumerate(wrong)),
    )
    row = counts.collect(engine="streaming").row(0, named=True)
    firsts = {name: (row[f"{at} sum"], (row[f"{at} row"] or 0) + 1) for at, name in enumerate(wrong)}
    return {name: first for name, first in firsts.items() if first[0]}


def why_unreadable(table: pl.LazyFrame, types: dict[str, Type], *, missing: list[str]) -> str:
    """A sentence for each column with values that its type does not allow, without the values; "" where all fit."""
    return "; ".join(
        f"column {name}: {count:,} values are no {types[name].kind}, the first in row {row:,}: mend them, list their "
        f"spelling in missing, or change types.{name}"
        for name, (count, row) in unreadable(table, types, missing=missing).items()
    )


def _stripped(name: str, missing: list[str]) -> pl.Expr:
    text = pl.col(name).str.strip_chars()
    return pl.when(~text.is_in([*missing, ""])).then(text).alias(name)  # as CSV readers have it


def _read(text: pl.Expr, dtype: pl.DataType, type_: Type, *, strict: bool) -> pl.Expr:
    wanted = KINDS[type_.kind]
    if dtype != pl.String:
        return text.cast(wanted, strict=strict)
    if type_.kind in ("number", "integer"):
        bare = text.str.replace_all(SIGNS, "").str.replace(r"^\((.*)\)$", "-$1")  # (5) is what accountants write for -5
        group = "." if type_.decimal == "," else ","
        digits = bare.str.replace_all(group, "", literal=True).str.replace(type_.decimal, ".", literal=True)
        number = pl.when(bare.str.contains(NUMBERS[type_.decimal])).then(digits).otherwise(text)
        return number.cast(wanted, strict=strict)
    if type_.kind == "boolean":
        return text.str.to_lowercase().replace_strict(
            TRUTH, return_dtype=pl.Boolean, **({} if strict else {"default": None})
        )
    if type_.kind in ("date", "datetime"):
        return text.str.strptime(wanted, type_.format, strict=strict)
    return text

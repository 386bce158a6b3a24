"""Text columns read as their types: numbers, dates, truth values."""

from __future__ import annotations

import re
from collections.abc import Mapping
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
CURRENCIES = (  # words of them; signs are a class of Unicode's
    r"US|JPY|CNY|RMB|INR|RS|SEK|NOK|DKK|KR|PLN|ZŁ|CZK|KČ|HUF|RON|BRL|ZAR|AUD|CAD|NZD|SGD|HKD|KRW|MXN|TRY|RUB|РУБ|DM"
    r"|S?FR|EUROS?|DOLLARS?|POUNDS?"
)
CURRENCY = rf"(\p{{Sc}})|(?i:\b(EUR|USD|GBP|CHF|{CURRENCIES})\b)"
SIGNS = (  # left out of a number; a word before it has a blank or a point behind it, or it is rather a code: DM12
    r"[\s\p{Sc}%'’]|(?i:^(EUR|USD|GBP|CHF|US\$|[RACN]\$)|(EUR|USD|GBP|CHF)$"
    rf"|^({CURRENCIES})[.\s]|({CURRENCIES})\.?$)"
)
MINUS = r"^[−‒–﹣－]"  # as spreadsheets and typesetters write it
NUMBERS = {  # by the decimal sign; thousands are grouped by the other one, or not at all
    ".": r"^[+-]?(\d{1,3}(,\d{3})+|\d{1,2}(,\d{2})+,\d{3}|\d*)(\.\d*)?([eE][+-]?\d+)?$",  # 1,00,000 in India
    ",": r"^[+-]?(\d{1,3}(\.\d{3})+|\d*)(,\d*)?([eE][+-]?\d+)?$",
}
_YES = ("true t yes y 1 wahr ja j vrai oui o si sí sì verdadero vero sim verdadeiro tak да", True)
_NO = ("false f no n 0 falsch nein faux non falso não nao nie nee nej нет", False)
TRUTH = {word: value for words, value in (_YES, _NO) for word in words.split()}
_ODD = ("stop", "missing")


def read(table: pl.LazyFrame, types: dict[str, Type], *, missing: list[str]) -> pl.LazyFrame:
    """`table` with text stripped, the spellings in `missing` as nulls, and the columns of `types` converted.

    A value that cannot be converted raises when the table is collected, see unreadable, or is missing where the type
    says so. Raises ProjectError for the type of a column that the table does not have, and for an unknown kind,
    decimal sign or word for odd values.
    """
    schema = table.collect_schema()
    for name, type_ in types.items():
        if name not in schema:
            raise ProjectError(f"types.{name}: the table has no such column; it has {', '.join(schema.names())}")
        if type_.kind not in KINDS or type_.decimal not in NUMBERS:
            raise ProjectError(f"types.{name}: kind is one of {', '.join(KINDS)}, decimal one of {' '.join(NUMBERS)}")
        if type_.odd not in _ODD:
            raise ProjectError(f"types.{name}.odd={type_.odd}: it is {' or '.join(_ODD)}")
    plain = [_stripped(name, missing) for name, dtype in schema.items() if dtype == pl.String]
    # What no library but polars takes, and decimals, which a model's signature has no type for:
    plain += [pl.col(name).cast(pl.Float64) for name, dtype in schema.items() if re.match(r"U?Int128|Dec", str(dtype))]
    return table.with_columns(plain).with_columns(
        _read(pl.col(name), schema[name], type_, strict=type_.odd == "stop") for name, type_ in types.items()
    )


def fits(values: pl.Series, type_: Type) -> bool:
    """Whether each of the texts `values` can be read as a type."""
    return all(readable(some, type_).all() for some in (values.head(50), values))  # the first rule out most types


def readable(values: pl.Series, type_: Type) -> pl.Series:
    """Whether each of the texts `values` (n,), none of them missing, can be read as a type."""
    try:
        read = pl.DataFrame({"text": values}).select(_read(pl.col("text"), values.dtype, type_, strict=False))
    except pl.exceptions.PolarsError:  # another format
        return pl.Series([False]).new_from_index(0, len(values))
    return read.to_series().is_not_null()


def unreadable(table: pl.LazyFrame, types: dict[str, Type], *, missing: list[str]) -> dict[str, tuple[int, int]]:
    """The columns with values that their type does not allow, {"age": (3, 17)}: 3 values, the first in row 17."""
    wrong = _odd(table.collect_schema(), types, missing)
    if not wrong:
        return {}
    flags = table.select(wrong.values())
    counts = flags.select(
        *(pl.col(name).sum().alias(f"{at} sum") for at, name in enumerate(wrong)),
        *(pl.col(name).arg_true().first().alias(f"{at} row") for at, name in enumerate(wrong)),
    )
    row = counts.collect(engine="streaming").row(0, named=True)
    firsts = {name: (row[f"{at} sum"], (row[f"{at} row"] or 0) + 1) for at, name in enumerate(wrong)}
    return {name: first for name, first in firsts.items() if first[0]}


def odd_rows(table: pl.LazyFrame, types: dict[str, Type], *, missing: list[str]) -> pl.LazyFrame:
    """The rows of `table`, as they are, with a value that its type does not allow; there is a type at least."""
    return table.filter(pl.any_horizontal(_odd(table.collect_schema(), types, missing).values()))


def why_unreadable(table: pl.LazyFrame, types: dict[str, Type], *, missing: list[str]) -> str:
    """A sentence for each column with values that its type does not allow, without the values; "" where all fit."""
    return "; ".join(
        f"column {name}: {count:,} values are no {types[name].kind}, the first in row {row:,}: mend them, list their "
        f"spelling in missing, or change types.{name}"
        for name, (count, row) in unreadable(table, types, missing=missing).items()
    )


def _odd(schema: Mapping[str, Any], types: dict[str, Type], missing: list[str]) -> dict[str, pl.Expr]:
    """For each column of `types` whether a value is there and not of its type, unless it is missing then."""
    texts = {name: _stripped(name, missing) if schema[name] == pl.String else pl.col(name) for name in types}
    return {
        name: (texts[name].is_not_null() & _read(texts[name], schema[name], type_, strict=False).is_null()).alias(name)
        for name, type_ in types.items()
        if type_.odd == "stop"
    }


def _stripped(name: str, missing: list[str]) -> pl.Expr:
    text = pl.col(name).str.strip_chars()
    return pl.when(~text.is_in([*missing, ""])).then(text).alias(name)  # as CSV readers have it


def _read(text: pl.Expr, dtype: pl.DataType, type_: Type, *, strict: bool) -> pl.Expr:
    wanted = KINDS[type_.kind]
    if dtype != pl.String:
        return text.cast(wanted, strict=strict)
    if type_.kind in ("number", "integer"):
        bare = text.str.replace(type_.unit or "", "", literal=True).str.replace_all(SIGNS, "").str.replace(MINUS, "-")
        # (5) and 5- are what accountants write for -5, and 5.- is what shops do for 5.00
        bare = bare.str.replace(r"[.,][-–—]{1,2}$", "").str.replace(r"^\((.*)\)$|^(\d[\d.,]*)[-−]$", "-$1$2")
        group = "." if type_.decimal == "," else ","
        digits = bare.str.replace_all(group, "", literal=True).str.replace(type_.decimal, ".", literal=True)
        number = pl.when(bare.str.contains(NUMBERS[type_.decimal])).then(digits).otherwise(text)
        return number.cast(wanted, strict=strict)
    if type_.kind == "boolean":
        return text.str.to_lowercase().replace_strict(
            TRUTH, return_dtype=pl.Boolean, **({} if strict else {"default": None})
        )
    if type_.kind in ("date", "datetime"):
        return _dated(text, wanted, type_.format, strict=strict)
    return text


def _dated(text: pl.Expr, wanted: Any, format_: str | None, *, strict: bool) -> pl.Expr:
    """Dates of a format, or of several, "%Y-%m-%d|%d/%m/%Y": a text is read by the first that fits it."""
    first, _, others = (format_ or "").partition("|")
    if not others:
        return text.str.strptime(wanted, format_, strict=strict)
    read = text.str.strptime(wanted, first, strict=False)
    return read.fill_null(_dated(pl.when(read.is_null()).then(text), wanted, others, strict=strict))

"""Guesses about how the texts of a new table are read: missing values, the type of each column, what is personal."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations

import polars as pl

from ...config.schema import Type
from ...data import parsing
from . import column_names

MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "(null)", "<na>", "n.a.")  # in any column
SPELLINGS = sorted(
    {each for word in MISSING for each in (word, word.upper(), word.title(), word.capitalize())} | {"NaN"}
)
# missing among numbers and dates only: among texts they may be a level
DOUBTFUL = ("-", "--", "?", ".", "*", "none", "nil", "missing", "unknown", "not available", "tbd")
DATES = ["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%d-%m-%Y", "%m-%d-%Y"]  # with times, too
DATES += ["%d-%b-%Y", "%d.%m.%y", "%m/%d/%y", "%d/%m/%y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y"]
TIMES = [f"{day}{between}{time}" for day in DATES[:7] for between in " T" for time in ("%H:%M:%S%.f", "%H:%M")]
TIMES += [f"%Y-%m-%d{between}%H:%M:%S%.f%#z" for between in "T "] + ["%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %I:%M %p"]
PERSONAL_VALUES = (  # a column is personal where most values match one, as the table writes them
    r"^[^@\s]+@[^@\s]+\.\w{2,}$",  # mail
    r"^(\+\d{1,3}|\(?0\d{1,5}\)?|\(\d{3}\))[\s()/.-]*\d[\d\s()/.-]{5,}$",  # phone: a prefix, then digits
    r"^\d{3}[-.]\d{3}[-.]\d{4}$",
    r"^\d{3}-\d{2}-\d{4}$",  # social security number
    r"^[A-Z]{2}\d{2} ?([A-Z0-9]{4} ?){2,7}[A-Z0-9]{1,4}$",  # IBAN
    r"^(\d{4}[ -]?){3}\d{1,7}$",  # payment card
)
UNIT = r"^[^A-Za-z]*\d[\d.,' ]*([^\d\s.,'+()-][^\d]{0,11})$"  # what follows a number: "kg" of "5 kg"
# a number with signs around it, none of which an id has: "<0.5", "~12", "3.4k"
DECORATED = r"^\W{0,3}\d+[.,]\d+\W{0,3}\w{0,3}$|^[<>~≈±≤≥]=?\s*\d+$"
NOT_UNDERSTOOD = (
    "numbers with signs that are not understood: mend the source, or name one that all have in types as unit"
)
NEARLY = 0.8  # from this share of values on, the type of a column is told though some are not of it
FEW = 20  # up to so many different texts are a closed set, and half as many whole numbers classes


@dataclass
class Reading:
    """How the texts of a table are read."""

    missing: list[str] = field(default_factory=list)  # ["NA"]
    types: dict[str, dict[str, str]] = field(default_factory=dict)  # {"born": {"kind": "date", "format": "%d.%m.%Y"}}
    nearly: dict[str, dict[str, str]] = field(default_factory=dict)  # what most values of a text column are
    personal: list[str] = field(default_factory=list)  # columns that seem so
    remarks: dict[str, str] = field(default_factory=dict)  # on columns that people should look at

    @property
    def read_as(self) -> dict[str, Type]:
        """The types as parsing takes them."""
        return {name: Type(**type_) for name, type_ in self.types.items()}


def read(raw: pl.DataFrame, *, target: str | None, comma: bool) -> Reading:
    """How the text columns of `raw` are read; `comma`: a decimal comma is tried before a point."""
    reading, missing = Reading(), set()
    for name in (name for name in raw.columns if raw[name].dtype == pl.String):
        values = raw[name].str.strip_chars().drop_nulls()
        different = values.unique()
        lower = different.str.to_lowercase()
        missing |= set(different.filter(lower.is_in(MISSING)))
        present = different.filter(~lower.is_in(MISSING))
        private = name != target and _personal(name, present, len(values))
        sure = present.filter(~present.str.to_lowercase().is_in(DOUBTFUL))
        type_ = _type(present, comma)
        if type_["kind"] == "text" and len(sure) < len(present) and (type_ := _type(sure, comma))["kind"] != "text":
            missing |= set(present.filter(present.str.to_lowercase().is_in(DOUBTFUL)))
        if private:
            reading.personal.append(name)
            type_ = type_ if type_["kind"] in ("date", "datetime") else {"kind": "text"}
        elif type_["kind"] == "text" and (nearly := _nearly(values.filter(values.is_in(sure.implode())), comma)):
            reading.nearly[name] = nearly
        elif type_["kind"] == "text" and len(values) and values.str.contains(DECORATED).to_numpy().mean() >= NEARLY:
            reading.remarks[name] = NOT_UNDERSTOOD
        if "|" in type_.get("format", ""):
            reading.remarks[name] = f"its dates have two formats, {type_['format'].replace('|', ' and ')}"
        if type_["kind"] in ("integer", "number") and len(_currencies(sure)) > 1:
            reading.remarks[name] = "its numbers have several currencies, which are read as if they were one"
        reading.types[name] = type_
    numbers = [name for name in raw.columns if raw[name].dtype.is_integer() and name != target]
    reading.personal += [
        name for name in numbers if _personal(name, raw[name].cast(pl.String).drop_nulls().unique(), len(raw))
    ]
    reading.missing = sorted(missing)
    return reading


def _type(texts: pl.Series, comma: bool) -> dict[str, str]:
    """The first type that all of the different `texts` can be read as."""
    if not len(texts) or _is_code(texts):
        return {"kind": "text"}
    truth = set(texts.str.to_lowercase()) <= {"true", "false"}  # yes and no stay the classes that they are
    candidates = [{"kind": "boolean"}] if truth else _candidates(comma)
    unit = texts.str.extract(UNIT).unique()
    if len(unit) == 1 and unit[0]:
        candidates += [{**each, "unit": unit[0].strip()} for each in _candidates(comma)[1:4]]
    fitting = (each for each in candidates if parsing.fits(texts, Type(**each)))
    return next(fitting, None) or next(iter(_mixed_dates(texts, least=1.0)), {"kind": "text"})


def _nearly(values: pl.Series, comma: bool) -> dict[str, str] | None:
    """The type that most of the texts `values` can be read as; None where too many cannot, or all may be levels."""
    different = values.unique()
    if not len(different) or _is_code(different):
        return None
    some = different.sample(min(len(different), 200), seed=0)
    shares = {}
    for each in [*_candidates(comma), *_mixed_dates(some, least=NEARLY / 2)]:
        if parsing.readable(some, Type(**each)).to_numpy().mean() >= NEARLY / 2:
            good = different.filter(parsing.readable(different, Type(**each)))
            shares[tuple(each.items())] = float(values.is_in(good.implode()).to_numpy().mean())
    best = max(shares, key=shares.__getitem__, default=())
    odd = (1 - shares.get(best, 0)) * len(values)
    few = 3 + (0.01 if len(different) <= FEW else 1 - NEARLY) * len(values)  # else rather levels: 1, 2, 3 and more
    return dict(best) if odd <= few and odd < len(values) / 2 else None


def _mixed_dates(texts: pl.Series, *, least: float) -> list[dict[str, str]]:
    """The type of dates of two formats, no text being of both, that at least a share of `texts` can be read as."""
    some = texts.head(200)
    read = {}
    for format_ in [*DATES, *TIMES]:
        kind = "date" if format_ in DATES else "datetime"
        mask = parsing.readable(some, Type(kind, format_))
        if mask.any() and (mask := parsing.readable(texts, Type(kind, format_))).any():
            read[format_] = mask
    for one, other in sorted(combinations(read, 2), key=lambda pair: -(read[pair[0]] | read[pair[1]]).sum()):
        if (read[one] | read[other]).to_numpy().mean() >= least and not (read[one] & read[other]).any():
            kind = "date" if {one, other} <= set(DATES) else "datetime"
            return [{"kind": kind, "format": f"{one}|{other}"}]
    return []


def _candidates(comma: bool) -> list[dict[str, str]]:
    """The types that a text column may have, in the order in which they are tried."""
    point, decimal = {"kind": "number"}, {"kind": "number", "decimal": ","}
    numbers = [decimal, point] if comma else [point, decimal]
    dates = [{"kind": "date", "format": each} for each in DATES]
    times = [{"kind": "datetime", "format": each} for each in TIMES]
    whole = {"kind": "date", "format": "%Y%m%d"}
    return [whole, {"kind": "integer"}, *numbers, *dates, *times]


def _currencies(texts: pl.Series) -> set[str]:
    """The different signs and words of currencies in `texts`, in capitals."""
    found = pl.DataFrame({"text": texts}).select(
        pl.coalesce(pl.col("text").str.extract(parsing.CURRENCY, at) for at in (1, 2)).str.to_uppercase()
    )
    return set(found.to_series().drop_nulls())


def _is_code(texts: pl.Series) -> bool:
    """Whether digits are a code and not a number: one starts with a zero, or has more digits than a number holds."""
    digits = texts.filter(texts.str.contains(r"^\d+$"))
    longest = digits.str.len_chars().to_numpy().max(initial=0)
    return bool(digits.str.contains(r"^0\d").any()) or longest > 18


def _personal(name: str, texts: pl.Series, rows: int) -> bool:
    """Whether a column of this `name`, with these distinct `texts` in so many `rows`, seems to identify people."""
    if column_names.PERSONAL_NAMES.search(column_names.words(name)) and len(texts) > min(FEW, rows / 2):
        return True
    first = texts.head(1000)
    shares = [first.str.contains(pattern).to_numpy().mean() if len(first) else 0 for pattern in PERSONAL_VALUES]
    return bool(max(shares[:-1]) > 0.8 or (shares[-1] > 0.8 and _card_share(first) > 0.8))


def _card_share(texts: pl.Series) -> float:
    """The share of `texts` that end in a valid check digit of payment cards (Luhn algorithm)."""

    def valid(text: str) -> bool:
        digits = [int(each) for each in text if each.isdigit()][::-1]
        return sum(digits[::2] + [sum(divmod(2 * each, 10)) for each in digits[1::2]]) % 10 == 0

    return sum(map(valid, texts)) / len(texts)

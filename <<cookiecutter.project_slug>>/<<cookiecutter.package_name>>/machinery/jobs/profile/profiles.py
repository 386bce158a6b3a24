"""Guesses about a new table: types of columns, their roles, personal data, the task, expectations."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from ...errors import ProjectError

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
IDS = re.compile(
    r"(?i)^(id|uuid|guid|key|row_?id|nr|no|number|index)$|(_|\b)(id|uuid|guid|key|nr|no|number|code)$|[a-z]I[dD]$"
)
ROW_NUMBERS = re.compile(
    r"(?i)^$|^(unnamed.*|rownames?|row_?(nr|no|number|id|index)|index|level_0|_duplicated_\d+|x|…1|\.\.\.1)$"
)
ENTITIES = "patient|customer|client|user|subject|person|household|member|student|employee|account|session|device|driver"
GROUPS = re.compile(rf"(?i)^id$|^({ENTITIES})(_?(id|no|nr|number|code|key))?$")
PERSONAL_NAMES = re.compile(
    r"(?i)^(name|(first|last|full|middle|given|family|user|maiden|contact)_?name|surname|vorname|nachname)$"
    r"|(^|[^a-z])e[-_]?mail"
    r"|phone|mobile_?(no|nr|number)|^(tel|fax|ssn|iban|passport.*|street|address.*|.*_address)$|social_?security"
    r"|tax_?(id|no|number)|national_?id|birth_?(date|day)|date_?of_?birth|^dob$|geburtsdatum|card_?(no|nr|number)"
)
PERSONAL_VALUES = (  # a column is personal where most values match one, as the table writes them
    r"^[^@\s]+@[^@\s]+\.\w{2,}$",  # mail
    r"^(\+\d{1,3}|\(?0\d{1,5}\)?|\(\d{3}\))[\s()/.-]*\d[\d\s()/.-]{5,}$",  # phone: a prefix, then digits
    r"^\d{3}[-.]\d{3}[-.]\d{4}$",
    r"^\d{3}-\d{2}-\d{4}$",  # social security number
    r"^[A-Z]{2}\d{2} ?([A-Z0-9]{4} ?){2,7}[A-Z0-9]{1,4}$",  # IBAN
    r"^(\d{4}[ -]?){3}\d{1,7}$",  # payment card
)
ROW_NUMBER = "a row number"
YES = ("yes", "y", "true", "t", "1", "positive")
FEW = 20  # up to so many different texts are a closed set, and half as many whole numbers classes


@dataclass
class Column:
    """What is decided about one column, and the reason."""

    name: str
    dtype: pl.DataType  # after it was read as its type
    missing: float  # the share of rows
    distinct: int
    role: str = "feature"  # target, key, group, time, drop or feature
    reason: str = ""
    sensitive: bool = False
    association: float | None = None  # with the target, from 0 to 1

    @property
    def number(self) -> bool:
        return self.dtype.is_numeric()

    @property
    def text(self) -> bool:
        return self.dtype in (pl.String, pl.Categorical, pl.Enum)


def read(
    raw: pl.DataFrame, *, target: str | None, comma: bool, fits: Callable[[pl.Series, dict[str, str]], bool]
) -> tuple[list[str], dict[str, dict[str, str]], list[str]]:
    """The spellings of missing values in `raw`, the type of each text column, and the columns that seem personal.

    (["NA"], {"born": {"kind": "date", "format": "%d.%m.%Y"}}, ["email"]). `fits`: whether all of some texts can be read
    as a type. `comma`: a decimal comma is tried before a point.
    """
    texts = {name: raw[name].str.strip_chars().drop_nulls() for name in raw.columns if raw[name].dtype == pl.String}
    missing: set[str] = set()
    types: dict[str, dict[str, str]] = {}
    private = []
    for name, values in texts.items():
        different = values.unique()
        lower = different.str.to_lowercase()
        missing |= set(different.filter(lower.is_in(MISSING)))
        present = different.filter(~lower.is_in(MISSING))
        if name != target and _personal(name, present, len(values)):
            private.append(name)
        types[name] = {"kind": "text"}
        for doubtful in ((), DOUBTFUL):
            sure = present.filter(~present.str.to_lowercase().is_in(doubtful))
            if types[name]["kind"] == "text" and len(sure) and not _is_code(sure):
                truth = set(sure.str.to_lowercase()) <= {"true", "false"}  # yes and no stay the classes that they are
                tried = [{"kind": "boolean"}] if truth else _candidates(comma)
                types[name] = next((each for each in tried if fits(sure, each)), types[name])
                if types[name]["kind"] != "text":
                    missing |= set(present.filter(present.str.to_lowercase().is_in(doubtful)))
        if name in private and types[name]["kind"] not in ("date", "datetime"):
            types[name] = {"kind": "text"}
    numbers = [name for name in raw.columns if raw[name].dtype.is_integer() and name != target]
    private += [name for name in numbers if _personal(name, raw[name].cast(pl.String).drop_nulls().unique(), len(raw))]
    return sorted(missing), types, private


def _candidates(comma: bool) -> list[dict[str, str]]:
    """The types that a text column may have, in the order in which they are tried."""
    point, decimal = {"kind": "number"}, {"kind": "number", "decimal": ","}
    numbers = [decimal, point] if comma else [point, decimal]
    dates = [{"kind": "date", "format": each} for each in DATES]
    times = [{"kind": "datetime", "format": each} for each in TIMES]
    whole = {"kind": "date", "format": "%Y%m%d"}
    return [whole, {"kind": "integer"}, *numbers, *dates, *times]


def _is_code(texts: pl.Series) -> bool:
    """Whether digits are a code and not a number: one starts with a zero, or has more digits than a number holds."""
    digits = texts.filter(texts.str.contains(r"^\d+$"))
    longest = digits.str.len_chars().to_numpy().max(initial=0)
    return bool(digits.str.contains(r"^0\d").any()) or longest > 18


def _personal(name: str, texts: pl.Series, rows: int) -> bool:
    """Whether a column of this `name`, with these distinct `texts` in so many `rows`, seems to identify people."""
    words = re.sub(r"[\W_]+|(?<=[a-z])(?=[A-Z])", "_", name).strip("_")
    if PERSONAL_NAMES.search(words) and len(texts) > min(FEW, rows / 2):
        return True
    first = texts.head(1000)
    shares = [first.str.contains(pattern).to_numpy().mean() if len(first) else 0 for pattern in PERSONAL_VALUES]
    return bool(max(shares[:-1]) > 0.8 or (shares[-1] > 0.8 and _card_share(first) > 0.8))


def counts(table: pl.LazyFrame) -> dict[str, dict[str, int]]:
    """The missing and the distinct values of each column of `table`: {"island": {"nulls": 0, "distinct": 3}}."""
    schema = table.collect_schema()
    nested = {name for name, dtype in schema.items() if dtype.is_nested() or dtype == pl.Object}
    nulls = table.select(pl.all().null_count()).collect(engine="streaming").row(0)
    different = table.select(pl.len().alias(name) if name in nested else pl.col(name).n_unique() for name in schema)
    rows = zip(schema, nulls, different.collect(engine="streaming").row(0), strict=True)
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
            distinct=counted[name]["distinct"],
            role="target" if name == target else "feature",
            sensitive=name in personal,
        )
        for name, dtype in sample.schema.items()
    ]


def classes(values: pl.Series) -> dict[Any, int]:
    """The number of rows of each class of a target, the most frequent first: {"male": 168, "female": 165}."""
    return dict(values.drop_nulls().value_counts(sort=True).iter_rows())


def drop_leaks(columns: list[Column], scores: dict[str, float], *, threshold: float, target: str) -> None:
    """Gives the role drop to features whose score, as the only feature, is at least `threshold`: {"id": 0.999}."""
    for column in columns:
        if column.role == "feature" and scores.get(column.name, 0) >= threshold:
            column.role, column.reason = "drop", f"alone tells {scores[column.name]:.3f} of {target}: leakage?"


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


def task(values: pl.Series) -> str:
    """The task for a target with these `values`: binary, multiclass or regression.

    Raises ProjectError for a target that cannot be predicted: all missing, constant, too many classes.
    """
    present = values.drop_nulls()
    if values.dtype.is_float():
        present = present.filter(present.is_finite())
    name, different, rows = values.name, present.n_unique(), len(present)
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
    yes = [each for each in counts if str(each).strip().lower() in YES]
    rare, share = min(counts.items(), key=lambda each: each[1])
    if yes:
        return yes[0]
    return rare if share < 0.4 * sum(counts.values()) else max(counts, key=str)


def assign_roles(columns: list[Column], sample: pl.DataFrame, *, rows: int) -> None:
    """Sets the role and reason of each of `columns` that is a feature so far, from its values in the typed `sample`.

    `rows`: of the whole table.
    """
    keyed = False
    for column in columns:
        if column.role != "feature":
            continue
        name, unique = column.name, column.missing == 0 and column.distinct >= 0.999 * rows and rows > 2
        values = sample[name]
        words = _words(values)
        counts = column.dtype.is_integer() and bool((values.diff().drop_nulls() == 1).all())
        if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
            column.role, column.reason = "drop", f"holds {column.dtype}"
        elif column.missing == 1:
            column.role, column.reason = "drop", "missing in every row"
        elif column.distinct <= 1 and not column.missing:
            column.role, column.reason = "drop", "the same in every row"
        elif column.sensitive and column.text:
            column.role, column.reason = "drop", "personal"
        elif unique and ROW_NUMBERS.search(name) and (counts or column.text):
            column.role, column.reason = "drop", ROW_NUMBER
        elif unique and not column.dtype.is_float() and (IDS.search(name) or counts or (column.text and words < 1.5)):
            column.role, column.reason = ("drop" if keyed else "key"), "different in every row"
            keyed = True
        elif column.sensitive and IDS.search(name):
            column.role, column.reason = "drop", "personal"
        elif column.text and words < 4 and column.distinct > max(18, 0.9 * rows * (1 - column.missing)):
            column.role, column.reason = "drop", "different in nearly every row"
        elif GROUPS.search(name) and not column.dtype.is_float() and 10 <= column.distinct <= rows / 2:
            column.role, column.reason = "group", f"{column.distinct:,} of them, in several rows each"
    _find_time(columns, sample)


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
        fits = ("boosting", "large for a blend") if len(counts) <= 10 else ("forest", "many classes")
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
        counted = numbers.filter(numbers.is_finite()).hist(bin_count=min(most, present.n_unique()))
        heights = counted["count"].to_list()
        ends = pl.Series([numbers.min(), *counted["breakpoint"].to_list()[:-1]])
        labels = ends.cast(pl.Int64).cast(present.dtype) if present.dtype.is_temporal() else ends.round_sig_figs(4)
        names = [f"{label:g}" if isinstance(label, float) else str(label) for label in labels]
        names[-1] = str(present.max())
    elif present.n_unique() == len(present):
        return []
    else:
        top = present.cast(pl.String).value_counts(sort=True).head(most)
        names, heights = top[values.name].to_list(), top["count"].to_list()
    return [(name, height / max(1, *heights)) for name, height in zip(names, heights, strict=True)]


def holds(column: Column) -> str:
    """A column's type in a word: "numbers", "text", "yes or no"."""
    words = {pl.String: "text", pl.Boolean: "yes or no", pl.Date: "dates", pl.Null: "nothing"}
    if column.number:
        return "numbers" if column.dtype.is_float() else "whole numbers"
    return words.get(column.dtype.base_type(), "dates" if column.dtype == pl.Datetime else str(column.dtype))


def twins(columns: list[Column], sample: pl.DataFrame) -> None:
    """Gives the role drop to features (almost) equal to an earlier one: by values, or numbers in another unit."""
    features = [column for column in columns if column.role == "feature" and column.distinct > 2]
    seen: dict[Any, Column] = {}
    for column in features:
        mark = tuple(sample[column.name].head(2000).cast(pl.String).rank("dense").to_list())
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
    keys = [column.name for column in columns if column.role == "key"]
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
        if fact.get("set") and not column.number:
            mostly = {} if column.role == "target" else {"mostly": 0.95}
            expected.append(_expect("column_values_to_be_in_set", column=column.name, value_set=fact["set"], **mostly))
    return expected


def _expect(what: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{what}", "kwargs": kwargs}


def _find_time(columns: list[Column], sample: pl.DataFrame) -> None:
    """Gives the role time to the first date by which the rows are sorted."""
    dates = [column for column in columns if column.role == "feature" and column.dtype in (pl.Date, pl.Datetime)]
    for column in dates:
        values = sample[column.name].drop_nulls()
        if column.missing == 0 and column.distinct > 10 and (values.is_sorted() or values.is_sorted(descending=True)):
            column.role, column.reason = "time", "the rows are sorted by it"
            return


def _bins(values: pl.Series, most: int = 10) -> np.ndarray:
    """The bin (n,) of each of `values`, below `most`: bins of equal size, or the frequent values and the rest."""
    if values.n_unique() > most and (values.dtype.is_numeric() or values.dtype.is_temporal()):
        numbers = values.to_physical().cast(pl.Float64).fill_nan(None)
        ends = np.unique(np.quantile(numbers.drop_nulls().to_numpy(), np.linspace(0, 1, most)[1:-1]))
        return np.searchsorted(ends, numbers.fill_null(float("inf")).to_numpy(), side="right")
    texts = values.cast(pl.String).fill_null("")
    frequent = texts.value_counts(sort=True)[values.name].head(most - 1).to_list()
    numbered = texts.replace_strict({text: at for at, text in enumerate(frequent)}, default=len(frequent))
    return np.unique(numbered.cast(pl.Int64).to_numpy(), return_inverse=True)[1]


def _words(values: pl.Series) -> float:
    """The mean number of words in `values`; 0 where they are not text."""
    if values.dtype != pl.String:
        return 0
    counts = values.drop_nulls().str.count_matches(r"\S+").to_numpy()
    return float(counts.mean()) if len(counts) else 0


def _same(earlier: Column, later: Column) -> None:
    if earlier is not later and later.role == "feature":
        later.role, later.reason = "drop", f"says the same as {earlier.name}"


def _rounded(value: float, towards: int) -> float:
    """`value` rounded to two significant digits, up for `towards` 1 and down for -1."""
    if value == 0 or not abs(value) < 1e300:
        return value
    scale = 10.0 ** (len(str(int(abs(value)))) - 2) if abs(value) >= 1 else 10.0**-6
    steps = value / scale
    whole = int(steps) + (towards if int(steps) != steps and (steps > 0) == (towards > 0) else 0)
    result = whole * scale
    return int(result) if abs(value) >= 10 else round(result, 6)


def _card_share(texts: pl.Series) -> float:
    """The share of `texts` that end in a valid check digit of payment cards (Luhn algorithm)."""

    def valid(text: str) -> bool:
        digits = [int(each) for each in text if each.isdigit()][::-1]
        return sum(digits[::2] + [sum(divmod(2 * each, 10)) for each in digits[1::2]]) % 10 == 0

    return sum(map(valid, texts)) / len(texts)

"""Features worth a try, each with the option that adds it: what a table shows and nothing decides by itself."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import combinations

import polars as pl

from ...data.derivation import as_sql
from .profiles import Column, is_truth

LEVELS = 200  # of more, a column is no set of levels
PAIRED = 3  # columns of dates of which all pairs are looked at


def worth_a_try(columns: list[Column], sample: pl.DataFrame) -> list[str]:
    """Lines of what to try, without values: "weekday of since: -P 'features.derive.since_weekday=EXTRACT(...)'"."""
    shown = [each for each in columns if each.role in ("feature", "time", "target") and not each.sensitive]
    lines = [line for each in shown if each.text for line in _of_levels(each, sample)]
    dates = [each.name for each in shown if each.role != "target" and each.dtype in (pl.Date, pl.Datetime)]
    for name in dates:
        if sample[name].dt.weekday().n_unique() > 1 and sample[name].n_unique() > 7:
            sql = f"EXTRACT(ISODOW FROM {as_sql(name)})"
            lines.append(_derived(f"weekday of {name}", f"{name}_weekday", sql, sample))
    for one, other in combinations(dates[:PAIRED], 2):
        days = sample.select((pl.col(other).cast(pl.Datetime) - pl.col(one).cast(pl.Datetime)).dt.total_seconds())
        first, last = (one, other) if (days.to_series().median() or 0) >= 0 else (other, one)  # type: ignore[operator]
        sql = f"{as_sql(last)} - {as_sql(first)}"
        lines.append(_derived(f"days from {first} to {last}", f"{first}_to_{last}", sql, sample))
    return lines


def _of_levels(column: Column, sample: pl.DataFrame) -> Iterator[str]:
    """Suggestions for a column of texts: truth values in words, levels that are alike."""
    name, levels = column.name, sample[column.name].drop_nulls().unique()
    if column.role == "feature" and is_truth(levels):
        plain = re.fullmatch(r"\w+", name)
        way = f"-P types.{name}.kind=boolean" if plain else "kind: boolean in types of the file in conf/data/"
        yield f"{name}: yes and no in words: {way}"
        return
    lower = levels.str.to_lowercase()
    whole, cased = lower.str.replace_all(" ", "").n_unique(), lower.n_unique()
    if whole < len(levels) <= LEVELS:
        what = f"{name}: {len(levels):,} levels are {whole:,} but for case and blanks"
        sql = f"LOWER({as_sql(name)})" if whole == cased else f"LOWER(REPLACE({as_sql(name)}, ' ', ''))"
        mend = f"{what}: mend them in the source"
        yield mend if column.role == "target" else _derived(what, f"{name}_folded", sql, sample)


def _derived(what: str, name: str, sql: str, table: pl.DataFrame) -> str:
    """The line of a suggestion: the derived column `name`, which `table` has none of, by an expression."""
    key = re.sub(r"\W+", "_", name).strip("_")
    while key in table.columns:
        key += "_"
    option = f"features.derive.{key}={sql}"
    plain = not re.search(r'["$`\\!]', option)
    return f"{what}: -P " + (f'"{option}"' if plain else shlex.quote(option))

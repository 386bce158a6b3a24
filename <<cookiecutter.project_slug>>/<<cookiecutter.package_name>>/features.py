"""Features of your own: functions from rows to a column, which conf names.

A function gets the rows, with the columns that its arguments name and no others, and gives one value for each row:

    features:
      derive:
        age: {_target_: <package>.features.age_at, born: born, at: observed}
        island_mass: {_target_: <package>.features.group_mean, of: body_mass_g, by: island}
        mass_to_island: body_mass_g / island_mass

The last line is an SQL expression: much needs no function. Numbers arrive as Float64, dates as Datetime, and what is
missing as null; an infinite result is missing.

One row may be all that a served model gets, so a value may depend on its own row alone. What has to be learned from
other rows, such as a mean, is learned from the training rows by a second function, learn_<name>, with the same
arguments: what it gives, of texts, numbers, lists and dicts with texts as keys, is kept with the model and handed in as
`learned`, which is keyword-only.

This file travels with each model, and so do the modules of this package that it imports; libraries are pinned for it.
"""

from __future__ import annotations

from typing import Any

import polars as pl


def days_between(rows: pl.DataFrame, *, start: str, end: str) -> pl.Expr:
    """The days from `start` to `end`, with their fraction: 1.5 from Monday 00:00 to Tuesday 12:00."""
    return (pl.col(end) - pl.col(start)).dt.total_seconds() / 86_400


def weekday(rows: pl.DataFrame, *, of: str) -> pl.Expr:
    """The day of the week: 1 is Monday, 7 is Sunday."""
    return pl.col(of).dt.weekday()


def age_at(rows: pl.DataFrame, *, born: str, at: str) -> pl.Expr:
    """The age in whole years: it grows on the birthday."""
    seen, birth = pl.col(at).dt, pl.col(born).dt
    before_birthday = (seen.month() < birth.month()) | ((seen.month() == birth.month()) & (seen.day() < birth.day()))
    return seen.year() - birth.year() - before_birthday.cast(pl.Int32)


def group_mean(rows: pl.DataFrame, *, of: str, by: str, weight: float = 10, learned: dict[str, Any]) -> pl.Series:
    """The mean of `of` that learn_group_mean learned for the same group; of an unknown group, the mean over all."""
    return (
        rows[by].cast(pl.String).replace_strict(learned["means"], default=learned["overall"], return_dtype=pl.Float64)
    )


def learn_group_mean(rows: pl.DataFrame, *, of: str, by: str, weight: float = 10) -> dict[str, Any]:
    """The mean over all rows, and of each group: {"overall": 4.2, "means": {"Biscoe": 4.7, "Dream": 3.7}}.

    A small group tells little: each counts as if it had `weight` more rows, with the mean over all.
    """
    overall = rows[of].mean()
    smoothed = (pl.col(of).sum() + weight * pl.lit(overall)) / (pl.len() + weight)
    # maintain_order: without it, the last bits of a sum depend on the number of threads.
    groups = rows.drop_nulls().group_by(pl.col(by).cast(pl.String), maintain_order=True).agg(smoothed)
    return {"overall": overall, "means": dict(groups.iter_rows())}

"""Parts of a table that a model may serve worse than the whole."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import polars as pl

from ..errors import ProjectError
from . import scoring
from .result import SliceScore

if TYPE_CHECKING:
    from .bootstrap import Bootstrap
    from .scored_model import ScoredModel

MOST = 8  # slices of a column: the greatest, and one for all others
QUARTERS = [0.25, 0.5, 0.75]
FEWER = 4  # a slice's interval rests on one draw in so many


def score_slices(scored: ScoredModel, rows: pl.DataFrame, bootstrap: Bootstrap) -> list[SliceScore]:
    """What `scored` is worth on each slice of `rows`, to which it has the answers, by the columns evaluation.slices."""
    task, scored_slices = bootstrap.task, []
    for column in bootstrap.evaluation.slices:
        names = labels(rows[column])
        for value in names.gather(rows[column].arg_sort(nulls_last=True)).unique(maintain_order=True):
            at = (names == value).arg_true().to_numpy()
            part = scored.part(at)
            try:
                scores = part.scores(task.metrics)
            except ProjectError:
                note = "not to be scored: too few rows, or one class only"
                scored_slices.append(SliceScore(column, value, len(at), note=note))
                continue
            score = scores[scoring.short(task.metrics[0])]
            low, high = bootstrap.interval(score, bootstrap.scores(part, rows[at], part=FEWER), rows[at])
            scored_slices.append(SliceScore(column, value, len(at), score, low, high, scores=scores))
    return scored_slices


def labels(values: pl.Series) -> pl.Series:
    """The slice of each value (n,), in words: the value itself, a range of numbers or dates, "other", or "missing"."""
    ordered = values.dtype.is_numeric() or values.dtype.is_temporal()
    if ordered and values.n_unique() > MOST:
        return _ranges(values).fill_null("missing")
    texts = values.cast(pl.String).alias("slice")
    counts = texts.drop_nulls().value_counts(name="rows").sort("rows", "slice", descending=[True, False])["slice"]
    kept = counts.head(MOST if len(counts) <= MOST else MOST - 1)
    texts = texts.set(texts.is_not_null() & ~texts.is_in(kept.implode()), "other")
    return texts.fill_null("missing")


def _ranges(values: pl.Series) -> pl.Series:
    """The quarter of the values that each is in, as "10 to 20"."""
    physical = values.to_physical()
    cuts = pl.Series([physical.quantile(share, "nearest") for share in QUARTERS]).unique().sort()
    ends = [values.min(), *cuts.cast(physical.dtype).cast(values.dtype), values.max()]
    names = [f"{_written(low)} to {_written(high)}" for low, high in pairwise(ends)]
    place = sum(((physical > cut).cast(pl.Int32) for cut in cuts), start=pl.zeros(len(values), pl.Int32, eager=True))
    return place.replace_strict(dict(enumerate(names)), return_dtype=pl.String)


def _written(value: object) -> str:
    return f"{value:.9g}" if isinstance(value, float) else str(value)

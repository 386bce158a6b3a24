"""How sure a score is: recorded answers scored again on rows drawn anew."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import sklearn

from . import scoring
from .result import Gain

if TYPE_CHECKING:
    from ..config.schema import Columns, Evaluation, Task
    from .scored_model import ScoredModel


@dataclass(frozen=True)
class Bootstrap:
    """How far chance in the rows carries the deciding score, the first of task.metrics."""

    columns: Columns
    task: Task
    evaluation: Evaluation
    seed: int
    known: dict[tuple[ScoredModel, int], np.ndarray] = field(default_factory=dict, init=False)  # what `scores` gave

    def scores(self, scored: ScoredModel, rows: pl.DataFrame, part: int = 1) -> np.ndarray:
        """The deciding score (draws,) on rows drawn from `rows`, which are the same for every model; NaN: undefined.

        `part`: draws one in so many.
        """
        if (scored, part) in self.known:
            return self.known[scored, part]
        group = [pl.col(name).cast(pl.String).fill_null("") for name in self.columns.group]
        together = rows.select(pl.concat_str(group, separator="\x1f")).to_series().to_numpy() if group else None
        alike = rows[self.columns.target or ""].cast(pl.String).to_numpy()
        drawn = draws(
            len(rows),
            count=self.evaluation.resamples // part,
            most=self.evaluation.resampled_rows,
            seed=self.seed,
            classes=None if self.task.kind == "regression" else alike,
            groups=together,
        )
        scorer = scoring.scorer(self.task.metrics[0])
        with warnings.catch_warnings(action="ignore"), sklearn.config_context(skip_parameter_validation=True):
            return self.known.setdefault((scored, part), np.array([_drawn(scorer, scored, at) for at in drawn]))

    def gain(self, one: ScoredModel, other: ScoredModel, rows: pl.DataFrame) -> Gain:
        """What `one` scores more than the `other` on the same `rows`, and how sure that is."""
        ours, theirs = (next(iter(each.scores(self.task.metrics[:1]).values())) for each in (one, other))
        gain = round(ours - theirs, 12) + 0.0  # and not -1.1e-16, which a difference of equal scores can be
        return Gain(gain, *self.interval(gain, self.scores(one, rows) - self.scores(other, rows), rows))

    def interval(self, score: float, drawn: np.ndarray, rows: pl.DataFrame) -> tuple[float | None, float | None]:
        """The interval of `score`, by what it was on rows drawn from `rows`."""
        size = {"rows": len(rows), "most": self.evaluation.resampled_rows}
        return interval(score, drawn, confidence=self.evaluation.confidence, **size)


def draws(
    rows: int, *, count: int, most: int, seed: int, classes: np.ndarray | None = None, groups: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """`count` times the numbers of rows drawn with replacement: as many as there are, or `most`.

    Rows of one of the `groups` (n,) are drawn together, for they are not independent; without groups each of the
    `classes` (n,) keeps its share, or a rare one would be missing at times.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993).
    """
    random, size = np.random.default_rng(seed), min(rows, most)
    marks = groups if groups is not None else classes if classes is not None else np.zeros(rows)
    place = np.unique(marks, return_inverse=True)[1]
    parts = np.split(np.argsort(place, kind="stable"), np.cumsum(np.bincount(place))[:-1])
    share = size / rows
    for _ in range(count):
        if groups is not None:
            drawn = random.integers(len(parts), size=max(1, round(len(parts) * share)))
            yield np.concatenate([parts[each] for each in drawn])
        else:
            yield np.concatenate([random.choice(part, max(1, round(len(part) * share))) for part in parts])


def interval(
    score: float, drawn: np.ndarray, *, confidence: float, rows: int, most: int
) -> tuple[float, float] | tuple[None, None]:
    """Low and high end of the interval that holds `score` with `confidence`, from its values `drawn` (count,).

    Both are None where most of `drawn` are NaN. Draws of fewer rows than there are spread too widely: their deviations
    are scaled by sqrt(most / rows).
    Source: Politis, Romano and Wolf, Subsampling (1999), for fewer rows than there are.
    """
    defined = drawn[np.isfinite(drawn)]
    if len(defined) < max(2, len(drawn) / 2):
        return None, None
    tails = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    low, high = score + (tails - score) * np.sqrt(min(rows, most) / rows)
    return float(low), float(high)


def _drawn(scorer: Any, scored: ScoredModel, rows: np.ndarray) -> float:
    """What `scorer` gives for the rows of the numbers `rows`; NaN where it is undefined, as for one class only."""
    try:
        return scorer(scored.view, rows, scored.target[rows])
    except ValueError:
        return np.nan

"""What a model's answers score, and how far chance in the rows carries it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from . import bootstrap, estimators, scoring

if TYPE_CHECKING:
    from ..config.schema import Columns, Evaluation, Task


class ScoredModel(NamedTuple):
    """What a model answers to some rows, and what is right, both as scorers take them."""

    answers: Any
    target: np.ndarray

    def scores(self, names: list[str], rows: np.ndarray | None = None) -> dict[str, float]:
        """The scores `names` on all rows, or on those of the numbers `rows` (m,)."""
        rows = np.arange(len(self.target)) if rows is None else rows
        return scoring.scores(self.answers, rows, self.target[rows], names=names)


def score_model(model: Any, frame: Any, target: np.ndarray, task: Task) -> ScoredModel:
    """What `model` answers to `frame` (n, d), beside what is right, `target` (n,)."""
    return ScoredModel(*estimators.as_scorer_input(bootstrap.answers(model, frame), target, positive=task.positive))


@dataclass(frozen=True)
class Bootstrap:
    """How far chance in the test rows carries the deciding score."""

    columns: Columns
    task: Task
    evaluation: Evaluation
    seed: int

    def scores(self, judged: ScoredModel, rows: pl.DataFrame, part: int = 1) -> np.ndarray:
        """The deciding score (draws,) on rows drawn anew: on the same ones for every model, given the same `rows`.

        `part`: draws one in so many.
        """
        group = [pl.col(name).cast(pl.String).fill_null("") for name in self.columns.group]
        together = rows.select(pl.concat_str(group, separator="\x1f")).to_series().to_numpy() if group else None
        alike = rows[self.columns.target or ""].cast(pl.String).to_numpy()
        drawn = bootstrap.draws(
            len(rows),
            count=self.evaluation.resamples // part,
            most=self.evaluation.resampled_rows,
            seed=self.seed,
            classes=None if self.task.kind == "regression" else alike,
            groups=together,
        )
        scorer = scoring.scorer(self.task.metrics[0])
        with warnings.catch_warnings(action="ignore"):
            return np.array([_drawn(scorer, judged, at) for at in drawn])

    def interval(self, score: float, drawn: np.ndarray, rows: pl.DataFrame) -> tuple[float | None, float | None]:
        """The interval of `score`, by what it was on rows drawn from `rows`."""
        size = {"rows": len(rows), "most": self.evaluation.resampled_rows}
        return bootstrap.interval(score, drawn, confidence=self.evaluation.confidence, **size)


def _drawn(scorer: Any, judged: ScoredModel, rows: np.ndarray) -> float:
    """What `scorer` gives for the rows of the numbers `rows`; NaN where it is undefined, as for one class only."""
    try:
        return scorer(judged.answers, rows, judged.target[rows])
    except ValueError:
        return np.nan

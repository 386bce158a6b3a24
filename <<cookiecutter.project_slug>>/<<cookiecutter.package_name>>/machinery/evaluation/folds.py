"""Cross-validation: the score of a candidate on one fold of rows, fitted to the others."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from ..config.binding import bound
from ..data import frames, splits
from ..pipeline import seeds
from . import estimators, scoring

if TYPE_CHECKING:
    from ..config.schema import Columns, Split, Task

NUMBER = r"(\d+\.?\d*|\.\d+)(e-?\d+)?"


class Folds:
    """The `rows` of a table, divided into `count` folds by the rule of `split`."""

    def __init__(
        self, rows: pl.DataFrame, *, fit: Callable[..., Any], split: Split, columns: Columns, count: int, seed: int
    ) -> None:
        self.rows = rows
        self.fit, self.columns, self.seed = fit, columns, seed
        self.sides = splits.folds(self.rows, by=split.by, count=count, columns=columns, seed=seed, gap=split.gap)

    def score(self, fold: int, model: dict[str, Any], features: Any, task: Task) -> float:
        """The first of task.metrics on the rows of a `fold`, counted from 0, of a candidate fitted to the others."""
        columns, (train, test) = self.columns, (self.rows[side] for side in self.sides[fold])
        target = str(columns.target)
        test = test.filter(pl.col(target).is_not_null())  # for anomalies only some rows may have a label
        if task.threshold is not None and not re.fullmatch(NUMBER, task.threshold):
            task = replace(task, threshold=None)  # choosing it takes validation rows
        seeds.plant(self.seed)
        candidate = self.fit(
            {"train": train},
            model=bound(model, name="model"),
            columns=columns,
            features=features,
            task=task,
            seed=self.seed,
        )
        frame, truth = candidate.frame(test), frames.target(test, target, kind=task.kind)
        scored, truth = estimators.as_scorer_input(candidate.pipeline, truth, positive=task.positive)
        [score] = scoring.score(scored, frame, truth, names=task.metrics[:1]).values()
        return score

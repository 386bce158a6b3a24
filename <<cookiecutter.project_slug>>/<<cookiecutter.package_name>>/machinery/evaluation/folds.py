"""Cross-validation: the score of a candidate on one fold of rows, fitted to the others."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
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


class Hopeless(Exception):
    """A fit is given up."""


class Folds:
    """The `rows` of a table, divided into `count` folds by the rule of `split`."""

    def __init__(
        self, rows: pl.DataFrame, *, fit: Callable[..., Any], split: Split, columns: Columns, count: int, seed: int
    ) -> None:
        self.rows = rows
        self.fit, self.columns, self.seed = fit, columns, seed
        self.sides = splits.folds(self.rows, by=split.by, count=count, columns=columns, seed=seed, gap=split.gap)

    def score(
        self, fold: int, model: dict[str, Any], features: Any, task: Task, least: Sequence[float] = ()
    ) -> tuple[Any, list[float]]:
        """The first of task.metrics on the rows of a `fold`, counted from 0, of a candidate fitted to the others.

        Then the best scores, so far, after each epoch, of a model that tells them by `progress` as validation_<metric>;
        once one is below that number of `least`, the fit is given up, and there is no other score.
        """
        best: list[float] = []

        def progress(_: int, **values: float) -> None:
            if (score := values.get(f"validation_{task.metrics[0]}")) is not None:
                best.append(max([float(score), *best[-1:]]))
                if any(best[-1] < each for each in least[len(best) - 1 : len(best)]):
                    raise Hopeless

        columns, (train, test) = self.columns, (self.rows[side] for side in self.sides[fold])
        target = str(columns.target)
        test = test.filter(pl.col(target).is_not_null())  # for anomalies only some rows may have a label
        if task.threshold is not None and not re.fullmatch(NUMBER, task.threshold):
            task = replace(task, threshold=None)  # choosing it takes validation rows
        seeds.plant(self.seed)
        how = {"columns": columns, "features": features, "task": task, "seed": self.seed, "progress": progress}
        try:
            candidate = self.fit({"train": train}, model=bound(model, name="model"), **how)
        except Hopeless:
            return None, best
        frame, truth = candidate.frame(test), frames.target(test, target, kind=task.kind)
        scored, truth = estimators.as_scorer_input(candidate.pipeline, truth, positive=task.positive)
        [score] = scoring.score(scored, frame, truth, names=task.metrics[:1]).values()
        return score, best

"""Which model suits a new table: a quick cross-validation of a simple one, a stronger one and the strongest."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from ...config import compose
from ...evaluation import scoring
from ...evaluation.folds import Folds

if TYPE_CHECKING:
    import polars as pl

    from ...layout import Layout

FOLDS = 5
TIE = 0.25  # of a standard error; docs/decisions.md has what others gave
FEWEST = 3  # of them, where time is short


def cross_validated(
    layout: Layout, rows: pl.DataFrame, *, data: str, models: list[str], seconds: float
) -> tuple[str, dict[str, list[float]]]:
    """The metric that decides, and what each of `models`, options of conf/model/, scores on each fold of `rows`.

    The folds follow the dataset's split. Where so many `seconds` are too few, there are fewer of them; a model that
    takes too long for that, by its first fold, is left out, the slowest first.
    """
    end, took = time.monotonic() + seconds, dict.fromkeys(models, 0.0)
    scores: dict[str, list[float]] = {name: [] for name in models}
    configs: dict[str, Any] = {name: compose.resolve(layout, [f"data={data}", f"model={name}"])[0] for name in models}
    first = configs[models[0]]
    how: dict[str, Any] = {"fit": layout.load("training", "fit"), "split": first.split, "columns": first.columns}
    folds = Folds(rows, count=FOLDS, seed=first.seed, **how)
    for fold in range(FOLDS):
        for name in models:
            took[name] = took[name] or max(took.values())  # until it is known
            while len(scores) > 1 and time.monotonic() + (FEWEST - fold) * sum(took[each] for each in scores) > end:
                del scores[max(reversed(scores), key=took.__getitem__)]
            if name in scores:
                began, config = time.monotonic(), configs[name]
                scores[name].append(folds.score(fold, config.model, config.features, config.task)[0])
                took[name] = max(took[name] * bool(fold), time.monotonic() - began)
        if fold + 1 >= FEWEST and time.monotonic() + sum(took[each] for each in scores) > end:
            break
    return scoring.short(first.task.metrics[0]), scores


def chosen(scores: dict[str, list[float]]) -> str:
    """The first of the models, the simplest, that is as good as the best: as good within a TIE.

    The standard error is that of the differences over the folds, corrected for rows that training sets share.
    Source: Nadeau and Bengio, Inference for the generalization error, 2003
    """
    best = max(scores, key=lambda name: float(np.mean(scores[name])))
    for name, values in scores.items():
        lost = np.array(scores[best]) - values
        error = np.std(lost, ddof=1) * np.sqrt(1 / len(lost) + 1 / (len(lost) - 1))
        if np.mean(lost) <= TIE * error:
            return name
    return best

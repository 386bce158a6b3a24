"""How a model came to be what it is, iteration by iteration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from . import estimators, scoring
from .scored_model import RecordedAnswers, as_scored

if TYPE_CHECKING:
    from ..config.schema import Task
    from .evaluation_data import EvaluationData

Curves = dict[str, list[tuple[int, float]]]  # {"train_roc_auc": [(1, 0.81), (2, 0.86)]}: (iteration, value)
MOST, ROWS = 40, 2_000  # points of a curve, and at most so many rows that each rests on
LOSSES = {"loss_curve_": "loss", "validation_scores_": "validation_score"}  # what a neural network writes down
UP_TO: dict[str, Callable[[int], dict[str, Any]]] = {  # how a library answers by the first iterations alone
    "lightgbm": lambda last: {"num_iteration": last},
    "xgboost": lambda last: {"iteration_range": (0, last)},
}


def by_iteration(data: EvaluationData, task: Task) -> Curves:
    """The deciding score after some of the iterations, on training rows and on validation rows, or else test rows.

    Of some rows, evenly spread; with them what the estimator wrote down while it was fitted.
    """
    first, estimator = scoring.short(task.metrics[0]), estimators.inner(data.model.pipeline[-1])
    points = losses(estimator)
    for side in ("train", "validation" if "validation" in data.frames else "test"):
        target = data.targets[side]
        at = np.unique(np.linspace(0, len(target) - 1, ROWS).astype(int))
        for step, answers in answers_by_iteration(data.model.pipeline, estimator, data.frames[side].iloc[at]):
            scored = as_scored(RecordedAnswers(data.model.pipeline, answers, len(at)), target[at], task)
            points.setdefault(f"{side}_{first}", []).append((step, scored.scores(task.metrics[:1])[first]))
    return points


def losses(estimator: Any) -> Curves:
    """What `estimator` wrote down while it was fitted: {"loss": [(1, 0.69), ...]}."""
    written = {name: getattr(estimator, attribute, None) for attribute, name in LOSSES.items()}
    return {name: [(at, float(each[at - 1])) for at in _some(len(each))] for name, each in written.items() if each}


def answers_by_iteration(
    model: Any, estimator: Any, frame: pd.DataFrame
) -> Iterator[tuple[int, dict[str, Callable[[], np.ndarray]]]]:
    """What the pipeline `model`, built upon `estimator`, would have answered to `frame` (n, d) after some iterations.

    Each as (iteration, what gives the answers by method). Nothing for an estimator that is not built step by step.
    """
    with threadpool_limits(1):  # many small predictions: threads would wait for one another
        for at, method, answered in _answers(estimator, model[:-1].transform(frame)):
            predicted = answered if method == "predict" else model.classes_[answered.argmax(axis=1)]
            yield at, {method: partial(np.copy, answered), "predict": partial(np.copy, predicted)}


def _answers(estimator: Any, rows: np.ndarray) -> Iterator[tuple[int, str, np.ndarray]]:
    """Iteration, method, and what the method of `estimator` answers to `rows` (n, d) up to that iteration."""
    up_to = UP_TO.get(type(estimator).__module__.partition(".")[0])
    prefix = "" if up_to else "staged_"
    method = next((each for each in ("predict_proba", "predict") if hasattr(estimator, prefix + each)), None)
    if method is None:
        return
    answer = getattr(estimator, prefix + method)
    if up_to:
        for at in _some(getattr(estimator, "n_iter_", None) or estimator.get_num_boosting_rounds()):
            yield at, method, answer(rows, **up_to(at))
        return
    chosen = set(_some(getattr(estimator, "n_iter_", None) or len(estimator.estimators_)))
    yield from ((at, method, answered) for at, answered in enumerate(answer(rows), 1) if at in chosen)


def _some(total: int) -> list[int]:
    """Iterations 1 to `total`, or as many of them as make a curve."""
    return np.linspace(1, total, max(0, min(MOST, total))).round().astype(int).tolist()

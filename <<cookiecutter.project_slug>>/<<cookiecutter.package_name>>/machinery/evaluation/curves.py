"""How a model came to be what it is, iteration by iteration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

MOST = 40  # points of a curve
LOSSES = {"loss_curve_": "loss", "validation_scores_": "validation_score"}  # what a neural network writes down
UP_TO: dict[str, Callable[[int], dict[str, Any]]] = {  # how a library is asked for the first iterations alone
    "lightgbm": lambda last: {"num_iteration": last},
    "xgboost": lambda last: {"iteration_range": (0, last)},
}


def losses(estimator: Any) -> dict[str, list[tuple[int, float]]]:
    """What `estimator` wrote down while it was fitted, as (iteration, value)."""
    found = {name: getattr(estimator, attribute, None) for attribute, name in LOSSES.items()}
    return {name: [(at, float(each[at - 1])) for at in _some(len(each))] for name, each in found.items() if each}


def stages(model: Any, estimator: Any, frame: pd.DataFrame) -> Iterator[tuple[int, dict[str, Callable]]]:
    """What the pipeline `model`, built upon `estimator`, would have answered to `frame` (n, d) after some iterations.

    Each as (iteration, what gives the answers by method). Nothing for an estimator that is not built step by step.
    """
    with threadpool_limits(1):  # many small predictions: threads would wait for one another
        for at, method, found in _answers(estimator, model[:-1].transform(frame)):
            predicted = found if method == "predict" else model.classes_[found.argmax(axis=1)]
            yield at, {method: partial(np.copy, found), "predict": partial(np.copy, predicted)}


def _answers(estimator: Any, rows: np.ndarray) -> Iterator[tuple[int, str, np.ndarray]]:
    """Iteration, method, and what the method of `estimator` answers to `rows` (n, d) up to that iteration."""
    up_to = UP_TO.get(type(estimator).__module__.partition(".")[0])
    prefix = "" if up_to else "staged_"
    method = next((each for each in ("predict_proba", "predict") if hasattr(estimator, prefix + each)), None)
    if method is None:
        return
    ask = getattr(estimator, prefix + method)
    if up_to:
        for at in _some(getattr(estimator, "n_iter_", None) or estimator.get_num_boosting_rounds()):
            yield at, method, ask(rows, **up_to(at))
        return
    chosen = set(_some(getattr(estimator, "n_iter_", None) or len(estimator.estimators_)))
    yield from ((at, method, found) for at, found in enumerate(ask(rows), 1) if at in chosen)


def _some(total: int) -> list[int]:
    """Iterations 1 to `total`, or as many of them as make a curve."""
    return np.linspace(1, total, max(0, min(MOST, total))).round().astype(int).tolist()

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


def losses(model: Any) -> dict[str, list[tuple[int, float]]]:
    """What the estimator of the pipeline `model` wrote down while it was fitted, as (iteration, value)."""
    found = {name: getattr(_estimator(model), attribute, None) for attribute, name in LOSSES.items()}
    return {name: [(at, float(each[at - 1])) for at in _some(len(each))] for name, each in found.items() if each}


def stages(model: Any, frame: pd.DataFrame) -> Iterator[tuple[int, dict[str, Callable[[], np.ndarray]]]]:
    """What the pipeline `model` would have answered to `frame` (n, d) after some of its iterations, by method.

    Nothing for an estimator that is not built step by step.
    """
    estimator = _estimator(model)
    method = next((each for each in ("predict_proba", "predict") if hasattr(estimator, f"staged_{each}")), None)
    if method is None:
        return
    total = getattr(estimator, "n_iter_", None) or len(estimator.estimators_)
    chosen = set(_some(total))
    with threadpool_limits(1):  # many small predictions: threads would wait for one another
        for at, found in enumerate(getattr(estimator, f"staged_{method}")(model[:-1].transform(frame)), 1):
            if at in chosen:
                predicted = found if method == "predict" else estimator.classes_[found.argmax(axis=1)]
                yield at, {method: partial(np.copy, found), "predict": partial(np.copy, predicted)}


def _some(total: int) -> list[int]:
    """Iterations 1 to `total`, or as many of them as make a curve."""
    return np.linspace(1, total, min(MOST, total)).round().astype(int).tolist()


def _estimator(model: Any) -> Any:
    """The last step of the pipeline `model`, out of what a threshold wraps around it."""
    last = model[-1]
    while hasattr(last, "pos_label") or type(last).__name__ == "FrozenEstimator":
        last = last.estimator
    return last

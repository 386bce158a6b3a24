"""How much a model relies on each column."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.inspection import permutation_importance
from threadpoolctl import threadpool_limits

from . import scoring


def falls(
    model: Any, frame: pd.DataFrame, target: np.ndarray, *, metric: str, repeats: int, rows: int, seed: int
) -> dict[str, float]:
    """How much the score `metric` falls, on average over `repeats`, when a column of `frame` (n, d) is shuffled.

    The greatest fall first: {"bill_depth_mm": 0.21, "island": 0.0}. Of `rows` rows at most; none without repeats.
    Source: https://scikit-learn.org/stable/modules/permutation_importance.html
    """
    if not repeats:
        return {}
    some = np.random.default_rng(seed).permutation(len(frame))[:rows]
    how: dict[str, Any] = {"scoring": scoring.scorer(metric), "n_repeats": repeats, "random_state": seed}
    with threadpool_limits(1):  # many small predictions: threads would wait for one another
        shuffled = permutation_importance(model, frame.iloc[some], target[some], **how)
    by_column = dict(zip(frame.columns, map(float, shuffled.importances_mean), strict=True))
    return dict(sorted(by_column.items(), key=lambda fall: -fall[1]))

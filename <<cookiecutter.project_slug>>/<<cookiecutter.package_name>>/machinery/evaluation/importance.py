"""How much a model relies on each column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from .scored_model import score_model

if TYPE_CHECKING:
    from ..config.schema import Task


def falls(
    model: Any, frame: pd.DataFrame, target: np.ndarray, task: Task, *, repeats: int, rows: int, seed: int
) -> dict[str, float]:
    """How much the first of task.metrics falls, on average over `repeats`, when a column of `frame` (n, d) is shuffled.

    The greatest fall first: {"bill_depth_mm": 0.21, "island": 0.0}. Of `rows` rows at most; none without repeats. The
    model answers all shuffles of a column at once.
    Source: https://scikit-learn.org/stable/modules/permutation_importance.html
    """
    if not repeats:
        return {}
    draw, metric = np.random.default_rng(seed), task.metrics[:1]
    some = draw.permutation(len(frame))[:rows]
    frame, right = frame.iloc[some], np.tile(target[some], repeats)
    parts = np.arange(len(right)).reshape(repeats, -1)
    [whole] = score_model(model, frame, target[some], task).scores(metric).values()
    copies, by_column = pd.concat([frame] * repeats, ignore_index=True), {}
    with threadpool_limits(1):  # many small predictions: threads would wait for one another
        for name in frame:
            orders = draw.permuted(parts % len(some), axis=1).ravel()
            shuffled = copies.assign(**{str(name): frame[name].take(orders).array})
            scored = score_model(model, shuffled, right, task)
            drawn = [score for part in parts for score in scored.part(part).scores(metric).values()]
            by_column[str(name)] = whole - float(np.mean(drawn))
    return dict(sorted(by_column.items(), key=lambda fall: -fall[1]))

"""How much a model relies on each column."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import sklearn
from threadpoolctl import threadpool_limits

from .scored_model import score_model

if TYPE_CHECKING:
    from ..config.schema import Task


class Aside(ThreadPoolExecutor):
    """One thread, in which a model answers many small questions while its other scores are worked out.

    It takes no threads of its own: many small predictions would wait for one another. After an error, or an interrupt,
    nothing more is begun.
    """

    def __init__(self) -> None:
        super().__init__(1, initializer=partial(threadpool_limits, 1, "openmp"))

    def __exit__(self, *raised: object) -> None:
        self.shutdown(cancel_futures=True)


def falls(
    model: Any,
    frame: pd.DataFrame,
    target: np.ndarray,
    task: Task,
    aside: Executor,
    *,
    repeats: int,
    rows: int,
    seed: int,
) -> Callable[[], dict[str, float]]:
    """What gives how much the first of task.metrics falls, on average, when a column of `frame` (n, d) is shuffled.

    The greatest fall first: {"bill_depth_mm": 0.21, "island": 0.0}; it is worked out in `aside`, and waited for. Of
    `rows` rows at most; none without `repeats`. The model answers all shuffles of a column at once.
    Source: https://scikit-learn.org/stable/modules/permutation_importance.html
    """
    if not repeats:
        return dict
    some = np.random.default_rng(seed).permutation(len(frame))[:rows]
    frame, right = frame.iloc[some], np.tile(target[some], repeats)
    parts = np.arange(len(right)).reshape(repeats, -1)
    whole = aside.submit(lambda: score_model(model, frame, target[some], task).scores(task.metrics[:1]))
    copies = pd.concat([frame] * repeats, ignore_index=True)

    def fall(at: int, name: Any) -> float:
        orders = np.random.default_rng([seed, at]).permuted(parts % len(some), axis=1).ravel()
        scored = score_model(model, copies.assign(**{str(name): frame[name].take(orders).array}), right, task)
        with sklearn.config_context(skip_parameter_validation=True):
            drawn = [score for part in parts for score in scored.part(part).scores(task.metrics[:1]).values()]
        return sum(whole.result().values()) - float(np.mean(drawn))

    submitted = [(str(name), aside.submit(fall, at, name)) for at, name in enumerate(frame)]
    return lambda: dict(sorted(((name, each.result()) for name, each in submitted), key=lambda fall: -fall[1]))

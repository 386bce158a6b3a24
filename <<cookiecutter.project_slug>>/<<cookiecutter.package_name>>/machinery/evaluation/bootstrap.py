"""How sure a score is: a model's answers kept, and scored again on rows drawn anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils.metaestimators import available_if

from ..model import loader

METHODS = ("predict", "predict_proba", "decision_function", "score_samples")


class Answers(BaseEstimator):
    """What the fitted model `like` answers to the rows of a table, each method asked once.

    A scorer of scikit-learn takes it for a model, and the numbers of rows (m,) for rows.
    """

    def __init__(self, like: Any, asked: dict[str, Callable[[], np.ndarray]]) -> None:
        self.like, self.asked = like, asked
        if hasattr(like, "classes_"):
            self.classes_ = like.classes_

    def fit(self, rows: np.ndarray, target: np.ndarray) -> Answers:
        """Itself: the answers are there."""
        return self

    @available_if(lambda self: "predict" in self.asked)
    def predict(self, rows: np.ndarray) -> np.ndarray:
        """The predictions (m,) for `rows` (m,)."""
        return self.asked["predict"]()[rows]

    @available_if(lambda self: "predict_proba" in self.asked)
    def predict_proba(self, rows: np.ndarray) -> np.ndarray:
        """The probabilities (m, classes) for `rows` (m,)."""
        return self.asked["predict_proba"]()[rows]

    @available_if(lambda self: "decision_function" in self.asked)
    def decision_function(self, rows: np.ndarray) -> np.ndarray:
        """What decides, (m,) or (m, classes), for `rows` (m,)."""
        return self.asked["decision_function"]()[rows]

    @available_if(lambda self: "score_samples" in self.asked)
    def score_samples(self, rows: np.ndarray) -> np.ndarray:
        """How ordinary (m,) an outlier detector finds `rows` (m,)."""
        return self.asked["score_samples"]()[rows]

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        return self.like.__sklearn_tags__()


def answers(model: Any, frame: pd.DataFrame) -> Answers:
    """The `Answers` of `model` to `frame` (n, d)."""

    def asked(method: str) -> Callable[[], np.ndarray]:
        @cache
        def ask() -> np.ndarray:
            with loader.steadily():
                return getattr(model, method)(frame)

        return ask

    return Answers(model, {method: asked(method) for method in METHODS if hasattr(model, method)})


def chosen(answers: Any, rows: np.ndarray) -> Any:
    """`answers` to some of its rows alone: those of the numbers `rows` (m,)."""
    return Answers(answers, {method: _chosen(answers, method, rows) for method in METHODS if hasattr(answers, method)})


def _chosen(answers: Any, method: str, rows: np.ndarray) -> Callable[[], np.ndarray]:
    return cache(lambda: getattr(answers, method)(rows))


def draws(
    rows: int, *, count: int, most: int, seed: int, classes: np.ndarray | None = None, groups: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """`count` times the numbers of rows drawn with replacement: as many as there are, or `most`.

    Rows of one of the `groups` (n,) are drawn together, for they do not tell independently; without groups each of the
    `classes` (n,) keeps its share, or a rare one would be missing at times.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993).
    """
    random, size = np.random.default_rng(seed), min(rows, most)
    marks = groups if groups is not None else classes if classes is not None else np.zeros(rows)
    place = np.unique(marks, return_inverse=True)[1]
    parts = np.split(np.argsort(place, kind="stable"), np.cumsum(np.bincount(place))[:-1])
    share = size / rows
    for _ in range(count):
        if groups is not None:
            drawn = random.integers(len(parts), size=max(1, round(len(parts) * share)))
            yield np.concatenate([parts[each] for each in drawn])
        else:
            yield np.concatenate([random.choice(part, max(1, round(len(part) * share))) for part in parts])


def interval(
    score: float, drawn: np.ndarray, *, confidence: float, rows: int, most: int
) -> tuple[float, float] | tuple[None, None]:
    """Between which two values `score` lies with `confidence`, by its values (count,) on rows `drawn`; NaN: undefined.

    Where fewer than all `rows` were drawn, the deviations are as much too wide as the root of what is missing.
    Source: Politis, Romano and Wolf, Subsampling (1999), for fewer rows than there are.
    """
    defined = drawn[np.isfinite(drawn)]
    if len(defined) < max(2, len(drawn) / 2):
        return None, None
    tails = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    low, high = score + (tails - score) * np.sqrt(min(rows, most) / rows)
    return float(low), float(high)

"""A model's answers to some rows, recorded once, and what they score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.metaestimators import available_if

from ..model import loader
from . import estimators, scoring

if TYPE_CHECKING:
    from ..config.schema import Task

METHODS = ("predict", "predict_proba", "decision_function", "score_samples")


def _recorded(method: str) -> Any:
    """A method that gives the recorded answers of `method` to rows (m,), and that is there where they are."""

    def answers(self: RecordedAnswers, rows: np.ndarray) -> np.ndarray:
        return self.answers[method]()[rows]

    answers.__name__ = method
    return available_if(lambda self: method in self.answers)(answers)


class RecordedAnswers(BaseEstimator):
    """What the fitted model `like` answers to `count` rows: `answers` gives the array of each method.

    A scorer of scikit-learn takes it for a model, and the numbers of rows (m,) for rows.
    """

    def __init__(self, like: Any, answers: Mapping[str, Callable[[], np.ndarray]], count: int) -> None:
        self.like, self.answers, self.count = like, answers, count
        self._tags = cache(like.__sklearn_tags__)
        if hasattr(like, "classes_"):
            self.classes_ = like.classes_

    def fit(self, rows: np.ndarray, target: np.ndarray) -> RecordedAnswers:
        """Itself: the answers are there."""
        return self

    predict, predict_proba = _recorded("predict"), _recorded("predict_proba")  # (m,), (m, classes)
    decision_function, score_samples = _recorded("decision_function"), _recorded("score_samples")

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        return self._tags()  # of a pipeline they take longer than a score


def record_answers(model: Any, frame: Any) -> RecordedAnswers:
    """The answers of `model` to `frame` (n, d): each method runs once, when its answers are first needed.

    A classifier is asked for its probabilities alone, where these tell what it predicts.
    """
    last = model[-1] if isinstance(model, Pipeline) else model

    def answer(method: str) -> np.ndarray:
        if method == "predict" and "predict_proba" in methods:
            predicted = loader.predictions(last, methods["predict_proba"]())
            if predicted is not None:
                return predicted
        with loader.steadily():
            return getattr(model, method)(frame)

    methods = {each: cache(partial(answer, each)) for each in METHODS if hasattr(model, each)}
    return RecordedAnswers(model, methods, len(frame))


@dataclass(frozen=True, eq=False)
class ScoredModel:
    """What a model answers to n rows, and what is right."""

    answers: RecordedAnswers  # in the target's own labels
    view: Any  # the same as scorers take them: of two classes, and of anomalies, 1 and 0
    target: np.ndarray  # (n,) as scorers take it; empty where there is none

    def scores(self, names: list[str]) -> dict[str, float]:
        """The scores `names`: {"roc_auc": 0.993}. Raises ProjectError for one that these rows do not allow."""
        return scoring.score(self.view, self.rows, self.target, names=names)

    def part(self, rows: np.ndarray) -> ScoredModel:
        """The same of the rows of the numbers `rows` (m,) alone."""
        return ScoredModel(_part(self.answers, rows), _part(self.view, rows), self.target[rows])

    @property
    def rows(self) -> np.ndarray:
        """The numbers (n,) of all rows."""
        return np.arange(self.answers.count)

    @property
    def probabilities(self) -> np.ndarray | None:
        """(n, classes), of two classes the second is the one that is looked for; None of a model that has none."""
        return self.view.predict_proba(self.rows) if hasattr(self.view, "predict_proba") else None

    @property
    def oddness(self) -> np.ndarray:
        """How odd (n,) an outlier detector calls each row."""
        return -self.answers.score_samples(self.rows)

    @property
    def flagged(self) -> np.ndarray:
        """Whether (n,) an outlier detector calls a row an anomaly."""
        return self.answers.predict(self.rows) == -1


def score_model(model: Any, frame: pd.DataFrame, target: np.ndarray, task: Task) -> ScoredModel:
    """What `model` answers to `frame` (n, d), with what is right, `target` (n,)."""
    return as_scored(record_answers(model, frame), target, task)


def as_scored(answers: RecordedAnswers, target: np.ndarray, task: Task) -> ScoredModel:
    """`answers` to n rows of which `target` (n,) is right; empty where there is none."""
    if not len(target):
        return ScoredModel(answers, answers, target)
    return ScoredModel(answers, *estimators.as_scorer_input(answers, target, positive=task.positive))


def _part(answers: Any, rows: np.ndarray) -> RecordedAnswers:
    methods = [method for method in METHODS if hasattr(answers, method)]
    return RecordedAnswers(answers, {each: cache(partial(getattr(answers, each), rows)) for each in methods}, len(rows))

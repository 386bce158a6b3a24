"""Preprocessing and estimator in one scikit-learn Pipeline: fitted, answering, and what tells two of them apart."""

from __future__ import annotations

import hashlib
import inspect
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from operator import methodcaller
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, is_classifier, is_outlier_detector, is_regressor
from sklearn.ensemble import VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, KFold, PredefinedSplit, StratifiedKFold
from sklearn.model_selection import TunedThresholdClassifierCV as ThresholdSearch
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.metaestimators import available_if

from ..errors import ProjectError
from ..model import held_out, loader

MANY = 500_000  # rows: a second copy of them is worth avoiding
SPLITTERS = (KFold, StratifiedKFold)
SUITS = {"classification": is_classifier, "regression": is_regressor, "anomaly": is_outlier_detector}


def inner(estimator: Any) -> Any:
    """The estimator that a threshold, or labels for its classes, are wrapped around in `estimator`."""
    while True:
        if isinstance(estimator, FixedThresholdClassifier | FrozenEstimator):
            estimator = estimator.estimator
        elif isinstance(estimator, VotingClassifier) and len(estimator.estimators) == 1:
            estimator = getattr(estimator, "estimators_", [estimator.estimators[0][1]])[0]
        else:
            return estimator


def labelled(estimator: Any) -> Any:
    """`estimator` for labels of any type: XGBoost takes 0, 1, ... alone; a vote of one knows what each stands for."""
    if is_classifier(estimator) and type(estimator).__module__.startswith("xgboost."):
        return VotingClassifier([("xgboost", estimator)], voting="soft")
    return estimator


def holds_out(estimator: Any) -> bool:
    """Whether its fit holds rows out that `fit` can keep together: a stack's does, and that of any network in it."""
    parts, stack = [estimator, *estimator.get_params().values()], getattr(estimator, "regressor", estimator)
    return isinstance(getattr(stack, "cv", None), SPLITTERS) or any(hasattr(each, "validation_share") for each in parts)


@contextmanager
def _in_folds(estimator: Any, target: np.ndarray | None, groups: np.ndarray | None) -> Iterator[None]:
    """A block in which a stack's folds, and a network's rows to stop by, keep the rows of a group (n,) together."""
    stack = getattr(estimator, "regressor", estimator)
    cv = getattr(stack, "cv", None)
    token = held_out.BELONGING.set(groups)
    if groups is not None and isinstance(cv, SPLITTERS):
        classes = target if is_classifier(stack) else None
        place = held_out.places(classes, rows=len(groups), seed=cv.random_state or 0)
        stack.set_params(cv=PredefinedSplit((place * cv.n_splits).astype(int)))
    try:
        yield
    finally:
        held_out.BELONGING.reset(token)
        for each in (stack, getattr(estimator, "regressor_", stack)) if isinstance(cv, SPLITTERS) else ():
            each.set_params(cv=cv)  # so that no model keeps a number for each row


def fit(model: Pipeline, frame: pd.DataFrame, target: np.ndarray | None, *, kind: str, **seams: Any) -> Pipeline:
    """`model` fitted to `frame` (n, d) and `target` (n,), and set to predict on one thread.

    One BLAS thread, and one job at prediction: with more, sums are taken in another order and the last bits differ from
    machine to machine. Of the `seams`, such as `progress`, the estimator gets those that its `fit` names; in `autolog`
    it is fitted; rows of one of the `groups` (n,) are held out together. Raises ProjectError for an estimator of the
    wrong kind and for what scikit-learn refuses.
    """
    estimator = model[-1]
    last = inner(estimator)
    autolog = seams.pop("autolog", nullcontext)(getattr(last, "regressor", last))
    folds = _in_folds(estimator, target, seams.pop("groups", None))
    name = type(last).__name__
    if not SUITS[kind](estimator):
        raise ProjectError(f"{name} is no model for {kind}: choose another model=..., or task=...")
    if kind == "classification" and target is not None and len(np.unique(target)) < 2:
        raise ProjectError(f"the training rows hold one class only ({target[0]}): a classifier needs two")
    takes = inspect.signature(getattr(estimator, "regressor", estimator).fit).parameters  # of a transformed target, too
    fitted, given = model, frame
    if len(frame) > MANY:  # the first step takes the frame out of a list: what is encoded replaces it in memory
        given, frame = [frame], frame.head(0)
        fitted = Pipeline([("frame", FunctionTransformer(methodcaller("pop"))), *model.steps])
    wanted = {f"{model.steps[-1][0]}__{name}": seam for name, seam in seams.items() if name in takes}
    try:
        with folds, autolog, loader.steadily(), warnings.catch_warnings(record=True, action="always") as caught:
            fitted.fit(given, None if kind == "anomaly" else target, **wanted)
    except Exception as error:
        if not isinstance(error, ValueError | TypeError) and type(error).__name__ != "LightGBMError":
            raise
        cause = None if type(error).__name__ == "InvalidParameterError" else error  # which tells no values
        raise ProjectError(f"{name} cannot be fitted: {error}") from cause
    for warning in map(str, (each.message for each in caught)):  # others are of rare classes, of collinearity
        if unheard := re.search(r"Parameters: .* are not used|Device is changed from GPU to CPU.*", warning):
            raise ProjectError(f"{name} was not fitted as asked: {unheard[0]}")
    for each in (estimator, *getattr(estimator, "named_estimators_", {}).values()):
        each.set_params(**{name: 1 for name in each.get_params() if name.rpartition("__")[2] == "n_jobs"})
    return model


def label(classes: np.ndarray, stated: str | None) -> Any:
    """The class that `stated` names, whatever its type; without a name, the last. Raises ProjectError for an unknown
    one."""
    matching = [each for each in classes if stated in (None, str(each))]
    if not matching:
        raise ProjectError(f"task.positive={stated} is no class of the target: {', '.join(map(str, classes))}")
    return matching[-1]


def as_scorer_input(model: Any, target: np.ndarray, *, positive: str | None) -> tuple[Any, np.ndarray]:
    """`model` and `target` (n,) as scorers take them: of two classes, or of anomalies, 1 for `positive` and 0 else."""
    classes = model.classes_ if is_classifier(model) else np.unique(target)
    if not is_outlier_detector(model) and (not is_classifier(model) or len(classes) != 2):
        return model, target
    yes = label(classes, positive)
    return PositiveClassView(model, yes), (target == yes).astype(int)


class PositiveClassView(ClassifierMixin, BaseEstimator):
    """A fitted model that answers one question: is it `positive`? So scikit-learn's scorers serve labels of any type.

    Of an outlier detector, `positive` is an anomaly.
    """

    def __init__(self, model: Any, positive: Any) -> None:
        self.model, self.positive = model, positive
        self.classes_ = np.array([0, 1])

    def fit(self, frame: pd.DataFrame, target: np.ndarray) -> PositiveClassView:
        """Itself: it answers out of a fitted model."""
        return self

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        """1 for each row (n,) that is, 0 for the others."""
        yes = self.model.predict(frame) == (-1 if is_outlier_detector(self.model) else self.positive)
        return yes.astype(int)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    @available_if(lambda self: hasattr(self.model, "predict_proba"))
    def predict_proba(self, frame: pd.DataFrame) -> np.ndarray:
        """The probabilities (n, 2) of no and of yes."""
        classes, all_of_them = list(self.model.classes_), self.model.predict_proba(frame)
        there = self.positive in classes
        yes = all_of_them[:, classes.index(self.positive)] if there else np.zeros(len(all_of_them))
        return np.column_stack([1 - yes, yes])

    @available_if(lambda self: is_outlier_detector(self.model))
    def decision_function(self, frame: pd.DataFrame) -> np.ndarray:
        """How odd (n,) each row is."""
        return -self.model.score_samples(frame)


def decided(model: Pipeline, frame: pd.DataFrame, target: np.ndarray, *, threshold: Any, positive: Any) -> Pipeline:
    """The fitted binary `model`, made to answer `positive` from `threshold` on: a probability, or the one at which that
    scorer is best on `frame` and `target`.

    Source: https://scikit-learn.org/stable/modules/classification_threshold.html
    """
    best = threshold
    if not isinstance(threshold, float):
        how: dict[str, Any] = {"cv": "prefit", "refit": False, "response_method": "predict_proba"}
        tuned = ThresholdSearch(PositiveClassView(model, positive), scoring=threshold, **how)
        try:
            best = float(tuned.fit(frame, (target == positive).astype(int)).best_threshold_)
        except ValueError as error:
            raise ProjectError(f"task.threshold cannot be found on the validation rows: {error}") from error
    last = FixedThresholdClassifier(
        FrozenEstimator(model[-1]), threshold=best, pos_label=positive, response_method="predict_proba"
    )
    return Pipeline([*model.steps[:-1], ("estimator", last.fit(model[:-1].transform(frame), target))])


def outputs(model: Pipeline, frame: pd.DataFrame) -> np.ndarray:
    """A classifier's probabilities (n, classes), an outlier detector's scores (n,), the greater the odder, or a
    regressor's predictions (n,)."""
    with loader.steadily():
        if is_outlier_detector(model):
            return -model.score_samples(frame)
        return model.predict_proba(frame) if hasattr(model, "predict_proba") else model.predict(frame)


def printed(value: Any) -> str:
    """`value` as scikit-learn prints it: estimators with what differs from their defaults.

    Its own takes a second for a blend, whose members are pipelines: to find what differs it prints each part again.
    """
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(printed, value))}]"
    if not hasattr(value, "get_params"):
        return repr(value)
    usual = {name: repr(each.default) for name, each in inspect.signature(type(value)).parameters.items()}
    parts = {name: printed(each) for name, each in value.get_params(deep=False).items()}
    changed = [f"{name}={text}" for name, text in parts.items() if text != usual.get(name)]
    return f"{type(value).__name__}({', '.join(changed)})"


def digest(model: Pipeline, frame: pd.DataFrame, *, data: str) -> str:
    """A hash of what `model` answers for `frame`, of its estimator's parameters, its columns and its `data`'s digest.

    Answers and not the file: the file of one and the same model differs from second to second.
    """
    about = (data, printed(model[-1]), list(frame.columns))
    whole = hashlib.sha256(repr(about).encode())
    answers = outputs(model, frame)
    whole.update(answers.astype("<f8").tobytes() if answers.dtype.kind in "fiub" else repr(answers.tolist()).encode())
    return whole.hexdigest()

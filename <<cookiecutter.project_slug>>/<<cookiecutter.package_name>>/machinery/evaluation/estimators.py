"""Preprocessing and estimator in one scikit-learn Pipeline: fitted, asked, told apart."""

from __future__ import annotations

import hashlib
import re
import warnings
from operator import methodcaller
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, is_classifier, is_outlier_detector, is_regressor
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import StackingClassifier, StackingRegressor, VotingClassifier, VotingRegressor
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.model_selection import FixedThresholdClassifier, KFold, StratifiedKFold, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    QuantileTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.utils.metaestimators import available_if

from ..errors import Refused
from ..mlflow import loader

SUITS = {"classification": is_classifier, "regression": is_regressor, "anomaly": is_outlier_detector}
NOT_A_TIME = float(np.iinfo(np.int64).min)  # what NumPy makes of a missing date
PARTS = {"D": None, "M": 12, "h": 24}  # NumPy's units of time, and after how many of them they begin anew; None: never


def blend(members: dict[str, Any], weights: list[float]) -> VotingClassifier | VotingRegressor:
    """An unfitted model that answers the weighted mean of what its `members` do."""
    if all(is_classifier(member) for member in members.values()):
        return VotingClassifier(list(members.items()), voting="soft", weights=weights)
    return VotingRegressor(list(members.items()), weights=weights)


def stack(members: dict[str, Any], final: Any, folds: int, seed: int) -> StackingClassifier | StackingRegressor:
    """An unfitted model whose `final` learns from what its `members` answer to rows that they were not fitted to."""
    if folds < 2:
        raise Refused(f"model.folds={folds}: it takes 2 at least, so that some rows are left to learn from")
    how: dict[str, Any] = {"n_splits": folds, "shuffle": True, "random_state": seed}
    if all(is_classifier(member) for member in members.values()):
        cv = StratifiedKFold(**how)
        return StackingClassifier(list(members.items()), final, cv=cv, stack_method="predict_proba")
    return StackingRegressor(list(members.items()), final, cv=KFold(**how))


def pipeline(
    estimator: Any,
    *,
    kinds: dict[str, str],
    max_categories: int,
    min_frequency: float,
    text_components: int,
    seed: int,
    transform: str | None = None,
) -> Pipeline:
    """An unfitted Pipeline: every column encoded by its kind, see features.kinds; then `estimator`.

    A missing text is a level of its own; of a missing number a column of its own tells. `transform`: of a regression's
    target, "log" or "quantile". The casts make a served row, which may hold nothing but nulls, look like the training
    rows. Raises Refused for an unknown `transform`.
    """
    columns = {kind: [name for name, each in kinds.items() if each == kind] for kind in set(kinds.values())}
    numbers = [name for name, kind in kinds.items() if kind in ("number", "boolean")]
    categories = _onehot(max_categories, min_frequency)
    supervised = not is_outlier_detector(estimator)
    steps = [
        ("numbers", make_pipeline(_call("astype", "float64"), _filled(), StandardScaler()), numbers),
        ("categories", categories, columns.get("category", [])),
        ("levels", _levels(seed) if supervised else categories, columns.get("level", [])),
        *((f"dates_{unit}", _dates(unit, PARTS[unit]), columns.get("date", [])) for unit in PARTS),
        *((f"text_{name}", _words(text_components, seed), name) for name in columns.get("text", [])),
    ]
    prepare = ColumnTransformer([step for step in steps if step[2]], verbose_feature_names_out=False)
    return Pipeline([("prepare", prepare), ("estimator", _transformed(_labelled(estimator), transform))])


def inner(estimator: Any) -> Any:
    """The estimator that a threshold, or labels for its classes, are wrapped around in `estimator`."""
    while True:
        if isinstance(estimator, FixedThresholdClassifier | FrozenEstimator):
            estimator = estimator.estimator
        elif isinstance(estimator, VotingClassifier) and len(estimator.estimators) == 1:
            estimator = getattr(estimator, "estimators_", [estimator.estimators[0][1]])[0]
        else:
            return estimator


def fit(model: Pipeline, frame: pd.DataFrame, target: np.ndarray | None, *, kind: str) -> Pipeline:
    """`model` fitted to `frame` (n, d) and `target` (n,), and set to predict on one thread.

    One BLAS thread, and one job at prediction: with more, sums are taken in another order and the last bits differ from
    machine to machine. Raises Refused for an estimator of the wrong kind and for what scikit-learn refuses.
    """
    estimator = model[-1]
    name = type(inner(estimator)).__name__
    if not SUITS[kind](estimator):
        raise Refused(f"{name} is no model for {kind}: choose another model=..., or task=...")
    if kind == "classification" and target is not None and len(np.unique(target)) < 2:
        raise Refused(f"the training rows hold one class only ({target[0]}): a classifier needs two")
    try:
        with loader.steadily(), warnings.catch_warnings(record=True, action="always") as told:
            model.fit(frame, None if kind == "anomaly" else target)
    except Exception as error:
        if not isinstance(error, ValueError | TypeError) and type(error).__name__ != "LightGBMError":
            raise
        cause = None if type(error).__name__ == "InvalidParameterError" else error  # which tells no values
        raise Refused(f"{name} cannot be fitted: {error}") from cause
    for warning in map(str, (each.message for each in told)):  # the others tell of rare classes, of collinearity
        if unheard := re.search(r"Parameters: .* are not used|Device is changed from GPU to CPU.*", warning):
            raise Refused(f"{name} was not fitted as asked: {unheard[0]}")
    for each in (estimator, *getattr(estimator, "named_estimators_", {}).values()):
        if hasattr(each, "n_jobs"):
            each.set_params(n_jobs=1)
    return model


def label(classes: np.ndarray, stated: str | None) -> Any:
    """The class that `stated` names, whatever its type; without a name, the last. Raises Refused for an unknown one."""
    found = [each for each in classes if stated in (None, str(each))]
    if not found:
        raise Refused(f"task.positive={stated} is no class of the target: {', '.join(map(str, classes))}")
    return found[-1]


def asked(model: Any, target: np.ndarray, *, positive: str | None) -> tuple[Any, np.ndarray]:
    """`model` and `target` (n,) as scorers take them: of two classes, or of anomalies, 1 for `positive` and 0 else."""
    classes = model.classes_ if is_classifier(model) else np.unique(target)
    if not is_outlier_detector(model) and (not is_classifier(model) or len(classes) != 2):
        return model, target
    yes = label(classes, positive)
    return Yes(model, yes), (target == yes).astype(int)


class Yes(ClassifierMixin, BaseEstimator):
    """A fitted model asked one question: is it `positive`? So scikit-learn's scorers serve labels of any type.

    Of an outlier detector, `positive` is an anomaly.
    """

    def __init__(self, model: Any, positive: Any) -> None:
        self.model, self.positive = model, positive
        self.classes_ = np.array([0, 1])

    def fit(self, frame: pd.DataFrame, target: np.ndarray) -> Yes:
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
        known = list(self.model.classes_)
        found = self.model.predict_proba(frame)
        yes = found[:, known.index(self.positive)] if self.positive in known else np.zeros(len(found))
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
        tuned = TunedThresholdClassifierCV(
            Yes(model, positive), scoring=threshold, cv="prefit", refit=False, response_method="predict_proba"
        )
        try:
            best = float(tuned.fit(frame, (target == positive).astype(int)).best_threshold_)
        except ValueError as error:
            raise Refused(f"task.threshold cannot be found on the validation rows: {error}") from error
    last = FixedThresholdClassifier(
        FrozenEstimator(model[-1]), threshold=best, pos_label=positive, response_method="predict_proba"
    )
    return Pipeline([*model.steps[:-1], ("estimator", last.fit(model[:-1].transform(frame), target))])


def answers(model: Pipeline, frame: pd.DataFrame) -> np.ndarray:
    """A classifier's probabilities (n, classes), an outlier detector's scores (n,), the greater the odder, or a
    regressor's predictions (n,)."""
    with loader.steadily():
        if is_outlier_detector(model):
            return -model.score_samples(frame)
        return model.predict_proba(frame) if hasattr(model, "predict_proba") else model.predict(frame)


def digest(model: Pipeline, frame: pd.DataFrame, *, data: str) -> str:
    """A hash of what `model` answers for `frame`, of its estimator's parameters, its columns and its `data`'s digest.

    Answers and not the file: the file of one and the same model differs from second to second.
    """
    told = (data, model[-1], sorted(model[-1].get_params().items()), list(frame.columns))
    whole = hashlib.sha256(repr(told).encode())
    found = answers(model, frame)
    whole.update(found.astype("<f8").tobytes() if found.dtype.kind in "fiub" else repr(found.tolist()).encode())
    return whole.hexdigest()


def _labelled(estimator: Any) -> Any:
    """`estimator` for labels of any type: XGBoost takes 0, 1, ... alone; a vote of one knows what each stands for."""
    if is_classifier(estimator) and type(estimator).__module__.startswith("xgboost."):
        return VotingClassifier([("xgboost", estimator)], voting="soft")
    return estimator


def _transformed(estimator: Any, transform: str | None) -> Any:
    """`estimator`, of which the target is transformed before it is fitted and back after it has predicted."""
    if transform is None:
        return estimator
    if transform == "log":
        return TransformedTargetRegressor(estimator, func=np.log1p, inverse_func=np.expm1)
    if transform == "quantile":
        normal = QuantileTransformer(output_distribution="normal", n_quantiles=200)
        return TransformedTargetRegressor(estimator, transformer=normal)
    raise Refused(f"task.transform={transform}: it is null, log or quantile")


def _call(method: str, *arguments: Any) -> FunctionTransformer:
    """A step that calls a method of what it is given: no code of this package has to travel with the model."""
    return FunctionTransformer(methodcaller(method, *arguments), feature_names_out="one-to-one")


def _filled(missing: float = np.nan) -> SimpleImputer:
    indicator = bool(np.isnan(missing))
    return SimpleImputer(missing_values=missing, strategy="median", keep_empty_features=True, add_indicator=indicator)


def _onehot(max_categories: int, min_frequency: float) -> Pipeline:
    encoder = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        max_categories=max_categories,
        min_frequency=min_frequency,
        sparse_output=False,
    )
    return make_pipeline(_call("astype", "str"), encoder)


def _levels(seed: int) -> Pipeline:
    """Of many levels, each is the target's mean over its rows, out of the other rows' folds while fitting.

    Source: https://scikit-learn.org/stable/modules/preprocessing.html#target-encoder
    """
    return make_pipeline(
        _call("astype", "str"), TargetEncoder(cv=KFold(5, shuffle=True, random_state=seed)), StandardScaler()
    )


def _dates(unit: str, period: int | None) -> Pipeline:
    """Dates as numbers: how many of the `unit` since 1970, or since `period` of them began anew."""
    counted = [_call("astype", "datetime64[us]"), _call("to_numpy"), _call("astype", f"datetime64[{unit}]")]
    counted += [_call("astype", "float64"), _filled(NOT_A_TIME)]
    return make_pipeline(*counted, *([_call("__mod__", period)] if period else []), StandardScaler())


def _words(components: int, seed: int) -> Pipeline:
    """Free text as `components` numbers: weighted words, hashed and so not kept, reduced (latent semantic analysis).

    Source: https://scikit-learn.org/stable/modules/decomposition.html#lsa
    """
    hashed = HashingVectorizer(n_features=2**14, alternate_sign=False)
    reduced = TruncatedSVD(components, random_state=seed)
    return make_pipeline(_call("astype", "str"), _call("fillna", ""), hashed, TfidfTransformer(), reduced)

"""Preprocessing and estimator in one scikit-learn Pipeline: fitted, asked, told apart."""

from __future__ import annotations

import hashlib
from operator import methodcaller

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from .errors import Refused


def pipeline(estimator: BaseEstimator, *, kinds: dict[str, str], max_categories: int, min_frequency: float) -> Pipeline:
    """An unfitted Pipeline: by `kinds`, numbers are imputed and scaled and text one-hot encoded; then `estimator`.

    A missing text is a level of its own. The casts make a served row, which may hold nothing but nulls, look like the
    training rows.
    """
    numbers = make_pipeline(
        FunctionTransformer(methodcaller("astype", "float64"), feature_names_out="one-to-one"),
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
    )
    texts = make_pipeline(
        FunctionTransformer(methodcaller("astype", "str"), feature_names_out="one-to-one"),
        OneHotEncoder(
            handle_unknown="infrequent_if_exist",
            max_categories=max_categories,
            min_frequency=min_frequency,
            sparse_output=False,
        ),
    )
    columns = {
        "numbers": [name for name, kind in kinds.items() if kind != "text"],
        "texts": [name for name, kind in kinds.items() if kind == "text"],
    }
    steps = [("numbers", numbers, columns["numbers"]), ("texts", texts, columns["texts"])]
    prepare = ColumnTransformer([step for step in steps if step[2]], verbose_feature_names_out=False)
    return Pipeline([("prepare", prepare), ("estimator", estimator)])


def fit(model: Pipeline, frame: pd.DataFrame, target: np.ndarray, *, kind: str) -> Pipeline:
    """`model` fitted to `frame` (n, d) and `target` (n,), and set to predict on one thread.

    One BLAS thread, and one job at prediction: with more, sums are taken in another order and the last bits differ from
    machine to machine. Raises Refused for an estimator of the wrong kind and for what scikit-learn refuses.
    """
    estimator = model[-1]
    name = type(estimator).__name__
    if not (is_classifier(estimator) if kind == "classification" else is_regressor(estimator)):
        raise Refused(f"{name} is no model for {kind}: choose another model=..., or task=...")
    if kind == "classification" and len(np.unique(target)) < 2:
        raise Refused(f"the training rows hold one class only ({target[0]}): a classifier needs two")
    try:
        with threadpool_limits(1, user_api="blas"):
            model.fit(frame, target)
    except (ValueError, TypeError) as error:
        raise Refused(f"{name} cannot be fitted: {error}") from error
    if "n_jobs" in estimator.get_params():
        estimator.set_params(n_jobs=1)
    return model


def answers(model: Pipeline, frame: pd.DataFrame) -> np.ndarray:
    """The class probabilities (n, classes) of a classifier, or the predictions (n,) of a regressor."""
    with threadpool_limits(1, user_api="blas"):
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

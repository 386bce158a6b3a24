"""How well a model does on rows that it is shown."""

from __future__ import annotations

import difflib
import warnings
from typing import Any

import numpy as np
import pandas as pd
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import check_scoring, get_scorer, get_scorer_names, make_scorer

from ..config import targets
from ..errors import ProjectError
from ..model import loader


def score(model: Any, frame: Any, target: np.ndarray, *, names: list[str]) -> dict[str, float]:
    """What each scorer of `names` gives for `model` on `frame` (n, d) and `target` (n,): more is better.

    Raises ProjectError for an unknown scorer and for one that these rows or this model do not allow.
    """
    scorers = {short(name): scorer(name) for name in names}
    try:
        with loader.steadily(), warnings.catch_warnings(action="ignore"):
            values = check_scoring(model, scoring=scorers)(model, frame, target)
    except (ValueError, AttributeError) as error:
        raise ProjectError(
            f"{', '.join(names)} cannot be had ({_line(error)}): name others in task.metrics, see that "
            "each class has rows on every side (split=stratified), or take another task: task=multiclass"
        ) from error
    for name, value in values.items():
        if not np.isfinite(value):
            raise ProjectError(
                f"{name} is undefined on these {len(target)} rows: name others in task.metrics, or give more rows"
            )
    return {name: float(value) for name, value in values.items()}


def short(name: str) -> str:
    """What the scorer `name` is called in tables: of `package.module.function` the function."""
    return name.rpartition(".")[2]


def scorer(name: str, *, key: str = "task.metrics") -> Any:
    """scikit-learn's scorer `name`, or one out of a function `package.module.function` of (target, predictions).

    Raises ProjectError, naming the config's `key`, where there is none.
    Source: https://scikit-learn.org/stable/modules/model_evaluation.html#callable-scorers
    """
    names = get_scorer_names()
    if name in names:
        return get_scorer(name)
    if "." not in name:
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names
        raise ProjectError(f"{key}: scikit-learn has no scorer {name}; it has {', '.join(close)}")
    try:
        metric = targets.resolved(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ProjectError(f"{key}: {name} cannot be imported: {_line(error)}") from None  # which tells no values
    return metric if hasattr(metric, "_score_func") else make_scorer(metric)


def baseline(frame: pd.DataFrame, target: np.ndarray, *, kind: str) -> Any:
    """A model that says the same for every row: the class shares or the mean of `target`."""
    dummy = DummyRegressor(strategy="mean") if kind == "regression" else DummyClassifier(strategy="prior")
    return dummy.fit(frame, target)


def anomaly_rates(oddness: np.ndarray, flagged: np.ndarray) -> dict[str, float]:
    """The share of rows `flagged` (n,) as anomalies, and how odd (n,) rows are: {"anomaly_rate": 0.14}."""
    quantiles = {f"p{share}": np.percentile(oddness, share) for share in (5, 50, 95, 99)}
    moments = {"mean": oddness.mean(), "min": oddness.min(), "max": oddness.max(), "std": oddness.std()}
    numbers = {f"anomaly_score_{name}": float(value) for name, value in (moments | quantiles).items()}
    return {"anomaly_rate": float(flagged.mean()), **numbers}


def relative_error(target: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """{"test_mape": 0.08}: how far `predicted` (n,) is off in shares of `target` (n,) on average; {} where one is 0."""
    return {"test_mape": float(np.abs(predicted / target - 1).mean())} if target.all() else {}


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]

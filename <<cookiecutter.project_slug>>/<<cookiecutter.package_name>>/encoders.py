"""How each kind of column becomes the numbers that an estimator takes."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from operator import methodcaller
from typing import Any

import numpy as np
from sklearn import preprocessing
from sklearn.base import clone, is_outlier_detector
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import get_tags

from .machinery.errors import ProjectError
from .machinery.evaluation import estimators
from .machinery.evaluation.ensembles import ENSEMBLES

NOT_A_TIME = float(np.iinfo(np.int64).min)  # what NumPy makes of a missing date
PARTS = {"D": None, "M": 12, "h": 24}  # NumPy's units of time, and after how many of them they begin anew; None: never


def pipeline(
    estimator: Any,
    *,
    kinds: dict[str, str],
    max_categories: int,
    min_frequency: float,
    text_components: int,
    seed: int,
    transform: str | None = None,
    sensitive: Collection[str] = (),
) -> Pipeline:
    """An unfitted Pipeline: every column encoded by its kind, see features.kinds, as `estimator` takes it; then that.

    Each member of a blend or a stack has an encoding of its own. `transform`: of a regression's target, "log" or
    "quantile". The casts make a served row of nothing but nulls look like the training rows. Raises ProjectError for an
    unknown `transform`.
    """
    kinds = {name: "number" if kind == "boolean" else kind for name, kind in kinds.items()}
    kinds |= {name: f"sensitive {kinds[name]}" for name in sensitive if kinds.get(name) in ("number", "date")}
    columns = {kind: [name for name, each in kinds.items() if each == kind] for kind in set(kinds.values())}
    rare: dict[str, Any] = {"max_categories": max_categories, "min_frequency": min_frequency}
    encode = partial(_encoded, columns=columns, rare=rare, text_components=text_components, seed=seed)
    if not isinstance(estimator, ENSEMBLES) or getattr(estimator, "passthrough", False):  # of columns to its last model
        prepare, inner = encode(estimator).steps
        return Pipeline([prepare, ("estimator", _transformed(estimators.labelled(inner[1]), transform))])
    members = [(name, each if each == "drop" else encode(each)) for name, each in estimator.estimators]
    whole = clone(estimator).set_params(estimators=members)
    return Pipeline([("prepare", "passthrough"), ("estimator", _transformed(whole, transform))])


def _encoded(
    estimator: Any, *, columns: dict[str, list[str]], rare: dict[str, Any], text_components: int, seed: int
) -> Pipeline:
    """An unfitted Pipeline: `columns` by kind as the numbers that `estimator` takes, and then that.

    What takes missing values (trees) gets numbers as they are, and for each category a code, where it can be told which
    columns are codes, or else the target's mean. All else gets scaled numbers, the median and a column that says so for
    a missing one, and a column for each category. A missing category or level has a value of its own, a missing date is
    the median, a missing text empty. Of sensitive numbers and dates, what is learned rests on rounded values and means.
    """
    supervised = not is_outlier_detector(estimator)
    trees = supervised and get_tags(estimator).input_tags.allow_nan
    rounded = [preprocessing.StandardScaler(), _call("round", 2)]  # no limit or median is a value of a person
    number = [] if trees else [_filled(), preprocessing.StandardScaler()]
    onehot = preprocessing.OneHotEncoder(handle_unknown="infrequent_if_exist", sparse_output=False, **rare)
    # Each level is the target's mean over its rows, out of the other rows' folds while fitting.
    # Source: https://scikit-learn.org/stable/modules/preprocessing.html#target-encoder
    means = preprocessing.TargetEncoder(cv=KFold(5, shuffle=True, random_state=seed))
    levels = _of_text(means, preprocessing.StandardScaler()) if supervised else _of_text(onehot)
    categories, settings = levels if trees else _of_text(onehot), estimator.get_params(deep=False)
    few = rare["max_categories"] < settings.get("max_bins", np.inf)
    if trees and few and settings.get("categorical_features") == "from_dtype":
        unseen: dict[str, Any] = {"handle_unknown": "use_encoded_value", "unknown_value": np.nan}  # is missing
        codes = preprocessing.OrdinalEncoder(**unseen)  # of which the rare ones are counted much faster than of texts
        categories = _of_text(codes, preprocessing.OrdinalEncoder(**unseen, **rare))
        first = list(range(len(columns.get("category", []))))
        estimator = clone(estimator).set_params(categorical_features=first)
    steps = [
        ("categories", categories, columns.get("category", [])),
        ("numbers", make_pipeline(_call("astype", "float64"), *number), columns.get("number", [])),
        ("rounded", make_pipeline(_call("astype", "float64"), *rounded, *number), columns.get("sensitive number", [])),
        ("levels", levels, columns.get("level", [])),
        *(
            (f"{kind}_{unit}", _dates(unit, period, kind), columns.get(kind, []))
            for kind in ("date", "sensitive date")
            for unit, period in PARTS.items()
        ),
        *((f"text_{name}", _words(text_components, seed), name) for name in columns.get("text", [])),
    ]
    prepare = ColumnTransformer([step for step in steps if step[2]], verbose_feature_names_out=False)
    by_columns = [] if trees else [_call("copy", "F")]  # the order in memory decides the last bits of linear algebra
    return Pipeline([("prepare", make_pipeline(prepare, *by_columns)), ("estimator", estimator)])


def _transformed(estimator: Any, transform: str | None) -> Any:
    """`estimator`, of which the target is transformed before it is fitted and back after it has predicted."""
    if transform is None:
        return estimator
    if transform == "log":
        return TransformedTargetRegressor(estimator, func=np.log1p, inverse_func=np.expm1)
    if transform == "quantile":
        normal = preprocessing.QuantileTransformer(output_distribution="normal", n_quantiles=200)
        return TransformedTargetRegressor(estimator, transformer=normal)
    raise ProjectError(f"task.transform={transform}: it is null, log or quantile")


def _call(method: str, *arguments: Any) -> preprocessing.FunctionTransformer:
    """A step that calls a method of what it is given: no code of this package has to travel with the model."""
    return preprocessing.FunctionTransformer(methodcaller(method, *arguments), feature_names_out="one-to-one")


def _filled(missing: float = np.nan, strategy: str = "median") -> SimpleImputer:
    indicator = bool(np.isnan(missing))
    return SimpleImputer(missing_values=missing, strategy=strategy, keep_empty_features=True, add_indicator=indicator)


def _of_text(*steps: Any) -> Pipeline:
    return make_pipeline(_call("astype", "str"), *steps)


def _dates(unit: str, period: int | None, kind: str) -> Pipeline:
    """Dates as numbers: how many of the `unit` since 1970, or since `period` of them began anew."""
    counted = [_call("astype", "datetime64[us]"), _call("to_numpy"), _call("astype", f"datetime64[{unit}]")]
    counted += [_call("astype", "float64"), _filled(NOT_A_TIME, "median" if kind == "date" else "mean")]
    scaled = [preprocessing.StandardScaler(), *([] if kind == "date" else [_call("round", 2)])]
    return make_pipeline(*counted, *([_call("__mod__", period)] if period else []), *scaled)


def _words(components: int, seed: int) -> Pipeline:
    """Free text as `components` numbers: weighted words, hashed and so not kept, reduced (latent semantic analysis).

    Source: https://scikit-learn.org/stable/modules/decomposition.html#lsa
    """
    hashed = HashingVectorizer(n_features=2**14, alternate_sign=False)
    reduced = TruncatedSVD(components, random_state=seed)
    return _of_text(_call("fillna", ""), hashed, TfidfTransformer(), reduced)

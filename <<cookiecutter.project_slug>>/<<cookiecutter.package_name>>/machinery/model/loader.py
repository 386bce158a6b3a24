"""A fitted model and its answers as a table. This file travels with each model, as the code that MLflow serves it by:
so a model that was saved long ago answers as it did then."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import polars as pl
    from threadpoolctl import ThreadpoolController

ALONE = threading.Lock()  # a limit of threads is the whole process's: one request at a time sets it and takes it back
TILE = 16  # rows at least, and a multiple: of fewer, linear algebra takes other paths and the last bits differ
FEW = 1000  # rows that threads cannot share with profit
# Classifiers, and those whose `predict` they are, that predict the likeliest class, and so need not predict twice; a
# support vector machine may not.
LIKELIEST = {
    "Classifies",  # networks
    "ExtraTreesClassifier",
    "HistGradientBoostingClassifier",
    "LGBMClassifier",
    "LogisticRegression",
    "RandomForestClassifier",
    "VotingClassifier",
}
RAW = ("number", "boolean", "date", "text")  # the kinds of raw columns
TEXT = (str, "text")  # numbers MLflow checks itself; of other kinds:
HELD: dict[str, tuple[Any, str]] = {
    "boolean": (bool, "true, false"),
    "date": ((str, datetime), "dates such as 2026-11-30T00:00:00"),
}


def answers(model: Any, frame: pd.DataFrame, *, positive: str | None) -> pd.DataFrame:
    """What `model`, a Pipeline, answers for each row of `frame` (n, d): the column `prediction`, and

    of two classes `probability`, of the class `positive` (None: the last), and `threshold`, from which on the answer is
    that class; of several classes `probability_<class>` for each; of an outlier detector, whose prediction is whether
    the row is one, `score`, the greater the odder. A row's answer is the same to the last bit whatever other rows are
    in `frame`, and on one thread as on many.
    """
    from sklearn.base import is_outlier_detector

    n, last = len(frame), model[-1]
    with ALONE, steadily(few=n <= FEW):
        tiled = frame if n % TILE == 0 else frame.iloc[np.arange(-(-n // TILE) * TILE) % n]
        rows = _encoded(tiled, model.steps[:-1])
        if is_outlier_detector(last):
            return pd.DataFrame({"prediction": last.predict(rows)[:n] == -1, "score": -last.score_samples(rows)[:n]})
        if not hasattr(last, "predict_proba"):
            values = last.predict(rows)[:n]
            return pd.DataFrame({"prediction": values.astype("float64") if values.dtype.kind == "f" else values})
        classes, probabilities = list(map(str, last.classes_)), last.predict_proba(rows)[:n].astype("float64")
        predicted = predictions(last, probabilities)
        predicted = last.predict(rows)[:n] if predicted is None else predicted
    if len(classes) > 2:
        named = {f"probability_{name}": probabilities[:, at] for at, name in enumerate(classes)}
        return pd.DataFrame({"prediction": predicted, **named})
    yes = probabilities[:, classes.index(positive or classes[-1])]
    threshold = float(getattr(last, "threshold", 0.5))
    return pd.DataFrame({"prediction": predicted, "probability": yes, "threshold": threshold})


def _encoded(rows: Any, steps: list[tuple[str, Any]]) -> Any:
    """`rows` (n, d) after the transformers `steps`, one by one: a Pipeline asks all its parts for their tags first."""
    for _, step in steps:
        if hasattr(step, "steps"):
            rows = _encoded(rows, step.steps)
        elif step not in (None, "passthrough"):
            rows = step.transform(rows)
    return rows


def predictions(last: Any, probabilities: np.ndarray) -> np.ndarray | None:
    """What the classifier `last` predicts (n,), by its `probabilities` (n, classes); None where they do not tell."""
    if type(last).__name__ == "FixedThresholdClassifier":
        yes = last.classes_.tolist().index(last.pos_label)
        return last.classes_[np.where(probabilities[:, yes] >= last.threshold, yes, 1 - yes)]
    names = {type(last).__name__, type(last).predict.__qualname__.partition(".")[0]}
    return last.classes_[probabilities.argmax(axis=1)] if names & LIKELIEST else None


def steadily(few: bool = False) -> Any:
    """A context in which linear algebra takes one thread: with more, sums are taken in another order.

    With `few` rows all libraries do: their threads would wait for one another longer than they work.
    """
    return _libraries(len(sys.modules)).limit(limits=1, user_api=None if few else "blas")


@functools.lru_cache(1)
def _libraries(modules: int) -> ThreadpoolController:
    """What sets the threads of the libraries that so many `modules` have loaded; to find out takes a while."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@dataclass(frozen=True)
class Model:
    """A fitted pipeline, and how it gets its columns from the raw ones of a table."""

    pipeline: Any
    inputs: dict[str, str]  # the raw columns that it needs, and their kinds: {"bill_length_mm": "number"}
    kinds: dict[str, str]  # the columns that the pipeline takes: raw and derived ones
    columns: list[Any] = field(default_factory=list)  # the derived ones, see derived.Column
    positive: str | None = None  # of two classes, the one that is looked for; None: the last
    resolve: Callable[[str], Callable[..., Any]] | None = None  # the function behind a derived column's name
    code: dict[str, str] = field(default_factory=dict)  # that derives them: {"features.py": "import polars ..."}
    libraries: list[str] = field(default_factory=list)  # that this code imports

    def frame(self, rows: pl.DataFrame) -> pd.DataFrame:
        """`rows` of raw columns as the pipeline takes them (n, d): columns of float64, boolean, datetime and text."""
        from .derived import apply, typed

        made = typed(rows, self.inputs)
        if self.columns and self.resolve:
            made = apply(self.columns, made, resolve=self.resolve)
        return typed(made, self.kinds).to_pandas()

    def made_of(self, names: Collection[str]) -> set[str]:
        """`names`, and the derived columns that are made of any of these."""
        touched = set(names)
        for column in self.columns:
            if touched.intersection(column.reads):
                touched.add(column.name)
        return touched

    @property
    def prepares(self) -> bool:
        """Whether the pipeline takes other columns, or other types of them, than the raw table has."""
        return self.inputs != {name: kind if kind in RAW else "text" for name, kind in self.kinds.items()}

    def answers(self, frame: pd.DataFrame) -> pd.DataFrame:
        """What `answers` gives for `frame` (n, d) of the columns that the pipeline takes."""
        return answers(self.pipeline, frame, positive=self.positive)

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The answers for `frame` of raw columns, which MLflow has held to the signature.

        Rows that cannot be answered are refused in a sentence: over HTTP with status 400.
        """
        if absent := [name for name in self.inputs if name not in frame]:
            takes = f"the model takes {', '.join(self.inputs)}, with null where a value is missing"
            raise _refusal(f"column{'s' * (len(absent) > 1)} {', '.join(absent)} missing: {takes}")
        if frame.empty:
            raise _refusal("there are no rows to answer for")
        rows = frame.replace([float("inf"), float("-inf")], float("nan"))  # missing, as they were in training
        for name, kind in self.inputs.items():
            type_, words = HELD.get(kind, TEXT)
            for value in frame[name].dropna() if kind != "number" else ():
                if not isinstance(value, type_) or (kind == "date" and not _is_iso(value)):
                    raise _refusal(f"column {name} holds {words} or null, not {value!r}")
            if kind == "date":
                rows[name] = pd.to_datetime(rows[name], format="ISO8601", utc=True).dt.tz_localize(None)
        return self.answers(self.frame(_table(rows, self.inputs)) if self.prepares else rows[list(self.kinds)])


def _refusal(sentence: str) -> Exception:
    """An error that MLflow's server answers with the `sentence` alone, and not with all rows of the request first."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

    class Refusal(MlflowException):
        message = property(lambda _: sentence, lambda *_: None)

    return Refusal(sentence, INVALID_PARAMETER_VALUE)


def _table(frame: pd.DataFrame, kinds: dict[str, str]) -> pl.DataFrame:
    """`frame` as a table of the types of `kinds`, also where a column holds nothing but nulls."""
    import polars as pl

    from .derived import PLAIN

    plain = frame.astype(object).where(frame.notna(), None)
    return pl.DataFrame(
        {name: pl.Series(name, plain[name].tolist(), PLAIN.get(kind, pl.String())) for name, kind in kinds.items()}
    )


def _is_iso(value: str | datetime) -> bool:
    """Whether a date is no text that could be read in two ways, such as 03.04.2021."""
    try:
        return isinstance(value, datetime) or bool(datetime.fromisoformat(value))
    except ValueError:
        return False


def load(path: str) -> Model:
    """The model in the folder `path`, as model_format.save wrote it."""
    import mlflow.sklearn
    from mlflow.models import get_model_info

    about, project = get_model_info(path).metadata or {}, Path(path, "code", str(__package__), "project")
    columns = about.get("derived", [])
    if columns:
        from .derived import Column

        columns = [Column(**each) for each in columns]
    code = {file.relative_to(project).as_posix(): file.read_text("utf-8") for file in sorted(project.rglob("*.py"))}
    known: dict[str, Any] = {
        name: about[name] for name in ("inputs", "kinds", "positive", "libraries") if name in about
    }
    return Model(mlflow.sklearn.load_model(path), columns=columns, resolve=_resolve, code=code, **known)


def _resolve(name: str) -> Callable[..., Any]:
    """The function that a derived column names: ".features.age_at" is that of the project, which travels along."""
    module, _, function = name.rpartition(".")
    return getattr(import_module(module, f"{__package__}.project"), function)


_load_pyfunc = load  # the name that MLflow looks for

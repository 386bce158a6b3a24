"""The statistics that are stored with a model, for comparison with later rows and answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
import polars as pl
from mlflow.exceptions import MlflowException

from ...data.frames import sample
from ...errors import ProjectError
from ...model.loader import Model
from ...serving.request import EXAMPLES, request
from . import column_counts

if TYPE_CHECKING:
    from ...config.schema import Columns, Objective
    from ...data.splits import Sides
    from ...mlflow.registry import ModelVersion


COUNTED, ANSWERED = 200_000, 50_000  # rows at most, and of answers: a shift that counts shows in fewer


def statistics(model: Model, sides: Sides, *, columns: Columns, task: Objective, example: pd.DataFrame) -> str:
    """JSON of the counts of training rows and of answers, and of the answers to `example` rows (n, raw columns).

    Answers are counted on the test and validation rows of `sides`, because a model answers differently to rows that it
    was fitted to. Of many rows some are counted, evenly spread. Of sensitive columns, and of those derived from them,
    only the missing values are counted. The examples are those that `monitor endpoint=...` posts to a server.
    """
    rows = sample(sides.lazy("train"), rows=sides.rows["train"], most=COUNTED)
    kept = [side for side in ("test", "validation") if side in sides]
    tables = pl.concat([sides.lazy(side) for side in kept])
    others = sample(tables, rows=sum(sides.rows[side] for side in kept), most=ANSWERED)
    answers = model.answers(model.frame(others))
    stored: dict[str, Any] = {
        "features": column_counts.summary(model.frame(rows), model.kinds, sensitive=model.made_of(columns.sensitive)),
        "answers": column_counts.summary(answers, column_counts.answer_kinds(answers)),
        "units": [len(part.unique(columns.group) if columns.group else part) for part in (rows, others)],
        "examples": {"request": request(example).decode(), "answers": model.predict(example).to_dict("records")},
    }
    if columns.target and columns.target not in columns.sensitive:
        target = rows.select(columns.target).drop_nulls().to_pandas()
        labels = {columns.target: "number" if task.kind == "regression" else "category"}
        stored["target"] = column_counts.summary(target, labels)
    return json.dumps(stored, ensure_ascii=False, default=lambda value: value.item())


def load(version: ModelVersion) -> dict[str, Any]:
    """The statistics stored with a version: {"features": counts, "answers": counts, "units": [262, 71], ...}.

    Raises ProjectError where there are none.
    """
    try:
        return mlflow.artifacts.load_dict(f"{version.uri}/{EXAMPLES}")
    except (MlflowException, OSError) as error:
        raise ProjectError(
            f"{version.name} version {version.version} does not tell what its training rows were like: train it again"
        ) from error

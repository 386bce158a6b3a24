"""What is kept of a model to ask later whether it is still right: statistics of rows, and some answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl

from ...data import frames
from ...mlflow import loader
from ...serving import server_check
from . import drift

if TYPE_CHECKING:
    from ...config.schema import Columns, Objective


def known(
    model: Any,
    sides: dict[str, pl.DataFrame],
    *,
    kinds: dict[str, str],
    columns: Columns,
    task: Objective,
    example: pd.DataFrame,
) -> str:
    """JSON of the statistics of training rows, of what `model` answers to the rows of the other `sides`, and of its
    answers to the `example` rows, as a server is asked for them.

    Of the other sides, for to rows that it knows a model answers otherwise.
    """
    rows = sides["train"]
    others = pl.concat([sides[side] for side in ("test", "validation") if side in sides])

    def answered(frame: pd.DataFrame) -> pd.DataFrame:
        return loader.answers(model, frame, positive=task.positive)

    answers = answered(frames.frame(others, kinds))
    kept: dict[str, Any] = {
        "features": drift.summary(frames.frame(rows, kinds), kinds, sensitive=columns.sensitive),
        "answers": drift.summary(answers, drift.answer_kinds(answers)),
        "units": [len(part.unique(columns.group) if columns.group else part) for part in (rows, others)],
        "examples": {
            "request": server_check.request(example).decode(),
            "answers": answered(example).to_dict("records"),
        },
    }
    if columns.target and columns.target not in columns.sensitive:
        target = rows.select(columns.target).drop_nulls().to_pandas()
        labels = {columns.target: "number" if task.kind == "regression" else "category"}
        kept["target"] = drift.summary(target, labels)
    return json.dumps(kept, ensure_ascii=False, default=lambda value: value.item())

"""The candidate, and the rows that it is judged by."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import polars as pl
from threadpoolctl import threadpool_limits

from ..data import frames, splits
from ..mlflow import model_format
from . import estimators
from .result import ModelFacts

if TYPE_CHECKING:
    from ..config.schema import Columns, Task
    from ..model.loader import Model


@dataclass(frozen=True)
class EvaluationData:
    """A model, and a table by the sides of its split; sides["test"]: the test rows that have a target."""

    folder: Path  # of the model
    model: Model
    table: pl.LazyFrame  # all rows, with the column `split`
    sides: dict[str, pl.DataFrame]  # of the training rows some
    frames: dict[str, pd.DataFrame]  # the same as the model takes them (n, d)
    targets: dict[str, np.ndarray]  # (n,) what is right; empty (0,) without a target

    def facts(self, digest: str) -> ModelFacts:
        """What the model is; `digest`: of its answers."""
        last, kinds = self.model.pipeline[-1], self.model.kinds
        name = type(estimators.inner(last)).__name__
        return ModelFacts(name, repr(last), kinds, getattr(last, "threshold", None), digest)

    def costs(self) -> dict[str, float]:
        """The megabytes of the model's files, and the milliseconds to answer one row, the median of 10."""
        files = [file for file in self.folder.rglob("*") if file.is_file() and file.name != model_format.LOCK]
        row, seconds = self.frames["test"].head(1), []
        with threadpool_limits(1):  # several would wait for one another, the more so beside other work
            for _ in range(10):
                began = time.perf_counter()
                estimators.outputs(self.model.pipeline, row)
                seconds.append(time.perf_counter() - began)
        megabytes = sum(file.stat().st_size for file in files) / 1e6
        return {"megabytes": megabytes, "latency_ms": 1000 * median(seconds)}


def assemble(folder: Path, table: pl.LazyFrame, *, columns: Columns, task: Task, train_rows: int) -> EvaluationData:
    """The model in `folder` with the rows of `table`, which has the column `split`; of `train_rows` at most."""
    model, target = model_format.load(folder), columns.target
    labelled = splits.Sides(table if target is None else table.filter(pl.col(target).is_not_null()))
    sides = {side: labelled[side] for side in ("validation", "test") if side in labelled}
    if "train" in labelled:
        sides["train"] = frames.sample(labelled.lazy("train"), rows=labelled.rows["train"], most=train_rows)
    return EvaluationData(
        folder=folder,
        model=model,
        table=table,
        sides=sides,
        frames={side: model.frame(rows) for side, rows in sides.items()},
        targets={
            side: frames.target(rows, target, kind=task.kind) if target else np.empty(0) for side, rows in sides.items()
        },
    )

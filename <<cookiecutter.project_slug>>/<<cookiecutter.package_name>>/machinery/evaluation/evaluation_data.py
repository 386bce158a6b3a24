"""The candidate, and the rows that it is judged by."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import polars as pl
from threadpoolctl import threadpool_limits

from ..data import frames, splits
from ..engines.places import few
from ..mlflow import model_format
from . import estimators
from .result import ModelFacts

if TYPE_CHECKING:
    from ..config.schema import Columns, Evaluation, Task
    from ..model.loader import Model
    from ..pipeline.store import Store


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
        return ModelFacts(name, estimators.printed(last), kinds, getattr(last, "threshold", None), digest)

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


def assemble(store: Store, *, columns: Columns, task: Task, evaluation: Evaluation) -> EvaluationData:
    """The model and the rows that the stages before have left in `store`, of each side as many as `evaluation` says."""
    folder, table, target = store.model, store.table("split"), columns.target
    model, parts = model_format.load(folder), [splits.with_target(part, target) for part in store.parts("split")]
    labelled = splits.Sides(pl.concat(parts))
    some = partial(few, store.engine, parts, most=evaluation.test_rows, columns=columns)
    held_out = {side: rows for side, rows in labelled.rows.items() if side in ("test", "validation")}
    sides = {side: some(rows=rows, side=side).collect(engine="streaming") for side, rows in held_out.items()}
    if "train" in labelled:
        sides["train"] = frames.sample(labelled.lazy("train"), rows=labelled.rows["train"], most=evaluation.train_rows)
    shown = {side: model.frame(rows) for side, rows in sides.items()}
    right = {
        side: frames.target(rows, target, kind=task.kind) if target else np.empty(0) for side, rows in sides.items()
    }
    return EvaluationData(folder, model, table, sides, frames=shown, targets=right)

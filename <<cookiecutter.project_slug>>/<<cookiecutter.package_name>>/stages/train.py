"""A model out of the training rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import training
from ..machinery import jobs
from ..machinery.data import splits
from ..machinery.evaluation import estimators
from ..machinery.result import StageResult

if TYPE_CHECKING:
    from ..config import Features
    from ..machinery.config.schema import Columns, Objective
    from ..machinery.pipeline.store import Store


def train(
    store: Store,
    *,
    model: Callable[[], Any],
    columns: Columns,
    features: Features,
    task: Objective,
    seed: int,
    progress: Callable[..., None],
    workspace: Path,
    autolog: Callable[..., Any],
) -> StageResult:
    """Fits a candidate to the training rows and saves it as an MLflow model, in the folder `model` of the stage."""
    sides = splits.Sides(store.table(training.TABLE))
    how: dict[str, Any] = {"model": model, "columns": columns, "features": features, "task": task, "seed": seed}
    fitted = training.fit(sides, **how, progress=progress, workspace=workspace, autolog=autolog)
    where = {"stage": "train", "table": training.TABLE, "package": training.PACKAGE}
    digest = jobs.save_model(fitted, store, sides, columns=columns, task=task, **where)
    last = fitted.pipeline[-1]
    estimator, count = type(estimators.inner(last)).__name__, len(fitted.kinds)
    scores: dict[str, float] = {"features": count}
    tables = {}
    if task.kind == "classification" and columns.target:
        classes = sides.lazy("train").select(columns.target).collect()[columns.target]
        tables["classes"] = classes.value_counts(sort=True)
        scores["classes"] = len(fitted.pipeline.classes_)
        if task.threshold is not None:
            scores["threshold"] = last.threshold
    return StageResult(
        f"{estimator} on {sides.rows['train']:,} rows x {count} column{'s' * (count != 1)}",
        scores=scores,
        tags=getattr(estimators.inner(last), "tags_", {}),  # how a network's training ended
        tables=tables,
        model=digest,
        facts={"estimator": estimator, "model": repr(last), "scores": scores, "kinds": fitted.kinds, "digest": digest},
    )

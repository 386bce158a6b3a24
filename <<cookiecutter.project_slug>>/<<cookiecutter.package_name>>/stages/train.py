"""A model out of the training rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import training
from ..machinery.data import frames
from ..machinery.evaluation import estimators
from ..machinery.jobs.monitor import reference
from ..machinery.mlflow import registry
from ..machinery.result import StageResult

if TYPE_CHECKING:
    from ..config import Columns, Features, Objective
    from ..machinery.pipeline.store import Store


def train(
    store: Store, *, model: Callable[[], Any], columns: Columns, features: Features, task: Objective, seed: int
) -> StageResult:
    """Fits preprocessing and estimator to the training rows and saves the two as one MLflow model."""
    table, folder = store.table(training.TABLE), store.path("train") / "model"
    sides = {side: rows for (side,), rows in table.collect().partition_by("split", as_dict=True).items()}
    candidate = training.fit(sides, model=model, columns=columns, features=features, task=task, seed=seed)
    pipeline, kinds, frame, _target = candidate
    estimator = type(estimators.inner(pipeline[-1])).__name__
    scores: dict[str, float] = {"features": len(kinds)}
    tables = {}
    if task.kind == "classification" and columns.target:
        tables["classes"] = sides["train"][columns.target].value_counts(sort=True)
        scores["classes"] = len(pipeline.classes_)
        if task.threshold is not None:
            scores["threshold"] = pipeline[-1].threshold
    example = frames.masked(frame.head(3), columns.sensitive)
    registry.save(pipeline, folder, kinds=kinds, example=example, positive=task.positive)
    statistics = reference.known(pipeline, sides, kinds=kinds, columns=columns, task=task, example=example)
    store.replace(folder / registry.REFERENCE, statistics)
    first = frames.frame(table.head(10_000).collect(), kinds)
    digest = estimators.digest(pipeline, first, data=store.outcome(training.TABLE).facts["digest"])
    return StageResult(
        f"{estimator} on {len(frame):,} rows x {len(kinds)} column{'s' * (len(kinds) != 1)}",
        scores=scores,
        tables=tables,
        model=digest,
        facts={
            "estimator": estimator,
            "model": repr(pipeline[-1]),
            "scores": scores,
            "kinds": kinds,
            "digest": digest,
        },
    )

"""A model out of the training rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import training
from ..machinery import jobs
from ..machinery.data import frames
from ..machinery.evaluation import estimators
from ..machinery.mlflow import model_format
from ..machinery.model.derived import typed
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
) -> StageResult:
    """Fits a candidate to the training rows and saves it as an MLflow model, in the folder `model` of the stage."""
    table, folder = store.table(training.TABLE), store.path("train") / "model"
    sides = {side: rows for (side,), rows in table.collect().partition_by("split", as_dict=True).items()}
    how: dict[str, Any] = {"model": model, "columns": columns, "features": features, "task": task, "seed": seed}
    candidate = training.fit(sides, **how, progress=progress, workspace=workspace)
    fitted = candidate.model
    last = fitted.pipeline[-1]
    example = frames.masked(typed(sides["train"].head(3), fitted.inputs).to_pandas(), candidate.sensitive)
    model_format.save(fitted, folder, example=example, package=training.PACKAGE)
    about = {"columns": columns, "task": task, "sensitive": candidate.sensitive, "example": example}
    for name, text in jobs.model_files(fitted, sides, **about).items():
        store.replace(folder / name, text)
    first = fitted.frame(table.head(10_000).collect())
    digest = estimators.digest(fitted.pipeline, first, data=store.outcome(training.TABLE).facts["digest"])
    estimator, count = type(estimators.inner(last)).__name__, len(fitted.kinds)
    scores: dict[str, float] = {"features": count}
    tables = {}
    if task.kind == "classification" and columns.target:
        tables["classes"] = sides["train"][columns.target].value_counts(sort=True)
        scores["classes"] = len(fitted.pipeline.classes_)
        if task.threshold is not None:
            scores["threshold"] = last.threshold
    return StageResult(
        f"{estimator} on {len(candidate.frame):,} rows x {count} column{'s' * (count != 1)}",
        scores=scores,
        tables=tables,
        model=digest,
        facts={"estimator": estimator, "model": repr(last), "scores": scores, "kinds": fitted.kinds, "digest": digest},
    )

"""A model out of the training rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import training
from ..machinery import jobs
from ..machinery.data import splits
from ..machinery.engines import fitting
from ..machinery.evaluation import estimators
from ..machinery.result import StageResult

if TYPE_CHECKING:
    from ..config import Features
    from ..machinery.config.schema import Columns, Fitting, Objective
    from ..machinery.pipeline.store import Store


def train(
    store: Store,
    *,
    model: Callable[[], Any],
    columns: Columns,
    features: Features,
    task: Objective,
    engine: Fitting,
    seed: int,
    progress: Callable[..., None],
    workspace: Path,
    autolog: Callable[..., Any],
) -> StageResult:
    """Fits a candidate to the training rows and saves it as an MLflow model, in the folder `model` of the stage."""
    table = splits.Sides(store.table(training.TABLE))
    sides, rows, limits, boosted = fitting.fitting_rows(table, store, training.TABLE, model(), columns, engine)
    how: dict[str, Any] = {"model": model, "columns": columns, "features": features, "task": task, "seed": seed}
    fitted = training.fit(sides, **how, boosted=boosted, progress=progress, workspace=workspace, autolog=autolog)
    where = {"stage": "train", "table": training.TABLE, "package": training.PACKAGE}
    digest = jobs.save_model(fitted, store, sides, columns=columns, task=task, **where)
    last = fitted.pipeline[-1]
    estimator, count = type(estimators.inner(last)).__name__, len(fitted.kinds)
    scores: dict[str, float] = {"features": count}
    tables = {}
    if task.kind == "classification" and columns.target:
        classes = table.lazy("train").group_by(columns.target).len("count").collect(engine="streaming")
        tables["classes"] = classes.sort("count", columns.target, descending=[True, False])
        scores |= {"classes": len(last.classes_)} | ({"threshold": last.threshold} if task.threshold else {})
    about = {"estimator": estimator, "model": estimators.printed(last), "scores": scores}
    return StageResult(
        f"{estimator} on {rows:,} rows x {count} column{'s' * (count != 1)}",
        scores=scores,
        tags=getattr(estimators.inner(last), "tags_", {}),  # how a network's training ended
        tables=tables,
        model=digest,
        notes=limits,
        facts=about | {"kinds": fitted.kinds, "digest": digest, "rows": rows, "limits": limits},
    )

"""A model out of the training rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import polars as pl

from ..machinery.data import frames as columns_of
from ..machinery.errors import Refused
from ..machinery.evaluation import estimators, scoring
from ..machinery.jobs.monitor import reference
from ..machinery.mlflow import registry
from ..machinery.result import Outcome

if TYPE_CHECKING:
    from ..machinery.config.compose import Columns, Features, Task
    from ..machinery.pipeline.store import Store


def train(
    store: Store, *, model: Callable[[], Any], columns: Columns, features: Features, task: Task, seed: int
) -> Outcome:
    """Fits preprocessing and estimator to the training rows and saves the two as one MLflow model."""
    sides = store.table("split").collect().partition_by("split", as_dict=True)
    rows, target_name = sides[("train",)], columns.target
    kinds = columns_of.kinds(
        rows,
        target=target_name,
        out=[*columns.key, *columns.group, *columns.drop],
        sensitive=columns.sensitive,
        max_categories=features.max_categories,
    )
    frame = columns_of.frame(rows, kinds)
    target = columns_of.target(rows, target_name, kind=task.kind) if target_name and task.kind != "anomaly" else None
    candidate = estimators.pipeline(model(), kinds=kinds, seed=seed, transform=task.transform, **vars(features))
    estimators.fit(candidate, frame, target, kind=task.kind)
    estimator = type(estimators.inner(candidate[-1])).__name__
    scores: dict[str, float] = {"features": len(kinds)}
    tables = {}
    if task.kind == "classification" and target is not None and target_name:
        tables["classes"] = rows[target_name].value_counts(sort=True)
        scores["classes"] = len(candidate.classes_)
        if task.threshold is not None:
            candidate = _decided(candidate, sides, kinds, target_name, task)
            scores["threshold"] = candidate[-1].threshold
    if target is not None:
        asked, wanted = estimators.asked(candidate, target, positive=task.positive)
        scores |= {
            f"train_{name}": value for name, value in scoring.scores(asked, frame, wanted, names=task.metrics).items()
        }
    example = columns_of.masked(frame.head(3), columns.sensitive)
    registry.save(candidate, store.path("train") / "model", kinds=kinds, example=example, positive=task.positive)
    known = reference.known(candidate, sides, kinds=kinds, columns=columns, task=task, example=example)
    store.replace(store.path("train") / "model" / registry.REFERENCE, known)
    first = columns_of.frame(store.table("split").head(10_000).collect(), kinds)
    return Outcome(
        f"{estimator} on {len(frame):,} rows x {len(kinds)} column{'s' * (len(kinds) != 1)}",
        scores=scores,
        tables=tables,
        facts={
            "estimator": estimator,
            "model": repr(candidate[-1]),
            "scores": scores,
            "kinds": kinds,
            "digest": estimators.digest(candidate, first, data=store.outcome("split").facts["digest"]),
        },
    )


def _decided(candidate: Any, sides: dict[Any, pl.DataFrame], kinds: dict[str, str], target: str, task: Task) -> Any:
    """`candidate` with the threshold of `task`, chosen on the validation rows where it names a scorer."""
    assert task.threshold is not None
    if len(candidate.classes_) != 2:
        raise Refused(f"task.threshold is for two classes; {target} has {len(candidate.classes_)}: task.threshold=null")
    number = re.fullmatch(r"[\d.]+(e-?\d+)?", task.threshold)
    if not number and ("validation",) not in sides:
        raise Refused(f"task.threshold={task.threshold} is chosen on validation rows: give them split.validation=0.15")
    rows = sides[("train",) if number else ("validation",)]
    frame, wanted = columns_of.frame(rows, kinds), columns_of.target(rows, target, kind=task.kind)
    positive = estimators.label(candidate.classes_, task.positive)
    threshold = float(task.threshold) if number else scoring.scorer(task.threshold, key="task.threshold")
    return estimators.decided(candidate, frame, wanted, threshold=threshold, positive=positive)

"""A model out of the training rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import polars as pl

from .. import features as columns_of
from .. import metrics, models, registry
from ..outcomes import Outcome

if TYPE_CHECKING:
    from ..config import Columns, Features, Task
    from ..store import Store


def train(store: Store, *, model: Callable[[], Any], columns: Columns, features: Features, task: Task) -> Outcome:
    """Fits preprocessing and estimator to the training rows and saves the two as one MLflow model."""
    table = store.table("split")
    rows = table.filter(pl.col("split") == "train").collect()
    kinds = columns_of.kinds(rows.schema, target=columns.target, key=columns.key, drop=columns.drop)
    frame, target = columns_of.frame(rows, kinds), columns_of.target(rows, columns.target, kind=task.kind)
    candidate = models.pipeline(
        model(), kinds=kinds, max_categories=features.max_categories, min_frequency=features.min_frequency
    )
    models.fit(candidate, frame, target, kind=task.kind)
    registry.save(candidate, store.path("train") / "model", kinds=kinds, example=frame.head(3))
    first = columns_of.frame(table.head(10_000).collect(), kinds)
    scores = metrics.scores(candidate, frame, target, names=task.metrics)
    estimator = type(candidate[-1]).__name__
    classes = rows[columns.target].value_counts(sort=True) if task.kind == "classification" else None
    return Outcome(
        f"{estimator} on {len(frame):,} rows x {len(kinds)} columns",
        scores={"features": len(kinds)}
        | ({"classes": len(classes)} if classes is not None else {})
        | {f"train_{name}": value for name, value in scores.items()},
        tables={"classes": classes} if classes is not None else {},
        facts={
            "estimator": estimator,
            "digest": models.digest(candidate, first, data=store.outcome("split").facts["digest"]),
        },
    )

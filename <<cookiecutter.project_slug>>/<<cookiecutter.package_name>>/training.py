"""How a candidate is made: the one recipe, read top to bottom. The stage `train` and the job `tune` both follow it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
from sklearn.pipeline import Pipeline

from . import encoders
from .machinery.data import frames
from .machinery.errors import ProjectError
from .machinery.evaluation import estimators, scoring

if TYPE_CHECKING:
    from .config import Columns, Features, Objective

TABLE = "split"  # the stage whose table candidates are fitted to: its column `split` says to which rows
NUMBER = re.compile(r"[\d.]+(e-?\d+)?")


class Candidate(NamedTuple):
    """A fitted model, and what it was fitted to."""

    pipeline: Pipeline
    kinds: dict[str, str]  # of the columns that it takes: {"bill_length_mm": "number"}
    frame: pd.DataFrame  # the training rows (n, d) as it takes them
    target: np.ndarray | None  # (n,); None: an anomaly detector's


def fit(
    sides: Mapping[str, pl.DataFrame],
    *,
    model: Callable[[], Any],
    columns: Columns,
    features: Features,
    task: Objective,
    seed: int,
) -> Candidate:
    """The candidate that `model` and the columns of `sides["train"]` make.

    `sides` maps the sides of the split to their rows; those of "validation" choose the threshold, where task.threshold
    names a scorer. Raises ProjectError for what cannot be fitted.
    """
    rows = sides["train"]
    kinds = frames.kinds(
        rows,
        target=columns.target,
        out=[*columns.key, *columns.group, *columns.drop],
        sensitive=columns.sensitive,
        max_categories=features.max_categories,
    )
    pipeline = encoders.pipeline(model(), kinds=kinds, seed=seed, transform=task.transform, **vars(features))
    frame, target = frames.frame(rows, kinds), None
    if columns.target and task.kind != "anomaly":
        target = frames.target(rows, columns.target, kind=task.kind)
    estimators.fit(pipeline, frame, target, kind=task.kind)
    if task.threshold is not None and target is not None and task.kind == "classification":
        pipeline = _with_threshold(pipeline, sides, kinds, columns.target or "", task)
    return Candidate(pipeline, kinds, frame, target)


def _with_threshold(
    pipeline: Pipeline, sides: Mapping[str, pl.DataFrame], kinds: dict[str, str], target: str, task: Objective
) -> Pipeline:
    """`pipeline` with the threshold of `task`, chosen on the validation rows where it names a scorer."""
    threshold = task.threshold or ""
    if len(pipeline.classes_) != 2:
        raise ProjectError(
            f"task.threshold is for two classes; {target} has {len(pipeline.classes_)}: task.threshold=null"
        )
    number = NUMBER.fullmatch(threshold)
    if not number and "validation" not in sides:
        raise ProjectError(f"task.threshold={threshold} is chosen on validation rows: give them split.validation=0.15")
    rows = sides["train" if number else "validation"]
    return estimators.decided(
        pipeline,
        frames.frame(rows, kinds),
        frames.target(rows, target, kind=task.kind),
        threshold=float(threshold) if number else scoring.scorer(threshold, key="task.threshold"),
        positive=estimators.label(pipeline.classes_, task.positive),
    )

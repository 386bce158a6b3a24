"""How a candidate is made: the one recipe, read top to bottom. The stage `train` and the job `tune` both follow it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from sklearn.pipeline import Pipeline

from . import encoders
from .machinery.data import derivation, frames, splits
from .machinery.errors import ProjectError
from .machinery.evaluation import estimators, scoring
from .machinery.model.derived import apply, typed
from .machinery.model.loader import RAW, Model

if TYPE_CHECKING:
    from .config import Features
    from .machinery.config.schema import Columns, Objective

PACKAGE = str(__package__)
TABLE = "split"  # the stage whose table candidates are fitted to: its column `split` says to which rows
NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)(e-?\d+)?")


def fit(
    sides: Mapping[str, pl.DataFrame],
    *,
    model: Callable[[], Any],
    columns: Columns,
    features: Features,
    task: Objective,
    seed: int,
    boosted: Callable[..., AbstractContextManager[None]] | None = None,
    **seams: Any,
) -> Model:
    """The candidate that `model` and the columns of `sides["train"]` make.

    `sides` maps the sides of the split to their rows; those of "validation" choose the threshold, where task.threshold
    names a scorer. `seams`: `progress(step, **values)`, which reaches MLflow at once, and `workspace`, a folder that
    survives a kill; an estimator gets those that its `fit` takes, and is fitted in `autolog`. `boosted`: of an engine,
    a block after which a model's trees are fitted to all rows. Raises ProjectError for what cannot be fitted.
    """
    rows, target = sides["train"], columns.target

    # Columns: the raw ones that have no other role, and those derived from any of them, by what each needs.
    resolve = derivation.resolver(PACKAGE)
    derived = derivation.parse(features.derive, package=PACKAGE, resolve=resolve)
    needs = derivation.inputs(derived, table=rows.columns, target=target, resolve=resolve, sensitive=columns.sensitive)
    out = {target, "split", *columns.key, *columns.group, *columns.drop}
    raw = [name for name in rows.columns if name not in out]
    inputs = list(dict.fromkeys([*raw, *(name for each in needs.values() for name in each)]))
    raw_kinds = {name: frames.kind(rows[name], features.max_categories) for name in inputs}
    raw_kinds = {name: kind if kind in RAW else "text" for name, kind in raw_kinds.items()}
    plain = typed(rows, raw_kinds)
    derived = derivation.learn(derived, plain, resolve=resolve)
    table = apply(derived, plain, resolve=resolve).select(*raw, *needs)
    if not table.columns:
        raise ProjectError(f"no column is left to predict {target} from: columns.drop, key and group name all others")
    sensitive = [*columns.sensitive, *(name for name, each in needs.items() if {*each} & {*columns.sensitive})]

    # Encoders by the kind of each column, then the estimator.
    kinds = frames.kinds(table, sensitive=sensitive, max_categories=features.max_categories, stated=features.kinds)
    how = {name: getattr(features, name) for name in ("max_categories", "min_frequency", "text_components")}
    how |= {"transform": task.transform, "seed": seed, "sensitive": sensitive}
    pipeline = encoders.pipeline(model(), kinds=kinds, **how)
    code, libraries = derivation.code(derived, Path(__file__).parents[1], PACKAGE)
    made = Model(pipeline, raw_kinds, kinds, derived, task.positive, resolve, code, libraries)
    truth = frames.target(rows, target, kind=task.kind) if target and task.kind != "anomaly" else None
    frame = [typed(table, kinds).to_pandas()]  # as made.frame(rows) has it
    groups = splits.together(rows, columns) if estimators.holds_out(pipeline[-1]) else None
    del rows, plain, table  # the fit needs most memory of all, and takes the frame out of its list
    with boosted(made, lambda few: frames.target(few, target or "", kind=task.kind)) if boosted else nullcontext():
        estimators.fit(pipeline, frame.pop(), truth, kind=task.kind, groups=groups, **seams)

    # The threshold from which on the answer is task.positive.
    if task.threshold is not None and truth is not None and task.kind == "classification":
        made = replace(made, pipeline=_with_threshold(made, sides, target or "", task))
    return made


def _with_threshold(model: Model, sides: Mapping[str, pl.DataFrame], target: str, task: Objective) -> Pipeline:
    """The pipeline of `model` with the threshold of `task`, chosen on the validation rows where it names a scorer."""
    threshold, pipeline = task.threshold or "", model.pipeline
    if (count := len(pipeline.classes_)) != 2:
        raise ProjectError(f"task.threshold is for two classes; {target} has {count}: task.threshold=null")
    number = NUMBER.fullmatch(threshold)
    if not number and "validation" not in sides:
        raise ProjectError(f"task.threshold={threshold} is chosen on validation rows: give them split.validation=0.15")
    rows = sides["train" if number else "validation"]
    cut = float(threshold) if number else scoring.scorer(threshold, key="task.threshold")
    truth, positive = frames.target(rows, target, kind=task.kind), estimators.label(pipeline.classes_, task.positive)
    return estimators.decided(pipeline, model.frame(rows), truth, threshold=cut, positive=positive)

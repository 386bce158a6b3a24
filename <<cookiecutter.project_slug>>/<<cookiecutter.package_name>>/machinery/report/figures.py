"""Figures of an evaluation, drawn in the second process, and its tables."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from .. import second_process

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..config.schema import Task
    from ..evaluation.result import EvaluationResult
    from ..evaluation.scored_model import ScoredModel


Calls = dict[str, tuple[str, dict[str, Any]]]  # a function of `plots` and its arguments, by the figure's name


class Drawn(NamedTuple):
    png: bytes
    svg: str  # to put into a page


def of_answers(
    scored: ScoredModel,
    target: np.ndarray,
    task: Task,
    *,
    curves: dict[str, list[tuple[int, float]]],
    thresholds: pl.DataFrame | None,
    chosen: float | None,
) -> Future[dict[str, Drawn]]:
    """By name, the figures for `task`: of the answers `scored` where `target` (n,) is right, and of how the model was
    trained; a line stands at the threshold that was `chosen`."""
    answers, rows = scored.answers, scored.rows
    if task.kind == "anomaly":
        calls: Calls = {"anomaly_scores": ("anomaly_scores", {"oddness": scored.oddness, "flagged": scored.flagged})}
    elif task.kind == "regression":
        calls = {"": ("regression", {"target": target, "predictions": answers.predict(rows)})}
    else:
        likely = answers.predict_proba(rows) if hasattr(answers, "predict_proba") else None
        shown = {"target": target, "probabilities": likely, "predicted": answers.predict(rows)}
        calls = {"": ("classification", shown | {"classes": answers.classes_})}
    if thresholds is not None:
        calls["thresholds"] = ("threshold_curve", {"table": thresholds, "chosen": chosen or 0.5})
    if curves:
        calls["curves"] = ("training_curves", {"curves": curves, "metric": task.metrics[0]})
    return second_process.submit(_drawn, calls)


def of_result(result: EvaluationResult) -> Future[dict[str, Drawn]]:
    """By name, the figures of columns and slices, which the report has as bars in its tables."""
    calls: Calls = {}
    if result.importances:
        calls["importance"] = ("importance_bars", {"falls": result.importances, "metric": result.metric})
    if sure := [each for each in result.slices if each.low is not None]:
        how = {"metric": result.metric, "reference": result.test[result.metric or ""]}
        calls["slices"] = ("slice_intervals", {"slices": sure, **how})
    return second_process.submit(_drawn, calls)


def _drawn(calls: Calls) -> dict[str, Drawn]:
    """What functions of `plots` draw: a figure by the name of the call, or several by their own."""
    from . import plots

    drawn: dict[str, Figure] = {}
    for name, (function, how) in calls.items():
        made = getattr(plots, function)(**how)
        drawn |= made if isinstance(made, dict) else {name: made}
    return {name: Drawn(svg=plots.svg(figure), png=plots.png(figure)) for name, figure in drawn.items()}


def tables(result: EvaluationResult, thresholds: pl.DataFrame | None) -> dict[str, pl.DataFrame]:
    """By name, the tables of thresholds, of columns and of slices, as far as there are any."""
    made = {"thresholds": thresholds} if thresholds is not None else {}
    if result.importances:
        falls = {"column": list(result.importances), "fall": list(result.importances.values())}
        made["importance"] = pl.DataFrame(falls)
    if result.slices:
        flat = [{name: value for name, value in vars(each).items() if name != "scores"} for each in result.slices]
        rows = [row | each.scores for row, each in zip(flat, result.slices, strict=True)]
        made["slices"] = pl.DataFrame(rows, infer_schema_length=None)
    return made

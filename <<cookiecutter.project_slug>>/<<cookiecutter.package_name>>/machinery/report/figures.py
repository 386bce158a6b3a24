"""Figures and tables of an evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from . import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..evaluation.result import EvaluationResult
    from ..evaluation.scored_model import ScoredModel

IN_TABLES = ("importance", "slices")  # figures that the report has as bars in its tables


def figures(
    result: EvaluationResult,
    scored: ScoredModel,
    target: np.ndarray,
    *,
    kind: str,
    curves: dict[str, list[tuple[int, float]]],
    thresholds: pl.DataFrame | None,
) -> dict[str, Figure]:
    """By name, the figures for the task `kind`: of the answers `scored` where `target` (n,) is right, of columns, of
    slices, and of how the model was trained."""
    metric, rows = result.metric or "", scored.rows
    if kind == "anomaly":
        drawn = {"anomaly_scores": plots.anomaly_scores(scored.oddness, scored.flagged)}
    elif kind == "regression":
        drawn = plots.regression(target, scored.answers.predict(rows))
    else:
        answers = scored.answers
        likely = answers.predict_proba(rows) if hasattr(answers, "predict_proba") else None
        drawn = plots.classification(target, likely, predicted=answers.predict(rows), classes=answers.classes_)
    if thresholds is not None:
        drawn["thresholds"] = plots.threshold_curve(thresholds, chosen=result.model.threshold or 0.5)
    if result.importances:
        drawn["importance"] = plots.importance_bars(result.importances, metric=metric)
    if sure := [each for each in result.slices if each.low is not None]:
        drawn["slices"] = plots.slice_intervals(sure, metric=metric, reference=result.test[metric])
    if curves:
        drawn["curves"] = plots.training_curves(curves, metric=metric)
    return drawn


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

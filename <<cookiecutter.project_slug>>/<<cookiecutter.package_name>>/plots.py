"""Figures of how a model does on rows that it is shown."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import (
    ConfusionMatrixDisplay,
    PrecisionRecallDisplay,
    PredictionErrorDisplay,
    RocCurveDisplay,
)

matplotlib.use("agg")  # figures are files here; scikit-learn's displays would look for a screen

SIZE = (6.4, 4.8)


def classification(
    target: np.ndarray, probabilities: np.ndarray, *, predicted: np.ndarray, classes: np.ndarray
) -> dict[str, Figure]:
    """Confusion matrix, ROC, precision-recall and calibration from `target` and what was `predicted` (n,), and
    `probabilities` (n, classes).

    Of a classifier that gives labels (n,) instead of probabilities, the confusion matrix alone.
    """
    figures = {"confusion_matrix": _confusion(target, predicted, classes)}
    if probabilities.ndim == 1:
        return figures
    sides = [(1, classes[1])] if len(classes) == 2 else list(enumerate(classes))
    curves = [
        ("roc", RocCurveDisplay, "ROC", ("false positive rate", "true positive rate")),
        ("precision_recall", PrecisionRecallDisplay, "Precision and recall", ("recall", "precision")),
        ("calibration", CalibrationDisplay, "Calibration", ("predicted probability", "share that is positive")),
    ]
    for name, display, title, labels in curves if len(classes) <= 3 else curves[:2]:  # calibration needs rows per class
        figure, axes = _blank(f"{title}, test rows")
        for column, label in sides:
            is_label = (target == label).astype(int)
            if 0 < is_label.sum() < len(target):
                display.from_predictions(is_label, probabilities[:, column], name=str(label), ax=axes)
        axes.set(xlabel=labels[0], ylabel=labels[1])
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small", loc="best")
        figures[name] = figure
    return figures


def regression(target: np.ndarray, predictions: np.ndarray) -> dict[str, Figure]:
    """Actual against predicted, and residuals, from `target` (n,) and `predictions` (n,)."""
    figures = {}
    for name, kind, title in (
        ("actual_predicted", "actual_vs_predicted", "Actual against predicted"),
        ("residuals", "residual_vs_predicted", "Residuals"),
    ):
        figure, axes = _blank(f"{title}, test rows")
        PredictionErrorDisplay.from_predictions(
            target,
            predictions,
            kind=kind,
            subsample=2000,
            random_state=0,
            ax=axes,
            scatter_kwargs={"alpha": 0.5, "s": 14},
        )
        figures[name] = figure
    return figures


def anomalies(answers: np.ndarray, flagged: np.ndarray) -> Figure:
    """How the anomaly scores `answers` (n,) are distributed, those of rows that are `flagged` (n,) apart."""
    figure, axes = _blank("Anomaly scores, test rows")
    bins = np.histogram_bin_edges(answers, bins=40)
    axes.hist([answers[~flagged], answers[flagged]], bins=bins, stacked=True, label=["ordinary", "anomaly"])
    axes.set(xlabel="score, the greater the odder", ylabel="rows")
    axes.legend(fontsize="small")
    return figure


def importances(falls: dict[str, float], *, metric: str, most: int = 20) -> Figure:
    """Bars of how much `metric` falls when a column is shuffled, the `most` important ones."""
    names = list(falls)[:most][::-1]
    figure, axes = _blank("Permutation importance, test rows", height=max(2.4, 0.3 * len(names) + 1.2))
    axes.barh([name if len(name) <= 40 else name[:39] + "…" for name in names], [falls[name] for name in names])
    axes.axvline(0, color="0.5", linewidth=0.8)
    axes.set_xlabel(f"fall of {metric} when the column is shuffled")
    return figure


def _confusion(target: np.ndarray, predicted: np.ndarray, classes: np.ndarray) -> Figure:
    size = max(4.8, 0.55 * len(classes) + 2)
    figure, axes = _blank("Confusion matrix, test rows", width=size * 1.2, height=size)
    ConfusionMatrixDisplay.from_predictions(
        target, predicted, labels=classes, ax=axes, cmap="Blues", xticks_rotation="vertical" if len(classes) > 6 else 0
    )
    return figure


def _blank(title: str, *, width: float = SIZE[0], height: float = SIZE[1]) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height))
    axes = figure.subplots()
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes

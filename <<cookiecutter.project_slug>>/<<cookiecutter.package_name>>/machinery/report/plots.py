"""Figures of a model's answers, columns and training, and the style that all figures share."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pandas as pd
import polars as pl
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from sklearn.calibration import calibration_curve
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

if TYPE_CHECKING:
    from ..evaluation.result import SliceScore

matplotlib.use("agg")  # figures are files here; matplotlib would look for a screen

SIZE = (5.6, 4.2)  # inches
INK = "#24292f"  # all that is no data; svg() makes the reader's own text colour of it
# Each has a contrast of at least 3 with white and with black, and neighbours differ for the colour-blind too.
COLOURS = ("#3b82f6", "#d9700a", "#0d9488", "#d6408f", "#8b5cf6", "#7b8794", "#a16207", "#4d8f1f")
REFERENCE: dict[str, Any] = {"color": INK, "alpha": 0.6, "linewidth": 1, "linestyle": "--"}
STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.labelsize": 9.5,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.h_pad": 0.09,  # inches that a figure is free at its edges, with a label there
    "figure.constrained_layout.w_pad": 0.09,
    "figure.titlesize": 11,
    "figure.titleweight": "bold",
}


def classification(
    target: np.ndarray, probabilities: np.ndarray | None, *, predicted: np.ndarray, classes: np.ndarray
) -> dict[str, Figure]:
    """Confusion matrix, ROC, precision-recall and calibration from `target` and what was `predicted` (n,), and
    `probabilities` (n, classes).

    Of a classifier that gives no probabilities, the confusion matrix alone.
    """
    figures = {"confusion_matrix": _confusion(target, predicted, classes)}
    if probabilities is None:
        return figures
    sides = [(1, classes[1])] if len(classes) == 2 else list(enumerate(classes))
    truths = [(short_label(label, 24), target == label, probabilities[:, column]) for column, label in sides]
    truths = [(name, truth, chances) for name, truth, chances in truths if 0 < truth.sum() < len(target)]
    figures["roc"] = _roc(truths)
    figures["precision_recall"] = _precision_recall(truths)
    if len(classes) <= 3:  # more would leave few rows for each
        figures["calibration"] = _calibration(truths)
    return figures


def threshold_curve(table: pl.DataFrame, *, chosen: float) -> Figure:
    """Precision, recall, F1 and the share of flagged rows by threshold, from calibration.threshold_table; a line stands
    at the threshold that was `chosen`."""
    figure, axes = blank("Scores at each threshold, test rows", grid="both")
    for name in ("precision", "recall", "f1", "flagged"):
        dashed, label = name == "flagged", {"f1": "F1"}.get(name, name)
        axes.plot(table["threshold"], table[name], linestyle="--" if dashed else "-", linewidth=1.6, label=label)
    axes.axvline(chosen, color=INK, linewidth=1, linestyle=":", label=f"chosen, {chosen:.4g}")
    axes.set(xlim=(0, 1), ylim=(0, 1.03), xlabel="threshold of the probability", ylabel="score, share")
    add_legend(axes)
    return figure


def regression(target: np.ndarray, predictions: np.ndarray) -> dict[str, Figure]:
    """Actual against predicted, and residuals, from `target` (n,) and `predictions` (n,), 2000 rows at most."""
    rows = np.random.default_rng(0).permutation(len(target))[:2000]
    target, predictions = np.asarray(target)[rows], np.asarray(predictions)[rows]
    dots = {"s": 22, "alpha": 0.6, "linewidths": 0, "rasterized": len(rows) > 500}  # many make a page slow
    against, axes = blank("Actual against predicted, test rows", grid="both")
    axes.scatter(predictions, target, **dots)
    ends = [min(target.min(), predictions.min()), max(target.max(), predictions.max())]
    axes.plot(ends, ends, **REFERENCE)
    axes.set(xlabel="predicted", ylabel="actual")
    axes.locator_params(nbins=6)
    residuals, axes = blank("Residuals, test rows", grid="both")
    axes.scatter(predictions, target - predictions, **dots)
    axes.axhline(0, **REFERENCE)
    axes.set(xlabel="predicted", ylabel="actual - predicted")
    axes.locator_params(nbins=6)
    return {"actual_predicted": against, "residuals": residuals}


def anomaly_scores(oddness: np.ndarray, flagged: np.ndarray) -> Figure:
    """How the anomaly scores `oddness` (n,) are distributed, those of rows that are `flagged` (n,) apart."""
    figure, axes = blank("Anomaly scores, test rows", grid="y")
    bins = np.histogram_bin_edges(oddness, bins=40)
    axes.hist(
        [oddness[~flagged], oddness[flagged]], bins=bins, stacked=True, rwidth=0.92, label=["ordinary", "anomaly"]
    )
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.set(xlabel="score, the greater the odder", ylabel="rows")
    add_legend(axes)
    return figure


def importance_bars(falls: dict[str, float], *, metric: str, most: int = 20) -> Figure:
    """Bars of how much `metric` falls when a column is shuffled, the `most` important ones."""
    names = list(falls)[:most][::-1]
    figure, axes = blank("Permutation importance, test rows", height=height_of(names), grid="x")
    axes.barh(range(len(names)), [falls[name] for name in names], height=0.62)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_xlabel(f"fall of {metric} when the column is shuffled")
    label_rows(axes, names)
    return figure


def slice_intervals(slices: list[SliceScore], *, metric: str, reference: float | None) -> Figure:
    """Dots with whiskers: `metric` of each slice, and its interval; a line at the `reference`."""
    slices, places = slices[::-1], range(len(slices))
    figure, axes = blank("Scores of slices, test rows", height=height_of(slices), grid="x")
    if reference is not None:
        axes.axvline(reference, **REFERENCE, label=f"all rows, {reference:.4g}")
    lows, highs = [each.low for each in slices], [each.high for each in slices]
    axes.hlines(places, lows, highs, color=COLOURS[0], linewidth=2.5, alpha=0.5)
    axes.scatter([each.score for each in slices], places, s=34, zorder=3)
    axes.set_xlabel(metric)
    label_rows(axes, [f"{each.column}: {each.value}" for each in slices])
    if reference is not None:
        axes.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="lower right", bbox_to_anchor=(1, 1), borderpad=0)
    return figure


def training_curves(curves: dict[str, list[tuple[int, float]]], *, metric: str) -> Figure:
    """Training curves: a line per name, of `metric` after each iteration."""
    figure, axes = blank("Training curves", grid="both")
    for name, points in curves.items():
        axes.plot(
            *zip(*points, strict=True), linewidth=1.6, marker="o" if len(points) == 1 else "", label=short_label(name)
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.set(xlabel="iteration", ylabel=metric)
    add_legend(axes)
    return figure


def svg(figure: Figure) -> str:
    """`figure` as an <svg> to put into a page: transparent, in the page's text colour and font, always the same bytes.

    Of several figures on a page each needs its own title: the ids of its parts are made from it.
    """
    buffer, plain = io.StringIO(), dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": figure.get_suptitle()}):
        figure.canvas.print_figure(buffer, format="svg", facecolor="none", edgecolor="none", dpi=160, metadata=plain)
    figure.set_layout_engine("none")  # its parts have their places by now, in whichever format it is drawn next
    text = buffer.getvalue()
    text = re.sub(r"<style.*?</style>", "", text[text.index("<svg") :], flags=re.DOTALL)  # it would hold for the page
    text = text.replace("<svg ", '<svg fill="currentColor" stroke-linejoin="round" ', 1)
    text = re.sub(r'(<\w+) id="[\w.]+_\d+"', r"\1", text)  # the names of parts are the same in every figure
    # One of the two, by matplotlib's version.
    text = re.sub(r'(?<=[" ])(font-family: |font: [a-z ]*[\d.]+px )[^;"]*', r"\1system-ui, sans-serif", text)
    # Hundredths of a point are not seen, and are a quarter of the text.
    text = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), text)
    return re.sub(f"#000000|{INK}", "currentColor", text)


def png(figure: Figure) -> bytes:
    """`figure` as the bytes of a PNG, always the same."""
    buffer = io.BytesIO()
    figure.canvas.print_figure(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()


def _roc(truths: list[tuple[str, np.ndarray, np.ndarray]]) -> Figure:
    figure, axes = blank("ROC, test rows", grid="both")
    lines = [(name, *roc_curve(truth, chances)[:2]) for name, truth, chances in truths]
    _lines(axes, [(auc(x, y), f"{name}, area ", x, y) for name, x, y in lines])
    axes.plot([0, 1], [0, 1], **REFERENCE)
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    add_legend(axes)
    return figure


def _precision_recall(truths: list[tuple[str, np.ndarray, np.ndarray]]) -> Figure:
    figure, axes = blank("Precision and recall, test rows", grid="both")
    lines = []
    for name, truth, chances in truths:
        precision, recall, _ = precision_recall_curve(truth, chances, drop_intermediate=True)
        lines.append((average_precision_score(truth, chances), f"{name}, average ", recall, precision))
    _lines(axes, lines, drawstyle="steps-post")
    if len(truths) == 1:
        axes.axhline(truths[0][1].mean(), **REFERENCE)  # what chance gives
    axes.set(xlabel="recall", ylabel="precision", ylim=(0, 1.03))
    add_legend(axes)
    return figure


def _calibration(truths: list[tuple[str, np.ndarray, np.ndarray]]) -> Figure:
    figure, axes = blank("Calibration, test rows", grid="both")
    for name, truth, chances in truths:
        bins = int(np.clip(len(truth) // 15, 3, 10))  # of as many rows each, so that no dot stands for a few
        shares, means = calibration_curve(truth, chances, n_bins=bins, strategy="quantile")
        axes.plot(means, shares, marker="o", markersize=5, linewidth=1.6, label=name)
    axes.plot([0, 1], [0, 1], **REFERENCE)
    axes.set(xlabel="predicted probability", ylabel="share that is positive")
    add_legend(axes)
    return figure


def _lines(axes: Any, lines: list[tuple[float, str, Any, Any]], *, named: int = 8, **how: Any) -> None:
    """Draws `lines`, (area, label, x, y), where there are many, only the smallest areas in colour and named."""
    lines = sorted(lines, key=lambda line: line[0]) if len(lines) > named else lines
    for _, _, x, y in lines[named:]:
        axes.plot(x, y, color=INK, alpha=0.18, linewidth=1, **how)
    for area, label, x, y in lines[:named]:
        axes.plot(x, y, linewidth=1.8 if len(lines) <= 3 else 1.3, label=f"{label}{area:.4f}", **how)
    if len(lines) > named:
        axes.plot([], [], color=INK, alpha=0.4, linewidth=1, label=f"{len(lines) - named} classes that do better")


def _confusion(target: np.ndarray, predicted: np.ndarray, classes: np.ndarray) -> Figure:
    at = [pd.Index(classes).get_indexer(labels) for labels in (target, predicted)]
    counts = np.bincount(at[0] * len(classes) + at[1], minlength=len(classes) ** 2).reshape(len(classes), -1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    many, larger = len(classes), 1.4 if len(classes) > 12 else 1
    figure, axes = blank("Confusion matrix, test rows", width=SIZE[0] * larger, height=SIZE[1] * larger)
    for row, column in np.ndindex(counts.shape):
        share = shares[row, column]
        colour = (*matplotlib.colors.to_rgb(COLOURS[0]), 0.05 + 0.95 * share)  # transparent, for any background
        cell = Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, facecolor=colour, linewidth=0, rasterized=many > 12)
        axes.add_patch(cell)
    room = SIZE[1] * larger * 72 * 0.7  # points that all cells are wide
    size = min(12, 1.4 * room / many / max(2, len(str(counts.max()))))
    if size > 5.5:
        for row, column in np.argwhere(counts if many > 6 else counts + 1):
            place = {"ha": "center", "va": "center", "fontsize": size, "color": INK}
            axes.text(column, row, f"{counts[row, column]}", **place)
    every, letters = -(-many // 40), 20 if many <= 12 else 12  # labels of more would touch one another
    names, small = [short_label(name, letters) for name in classes[::every]], 9 if many <= 12 else 7
    upright = max(map(len, names)) * len(names) * small * 0.65 > room
    axes.set_xticks(range(0, many, every), names, fontsize=small, rotation=90 if upright else 0)
    axes.set_yticks(range(0, many, every), names, fontsize=small)
    axes.set(xlim=(-0.5, many - 0.5), ylim=(many - 0.5, -0.5), aspect="equal", xlabel="predicted", ylabel="actual")
    axes.spines[:].set_visible(False)
    return figure


def blank(title: str, *, width: float = SIZE[0], height: float = SIZE[1], grid: str = "") -> tuple[Figure, Any]:
    """An empty figure of `width` x `height` inches in the style of all, and its axes; `grid` is "x", "y" or "both"."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
        figure.suptitle(title, x=0.015, ha="left", color=INK)
        axes: Any = figure.subplots()
    axes.set_prop_cycle(color=COLOURS)
    axes.tick_params(color=INK, labelcolor=INK, labelsize=9, length=0, pad=5)
    if grid:
        axes.grid(axis=grid, color=INK, alpha=0.15, linewidth=0.6)
    return figure, axes


def height_of(rows: Any) -> float:
    """The inches that a figure with a bar for each of `rows` is high."""
    return max(2.2, 0.27 * len(rows) + 1.2)


def label_rows(axes: Any, names: list[str]) -> None:
    """Writes `names` at the bars or dots of a figure, from the bottom to the top."""
    axes.set_yticks(range(len(names)), [short_label(name) for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.spines["left"].set_visible(False)


def add_legend(axes: Any) -> None:
    """Draws a legend, if anything has a label."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="best")


def short_label(name: Any, letters: int = 40) -> str:
    """`name` in one line of at most so many `letters`: a long one keeps its start and its end, where names differ.

    Dollars are escaped, which matplotlib would take for the start of a formula.
    """
    line, half = " ".join(str(name).split()), letters // 2
    return (line if len(line) <= letters else f"{line[: letters - half]}…{line[1 - half :]}").replace("$", r"\$")

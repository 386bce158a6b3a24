"""Figures of a search for settings: its trials, and what each parameter matters."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...report import plots


def trial_scores(scores: list[float | None], pruned: list[float | None], *, metric: str) -> Figure:
    """Dots: what each trial scored, by its number; a line: the best so far.

    `scores` and `pruned` have an entry for each trial, the first being the present settings: its score on all folds,
    or, where it was pruned, its estimate in `pruned`; None in both where it failed.
    """
    figure, axes = plots.blank("Trials", grid="y")
    complete = [(number, score) for number, score in enumerate(scores) if score is not None]
    given_up = [(number, score) for number, score in enumerate(pruned) if score is not None]
    axes.scatter(*zip(*complete, strict=True), s=26, linewidths=0, alpha=0.75, label="scored on all folds")
    if given_up:
        cross = {"s": 26, "marker": "x", "color": plots.COLOURS[5], "linewidths": 1.2}
        axes.scatter(*zip(*given_up, strict=True), **cross, label="pruned, by the folds it had")
    best = np.fmax.accumulate([np.nan if score is None else score for score in scores])
    axes.step(range(len(best)), best, where="post", color=plots.COLOURS[1], linewidth=1.8, label="best so far")
    axes.axhline(complete[0][1], **plots.REFERENCE, label="settings until now")
    drawn = sorted(score for _, score in complete + given_up)
    low, high = drawn[len(drawn) // 10], drawn[-1]  # a few that are far off would leave no room for the others
    room = high - low or 1
    axes.set_ylim(max(drawn[0], low - 0.5 * (high - low)) - 0.05 * room, high + 0.08 * room)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.set(xlabel="trial", ylabel=f"{metric}, mean of folds")
    plots.add_legend(axes)
    return figure


def parameter_importances(shares: dict[str, float], *, metric: str) -> Figure:
    """Bars of how much of the differences in `metric` each parameter explains, {"model.C": 0.8, ...}."""
    names = list(shares)[::-1]
    figure, axes = plots.blank("Parameter importance", height=plots.height_of(names), grid="x")
    axes.barh(range(len(names)), [shares[name] for name in names], height=0.62)
    axes.set_xlabel(f"share of the differences in {metric} that it explains")
    plots.label_rows(axes, names)
    return figure

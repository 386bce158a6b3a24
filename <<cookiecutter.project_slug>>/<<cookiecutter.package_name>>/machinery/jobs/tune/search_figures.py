"""Figures of a search for settings."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...report import plots


def search(values: list[float | None], pruned: list[float | None], *, metric: str) -> Figure:
    """What each trial scored, by its number, and the best until then: `values`, or `pruned` for one that was given up;
    None in both for one that failed."""
    figure, axes = plots.blank("Trials", grid="y")
    scored = [(at, value) for at, value in enumerate(values) if value is not None]
    given_up = [(at, value) for at, value in enumerate(pruned) if value is not None]
    axes.scatter(*zip(*scored, strict=True), s=26, linewidths=0, alpha=0.75, label="scored on all folds")
    if given_up:
        axes.scatter(
            *zip(*given_up, strict=True),
            s=26,
            marker="x",
            color=plots.COLOURS[5],
            linewidths=1.2,
            label="pruned, by the folds it had",
        )
    best = np.fmax.accumulate([np.nan if value is None else value for value in values])
    axes.step(range(len(best)), best, where="post", color=plots.COLOURS[1], linewidth=1.8, label="best so far")
    axes.axhline(scored[0][1], **plots.REFERENCE, label="settings until now")
    seen = sorted(value for _, value in scored + given_up)
    low, high = seen[len(seen) // 10], seen[-1]  # a few that are far off would leave no room for the others
    axes.set_ylim(max(seen[0], low - 0.5 * (high - low)) - 0.05 * (high - low or 1), high + 0.08 * (high - low or 1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.set(xlabel="trial", ylabel=f"{metric}, mean of folds")
    plots.legend(axes)
    return figure


def explained(shares: dict[str, float], *, metric: str) -> Figure:
    """Bars of how much of the differences in `metric` each parameter explains, the greatest share first."""
    names = list(shares)[::-1]
    figure, axes = plots.blank("Parameter importance", height=plots.bar_height(names), grid="x")
    axes.barh(range(len(names)), [shares[name] for name in names], height=0.62)
    axes.set_xlabel(f"share of the differences in {metric} that it explains")
    plots.name_bars(axes, names)
    return figure

"""Figures of how far columns moved."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ...report import plots


def distances(moved: list[tuple[str, float, bool]], *, least: float, most: int = 30) -> Figure:
    """Bars of how far each column moved, from (name, distance, alarm); a line at the `least` that counts."""
    shown = moved[:most][::-1]
    figure, axes = plots.blank("How far each column moved", height=plots.bar_height(shown), grid="x")
    colours = [plots.COLOURS[1] if alarm else plots.COLOURS[0] for _, _, alarm in shown]
    axes.barh(range(len(shown)), [distance for _, distance, _ in shown], height=0.62, color=colours)
    axes.axvline(least, **plots.REFERENCE)
    axes.set_xlim(0, max([1.08 * distance for _, distance, _ in shown] + [2 * least]))
    axes.set_xlabel("share of rows that moved; orange: an alarm")
    plots.name_bars(axes, [name for name, _, _ in shown])
    return figure


def share_bars(bars: list[tuple[str, float, float]], *, title: str) -> Figure:
    """Bars side by side of the share of old and of new rows, from (label, old, new)."""
    figure, axes = plots.blank(f"{plots.shortened(title)}, share of rows", height=plots.bar_height(bars), grid="x")
    places = np.arange(len(bars))[::-1]
    axes.barh(places + 0.2, [old for _, old, _ in bars], height=0.38, label="then")
    axes.barh(places - 0.2, [new for _, _, new in bars], height=0.38, label="now")
    axes.set_yticks(places, [plots.shortened(label, 24) for label, _, _ in bars])
    axes.set_ylim(-0.6, len(bars) - 0.4)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    plots.legend(axes)
    return figure

"""How the answers of a run of predict are distributed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ...report import plots
from ...serving import inputs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BARS = 30
_ANSWERS = ("probability", "score", "prediction")  # the first of them that a model gives tells most


def distribution(file: Path, answers: list[str]) -> tuple[dict[str, float], Figure]:
    """The deviation of numbers, {"deviation_prediction": 0.3}, and a histogram, of what a model answered in `file`.

    `answers`: the columns of the answers.
    """
    name = next(each for each in _ANSWERS if each in answers)
    table = (pl.scan_csv if file.suffix == ".csv" else pl.scan_parquet)(file, glob=False).select(name)
    figure, axes = plots.blank(f"Answers: {name}", grid="y")
    axes.set(xlabel=name, ylabel="rows")
    if not table.collect_schema()[name].is_numeric() or (name == "prediction" and len(answers) > 1):  # classes
        counts = table.group_by(name).len("count").sort("count", name, descending=[True, False]).head(_BARS).collect()
        axes.bar([plots.short_label(each) for each in counts[name]], counts["count"])
        return {}, figure
    low, high, rows = table.select(pl.min(name), pl.max(name).alias("high"), pl.len()).collect().row(0)
    edges = np.histogram_bin_edges([low, high], bins=_BARS)
    bars, total, squares = np.zeros(_BARS), 0.0, 0.0
    for each in table.collect_batches(chunk_size=inputs.ROWS, lazy=True):  # there may be more than memory holds
        values = each[name].cast(pl.Float64).to_numpy()
        bars += np.histogram(values, edges)[0]
        total, squares = total + (values - low).sum(), squares + ((values - low) ** 2).sum()
    axes.bar(edges[:-1], bars, np.diff(edges) * 0.92, align="edge")
    return {f"deviation_{name}": float(np.sqrt(max(0.0, squares / rows - (total / rows) ** 2)))}, figure

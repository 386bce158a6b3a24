"""How the answers of a run of predict are distributed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from ...report import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BARS = 30
_ANSWERS = ("probability", "score", "prediction")  # the first of them that a model gives tells most


def distribution(file: Path, answers: list[str]) -> tuple[dict[str, float], Figure]:
    """The deviation of numbers, {"deviation_prediction": 0.3}, and a histogram, of what a model answered in `file`.

    `answers`: the columns of the answers.
    """
    name = next(each for each in _ANSWERS if each in answers)
    table = (pl.scan_csv if file.suffix == ".csv" else pl.scan_parquet)(file, glob=False)
    values = table.select(name).collect()[name].rechunk()
    figure, axes = plots.blank(f"Answers: {name}", grid="y")
    axes.set(xlabel=name, ylabel="rows")
    if not values.dtype.is_numeric() or (name == "prediction" and len(answers) > 1):  # classes
        counts = values.value_counts(sort=True).head(_BARS)
        axes.bar([plots.short_label(each) for each in counts[name]], counts["count"])
        return {}, figure
    axes.hist(values.to_numpy(), bins=_BARS, rwidth=0.92)
    return {f"deviation_{name}": values.to_frame().select(pl.col(name).std(ddof=0)).item()}, figure

"""Whether a classifier's probabilities are right, and what each threshold gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from .scored_model import ScoredModel

BINS, ROWS = 10, 10  # at most so many bins, of at least so many rows


def calibration_error(target: np.ndarray, probabilities: np.ndarray, *, classes: np.ndarray) -> float:
    """How far `probabilities` (n, classes) are from the shares in `target` (n,), on average over rows and classes.

    The expected calibration error, in bins of equally many rows. Of two classes one is enough.
    Source: Naeini, Cooper and Hauskrecht, Obtaining Well Calibrated Probabilities Using Bayesian Binning (2015).
    """
    columns = [len(classes) - 1] if len(classes) == 2 else range(len(classes))
    bins = max(1, min(BINS, len(target) // ROWS))
    errors = []
    for column in columns:
        order = np.argsort(probabilities[:, column], kind="stable")
        off = probabilities[order, column] - (target[order] == classes[column])
        errors.append(sum(abs(part.sum()) for part in np.array_split(off, bins)) / len(off))
    return float(np.mean(errors))


def threshold_table(scored: ScoredModel) -> pl.DataFrame | None:
    """Precision, recall, F1 and the share of rows flagged from each threshold on: 0.01 to 0.99.

    None for a model that gives no probabilities of two classes. Where nothing is flagged there is no precision.
    """
    probabilities = scored.probabilities
    if probabilities is None or probabilities.shape[1] != 2:
        return None
    steps, right, yes = np.arange(1, 100) / 100, scored.target == 1, probabilities[:, 1]
    hits, count = (len(part) - np.searchsorted(np.sort(part), steps) for part in (yes[right], yes))  # flagged from each
    precision = np.divide(hits, count, out=np.full(len(steps), np.nan), where=count > 0)
    recall = hits / max(1, right.sum())
    f1 = 2 * hits / (count + right.sum())
    columns = {"threshold": steps, "precision": precision, "recall": recall, "f1": f1, "flagged": count / len(yes)}
    return pl.DataFrame(columns, nan_to_null=True)

"""What a classifier's probabilities are worth: whether they are right, and what each threshold gives."""

from __future__ import annotations

import numpy as np
import polars as pl

BINS, ROWS = 10, 10  # at most so many bins, of at least so many rows


def calibration_error(target: np.ndarray, probabilities: np.ndarray, *, classes: np.ndarray) -> float:
    """How far `probabilities` (n, classes) are from the shares in `target` (n,), on average over rows and classes.

    The expected calibration error, in bins of equally many rows. Of two classes one tells for both.
    Source: Naeini, Cooper and Hauskrecht, Obtaining Well Calibrated Probabilities Using Bayesian Binning (2015).
    """
    told = [len(classes) - 1] if len(classes) == 2 else range(len(classes))
    bins = max(1, min(BINS, len(target) // ROWS))
    errors = []
    for column in told:
        order = np.argsort(probabilities[:, column], kind="stable")
        off = probabilities[order, column] - (target[order] == classes[column])
        errors.append(sum(abs(part.sum()) for part in np.array_split(off, bins)) / len(off))
    return float(np.mean(errors))


def thresholds(target: np.ndarray, probabilities: np.ndarray) -> pl.DataFrame:
    """Precision, recall, F1 and the share of rows flagged from each threshold on: 0.01 to 0.99.

    `target` (n,) is 1 or 0, `probabilities` (n,) are those of 1. Where nothing is flagged there is no precision.
    """
    steps = np.arange(1, 100) / 100
    flagged = probabilities[:, None] >= steps
    hits, found = (flagged & (target == 1)[:, None]).sum(axis=0), flagged.sum(axis=0)
    precision = np.divide(hits, found, out=np.full(len(steps), np.nan), where=found > 0)
    recall = hits / max(1, (target == 1).sum())
    f1 = 2 * hits / (found + (target == 1).sum())
    columns = {"threshold": steps, "precision": precision, "recall": recall, "f1": f1, "flagged": flagged.mean(axis=0)}
    return pl.DataFrame(columns, nan_to_null=True)

"""Your metrics: functions of what is right and what is predicted, the greater the better.

conf names one by its place: `-P "task.metrics=[<package>.metrics.profit,roc_auc]"`; the first of the list decides. In
tables, and as `gate.min_scores.profit`, it is called like its function. `task.threshold=<package>.metrics.profit` takes
the threshold at which it is best. Of two classes, and of anomalies, both arrays hold 1 for the class that is looked for
and 0 for the other. For probabilities, make a scorer of the function:
`sklearn.metrics.make_scorer(function, response_method="predict_proba")`.
"""

from __future__ import annotations

import numpy as np


def profit(target: np.ndarray, predicted: np.ndarray) -> float:
    """What answering yes earns on average over rows: 30 for each that is right, less 10 for each yes."""
    return float((30 * target * predicted - 10 * predicted).mean())

"""Rows held out inside a fit, by which a network stops and a stack learns: what the split keeps together stays together
there as well, or a model is judged by rows that it has seen."""

from __future__ import annotations

from contextvars import ContextVar

import numpy as np

# Of the fit that goes on, a number (n,) for each row, the same for those that belong together. None: each is by itself.
BELONGING: ContextVar[np.ndarray | None] = ContextVar("groups", default=None)
FEW = 10  # groups, of which no share can be held out


def places(classes: np.ndarray | None, *, rows: int, seed: int) -> np.ndarray:
    """A number between 0 and 1 for each of the `rows` (n,), spread evenly at random, in each of the `classes` (n,) too.

    Rows that belong together get one; their class is that of the first. Of few groups each row gets its own.
    """
    groups = BELONGING.get()
    if groups is None or len(groups) != rows or len(np.unique(groups)) < FEW:  # a stack's member gets some of the rows
        groups = np.arange(rows)
    _, first, which, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    label = np.zeros(len(first), int) if classes is None else np.unique(classes, return_inverse=True)[1][first]
    order = np.lexsort([np.random.default_rng(seed).permutation(len(first)), label])
    made, total = np.empty(len(first)), np.bincount(label, sizes)
    middle = np.cumsum(sizes[order]) - sizes[order] / 2 - (np.cumsum(total) - total)[label[order]]
    made[order] = middle / total[label[order]]
    if classes is not None and made.min() == made.max():  # each group is a class of its own
        return places(None, rows=rows, seed=seed)
    return made[which]

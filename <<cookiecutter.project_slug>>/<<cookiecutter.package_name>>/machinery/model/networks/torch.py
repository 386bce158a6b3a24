"""Networks in PyTorch: TabM for tables, and one's own."""

from __future__ import annotations

from typing import Any

import numpy as np

from .network import Classifies, Layers, Regresses

QUANTILE_ROWS = 100_000  # rows that tell how the numbers of a column lie


class TorchClassifier(Classifies):
    """Write `network(inputs, outputs)`, which gives a torch.nn.Module, in a class of your own."""


class TorchRegressor(Regresses):
    """Write `network(inputs, outputs)`, which gives a torch.nn.Module, in a class of your own."""


class Tabular(Layers):
    """TabM for rows (n, d) whose first columns may be codes of categories, and of which any value may be missing.

    `members` networks share their weights; each column becomes `embedding` numbers, by way of `bins` of as many
    training rows each. `categorical_features`: the numbers of the columns that are codes.
    """

    def __init__(
        self,
        *,
        members: int = 16,
        embedding: int = 16,
        bins: int = 16,
        categorical_features: Any = "from_dtype",
        **more: Any,
    ) -> None:
        super().__init__(**more)
        self.members, self.embedding, self.bins = members, embedding, bins
        self.categorical_features = categorical_features

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _learn_columns(self, X: np.ndarray) -> None:
        coded = 0 if self.categorical_features == "from_dtype" else len(self.categorical_features)
        self.levels_ = [int(np.nanmax(X[:, at], initial=-1)) + 1 for at in range(coded)]
        some = np.asarray(X[:: -(-len(X) // QUANTILE_ROWS), coded:], "float64")
        low, self.shift_, high = (np.nan_to_num(each) for each in np.nanquantile(some, [0.25, 0.5, 0.75], axis=0))
        self.unit_ = np.where(high > low, high - low, 1.0)  # by quartiles: an outlier does not decide
        quantiles = np.nanquantile((some - self.shift_) / self.unit_, np.linspace(0, 1, self.bins + 1), axis=0)
        self.edges_ = np.nan_to_num(quantiles.T).astype("float32")

    def network(self, inputs: int, outputs: int) -> Any:
        """TabM, of the paper that tabm.py names."""
        from .tabm import TabM

        return TabM(self, outputs)

    def _tensor(self, X: np.ndarray) -> Any:
        coded = len(self.levels_)
        return super()._tensor(np.hstack([X[:, :coded], (X[:, coded:] - self.shift_) / self.unit_]))


class TabularClassifier(Classifies, Tabular):
    """TabM for classes."""


class TabularRegressor(Regresses, Tabular):
    """TabM for a number."""

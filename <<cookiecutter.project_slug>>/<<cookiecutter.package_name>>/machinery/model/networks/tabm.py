"""TabM: many multilayer perceptrons in one, which share nearly all of their weights.

Source: Gorishniy, Kotelnikov and Babenko, TabM: Advancing Tabular Deep Learning with Parameter-Efficient Ensembling,
ICLR 2025 (there: TabM-mini); of numbers: Gorishniy, Rubachev and Babenko, On Embeddings for Numerical Features in
Tabular Deep Learning, NeurIPS 2022 (piecewise linear).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from .torch import Tabular


class PiecewiseLinear(nn.Module):
    """Numbers (n, d) as (n, d * width): how far each has come through the bins between `edges` (d, bins + 1), weighed
    for each column by itself; a missing one is a vector of its own."""

    def __init__(self, edges: Tensor, width: int) -> None:
        super().__init__()
        self.register_buffer("low", edges[:, :-1], persistent=False)
        self.register_buffer("size", edges.diff(dim=1).clamp_min(1e-6), persistent=False)
        d, bins = self.low.shape
        self.weight = nn.Parameter((2 * torch.rand(d, bins, width) - 1) * bins**-0.5)
        self.bias = nn.Parameter(torch.zeros(d, width))
        self.missing = nn.Parameter(torch.zeros(d, width))

    def forward(self, x: Tensor) -> Tensor:
        come = ((x.nan_to_num(0.0)[..., None] - self.low) / self.size).clamp(0, 1)  # (n, d, bins)
        made = torch.einsum("ndb,dbw->ndw", come, self.weight) + self.bias
        return torch.where(x.isnan()[..., None], self.missing, made.relu()).flatten(1)


class TabM(nn.Module):
    """Rows (n, d), categories' codes first and then standardised numbers, as outputs (n, members, outputs).

    A missing or an unknown category, NaN, is the zero vector.
    """

    def __init__(self, like: Tabular, outputs: int) -> None:
        super().__init__()
        levels, edges, embedding, width = like.levels_, torch.from_numpy(like.edges_), like.embedding, like.width
        self.numbers = PiecewiseLinear(edges, embedding)
        self.categories = nn.ModuleList(nn.Embedding(count + 1, embedding, padding_idx=0) for count in levels)
        sizes = [(len(edges) + len(levels)) * embedding, *[width] * like.depth]
        self.first = nn.Parameter(torch.randint(0, 2, (like.members, sizes[0])) * 2.0 - 1)  # what tells members apart
        layers = [(nn.Linear(*pair), nn.ReLU(), nn.Dropout(like.dropout)) for pair in pairwise(sizes)]
        self.shared = nn.Sequential(*(each for layer in layers for each in layer))
        self.last = nn.Parameter((2 * torch.rand(like.members, sizes[-1], outputs) - 1) * sizes[-1] ** -0.5)
        self.bias = nn.Parameter(torch.zeros(like.members, outputs))

    def forward(self, x: Tensor) -> Tensor:
        codes, numbers = x.split([len(self.categories), x.shape[1] - len(self.categories)], dim=1)
        codes = codes.nan_to_num(-1.0).long() + 1
        embedded = [each(codes[:, at]) for at, each in enumerate(self.categories)]
        features = torch.cat([*embedded, self.numbers(numbers)], dim=1)
        hidden = self.shared(features[:, None] * self.first)  # (n, members, width)
        return torch.einsum("nkw,kwo->nko", hidden, self.last) + self.bias

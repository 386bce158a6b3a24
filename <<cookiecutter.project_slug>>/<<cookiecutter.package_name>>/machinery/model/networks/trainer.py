"""What Lightning takes: batches, what happens after each epoch, a place for checkpoints, and a module."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from torch import Tensor, nn

if TYPE_CHECKING:
    from .lightning import Perceptron


class Batches(lightning.Callback):
    """The batches of each epoch of `epochs`, by what `drawn` gives for it; the training ends when these do."""

    def __init__(self, drawn: Any, X: np.ndarray, y: np.ndarray, epochs: Iterator[int], first: int) -> None:
        self.drawn, self.X, self.y, self.epochs = drawn, X, y, epochs
        self.epoch: int | None = first
        self.count = len(drawn(first))

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in self.drawn(self.epoch or 0):
            yield torch.from_numpy(self.X[rows].astype("float32")), torch.from_numpy(self.y[rows])

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Judges the epoch, keeps it, and asks for the next one."""
        self.epoch = next(self.epochs, None)
        trainer.should_stop = trainer.should_stop or self.epoch is None


class Memory(CheckpointIO):
    """A checkpoint as it is, instead of a file that is a pickle."""

    kept: Any = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        self.kept = checkpoint

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return self.kept

    def remove_checkpoint(self, path: Any) -> None:
        self.kept = None


def quiet_trainer(batches: Batches, memory: Memory, place: str, epochs: int, more: dict[str, Any]) -> lightning.Trainer:
    """A Trainer that writes and prints nothing by itself."""
    names = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    free = {"precision": "bf16-mixed" if place == "cuda" else "32-true", "deterministic": "warn", **more}
    set_here: dict[str, Any] = {"accelerator": place, "devices": 1, "max_epochs": epochs, "plugins": [memory]}
    return lightning.Trainer(callbacks=[batches], **set_here, **dict.fromkeys(names, False), **free)


class PerceptronModule(lightning.LightningModule):
    """A multilayer perceptron: (n, inputs) to (n, outputs)."""

    def __init__(self, inputs: int, outputs: int, like: Perceptron) -> None:
        super().__init__()
        self.how = {"lr": like.learning_rate, "weight_decay": like.weight_decay}
        sizes = [inputs, *[like.width] * like.depth]
        layers = [(nn.Linear(*pair), nn.ReLU(), nn.Dropout(like.dropout)) for pair in pairwise(sizes)]
        self.layers = nn.Sequential(*(each for layer in layers for each in layer), nn.Linear(sizes[-1], outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        x, y = batch
        outputs = self(x)
        losses = nn.functional
        return losses.mse_loss(outputs[:, 0], y) if y.is_floating_point() else losses.cross_entropy(outputs, y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), **self.how)

"""Networks in Lightning: its Trainer trains them, and its checkpoints are kept without pickle."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from .network import Classifies, Layers, Network, Regresses


class Lightning(Network):
    """Write `network(inputs, outputs)`, which gives a LightningModule, in a class of your own.

    Its `training_step` gets (rows, targets); its optimizers and schedules are its own. `trainer`: more arguments of
    Lightning's Trainer, such as {gradient_clip_val: 1.0}.
    """

    libraries = ("lightning", *Network.libraries)

    def __init__(self, *, trainer: dict[str, Any] | None = None, **training: Any) -> None:
        super().__init__(**training)
        self.trainer = trainer

    def _train(self, X: Any, y: Any, train: Any, epochs: Iterator[int]) -> None:
        from .trainer import Batches, Memory, quiet_trainer

        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        self._seed(self.random_state)
        self._network = self.network(self.n_features_in_, self.outputs_)
        self._memory = Memory()
        if (first := next(epochs, None)) is None:
            return  # all is done, as the checkpoint says
        batches = Batches(lambda epoch: self._batches(train, epoch), X, y, epochs, first)
        self._trainer = quiet_trainer(batches, self._memory, self._place().type, self.epochs, self.trainer or {})
        self._trainer.fit(self._network, batches, ckpt_path="memory" if self._memory.kept else None)

    def _state(self) -> Any:
        self._trainer.save_checkpoint("memory")
        return self._memory.kept

    def _restore(self, state: Any) -> None:
        self._memory.kept = state


class LightningClassifier(Classifies, Lightning):
    """Of classes: what `forward` gives are logits."""


class LightningRegressor(Regresses, Lightning):
    """Of a number: what `forward` gives is its standardised value."""


class Perceptron(Layers, Lightning):
    """A multilayer perceptron as a LightningModule."""

    def network(self, inputs: int, outputs: int) -> Any:
        """The module, see trainer.py."""
        from .trainer import PerceptronModule

        return PerceptronModule(inputs, outputs, self)


class PerceptronClassifier(Classifies, Perceptron):
    """A multilayer perceptron in Lightning, for classes."""


class PerceptronRegressor(Regresses, Perceptron):
    """A multilayer perceptron in Lightning, for a number."""

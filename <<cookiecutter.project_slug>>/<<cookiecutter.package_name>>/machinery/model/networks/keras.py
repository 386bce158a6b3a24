"""Networks in Keras, on PyTorch: kept as .keras files, which are opened in Keras's safe mode."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from . import checkpoints
from .network import Classifies, Layers, Network, Regresses


class Keras(Network):
    """Write `network(inputs, outputs)`, which gives a keras.Model, in a class of your own.

    One that is not compiled learns by Adam with decaying weights, classes by their log loss and numbers by their
    squares.
    """

    libraries = ("keras", *Network.libraries)

    def _train(self, X: Any, y: Any, train: Any, epochs: Iterator[int]) -> None:
        keras = self._keras()
        self._seed(self.random_state)
        self._network = self.network(self.n_features_in_, self.outputs_)
        if not self._network.compiled:
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True) if y.dtype.kind == "i" else "mse"
            self._network.compile(keras.optimizers.AdamW(self.learning_rate, weight_decay=self.weight_decay), loss)
        for epoch in epochs:
            for batch in self._batches(train, epoch):
                self._network.train_on_batch(X[batch].astype("float32"), y[batch])

    def _forward(self, X: np.ndarray) -> np.ndarray:
        return self._keras().ops.convert_to_numpy(self._network(X.astype("float32"), training=False))

    def _state(self) -> Any:
        return self._weights(include_optimizer=True)

    def _restore(self, state: Any) -> None:
        self._network = self._loaded(state.numpy().tobytes())

    def _weights(self, *, include_optimizer: bool = False) -> Any:
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch, "network.keras")
            self._network.save(file, include_optimizer=include_optimizer)
            return checkpoints.as_tensor(file.read_bytes())

    def _open(self) -> None:
        self._network = self._loaded(self.weights_.tobytes())

    def _loaded(self, data: bytes) -> Any:
        """The network in a .keras file's bytes. Raises ValueError for one that would run code."""
        keras = self._keras()
        with tempfile.NamedTemporaryFile(suffix=".keras", buffering=0) as file:
            file.write(data)
            return keras.saving.load_model(file.name, safe_mode=True)

    def _seed(self, number: int) -> None:
        super()._seed(number)
        self._keras().utils.set_random_seed(number)

    @contextmanager
    def _reproducibly(self) -> Iterator[None]:
        with super()._reproducibly(), self._keras().device(self._place().type):
            yield

    def _keras(self) -> Any:
        os.environ.setdefault("KERAS_BACKEND", "torch")
        import keras

        return keras


class KerasClassifier(Classifies, Keras):
    """Of classes: the outputs are logits."""


class KerasRegressor(Regresses, Keras):
    """Of a number: the output is its standardised value."""


class Dense(Layers, Keras):
    """A multilayer perceptron in Keras."""

    def network(self, inputs: int, outputs: int) -> Any:
        """Dense layers, each followed by dropout."""
        layers = self._keras().layers
        hidden = [(layers.Dense(self.width, "relu"), layers.Dropout(self.dropout)) for _ in range(self.depth)]
        stack = [layers.Input((inputs,)), *(each for pair in hidden for each in pair), layers.Dense(outputs)]
        return self._keras().Sequential(stack)


class DenseClassifier(Classifies, Dense):
    """A multilayer perceptron in Keras, for classes."""


class DenseRegressor(Regresses, Dense):
    """A multilayer perceptron in Keras, for a number."""

"""What networks of every library have in common: how they are trained, watched, stopped, kept, and how they answer."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import get_scorer, make_scorer

from .. import held_out
from . import checkpoints

LIVING = ("_network", "_optimizer", "_trainer", "_memory")  # what is made anew out of the rest
CHUNK = 64  # rows that are answered at a time, always so many: of other counts the last bits differ
JUDGED = 1024  # rows that are judged at a time while it is trained; of the training rows so many at all


class Network(BaseEstimator):
    """A network that is trained epoch by epoch on rows (n, d), while a share of them tells when to stop.

    `patience`: so many epochs without a lower loss on the rows held out end the training; the weights of the best epoch
    are kept. `score`: a scorer of scikit-learn, or a function of (target, predictions) by its place, that is watched as
    well. `device`: auto, cpu, cuda or mps. `n_jobs`: threads; the last bits are those of their number.
    """

    libraries: tuple[str, ...] = ("torch", "safetensors")  # that a served one needs

    def __init__(
        self,
        *,
        epochs: int = 200,
        patience: int = 16,
        batch_size: int = 256,
        learning_rate: float = 0.002,
        weight_decay: float = 0.0003,
        validation_share: float = 0.15,
        score: str | None = None,
        device: str = "auto",
        n_jobs: int = 1,
        random_state: int = 0,
    ) -> None:
        self.epochs, self.patience, self.batch_size = epochs, patience, batch_size
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.validation_share, self.score = validation_share, score
        self.device, self.n_jobs, self.random_state = device, n_jobs, random_state

    def network(self, inputs: int, outputs: int) -> Any:
        """An untrained network that makes (n, outputs) of (n, inputs): of classes logits, of a number its standardised
        value. Write it in a class of your own."""
        raise NotImplementedError(f"{type(self).__name__} has no method network(inputs, outputs): it gives the network")

    @classmethod
    def _get_param_names(cls) -> list[str]:
        """Those of its own, and those that it hands on to the classes above."""
        takes = [each for one in cls.__mro__[:-1] for each in inspect.signature(one).parameters.values()]
        return sorted({each.name for each in takes if each.kind is each.KEYWORD_ONLY})

    def fit(self, X: Any, y: Any, *, progress: Any = None, workspace: Path | None = None) -> Network:
        """Trains it. `progress(epoch, **values)` gets losses and scores, `workspace` a checkpoint after each epoch, at
        which a fit goes on that finds one there."""
        for name in ("epochs", "patience", "batch_size", "n_jobs"):
            if (count := getattr(self, name)) < 1:
                raise ValueError(f"model.{name}={count}: it is 1 or more")
        if not 0 < (share := self.validation_share) < 1:
            raise ValueError(f"model.validation_share={share}: a share between 0 and 1 tells when to stop")
        X, y = np.asarray(X), self._learn_targets(np.asarray(y))
        self.n_features_in_ = X.shape[1]
        self._learn_columns(X)
        classes = y if y.dtype.kind == "i" else None
        place = held_out.places(classes, rows=len(y), seed=self.random_state)
        held = place < share if (place < share).any() else place == place.min()
        sides = {"train": np.flatnonzero(~held), "validation": np.flatnonzero(held)}
        try:
            with self._reproducibly():
                self._train(X, y, sides["train"], self._epochs(X, y, sides, progress, workspace))
        except RuntimeError as error:
            if type(error).__name__ != "OutOfMemoryError":
                raise
            raise ValueError(f"model.batch_size={self.batch_size} is more than the memory holds: try fewer") from error
        self._learned()
        return self

    def _epochs(self, X: Any, y: Any, sides: dict[str, Any], progress: Any, workspace: Path | None) -> Iterator[int]:
        """The number of each epoch that is to be trained now; between two, the one before is judged and kept.

        It ends when nothing got better for a while, with the best weights in place.
        """
        from tqdm import tqdm

        file = workspace / "checkpoint.safetensors" if workspace else None
        order = np.random.default_rng(self.random_state).permutation(sides["train"])
        some = sides | {"train": order[: min(JUDGED, len(sides["validation"]))]}
        course: dict[str, Any] = {"done": 0, "best": 0, "lowest": float("inf"), "values": [], "weights": None}
        if file and file.is_file():
            course = checkpoints.unpack(file.read_bytes())
            self._restore(course.pop("state"))
            for at, values in enumerate(course["values"] if progress else [], 1):
                progress(at, **values)  # so that the curves of the run that goes on are whole
        with tqdm(total=self.epochs, initial=course["done"], unit="epoch", disable=None, leave=False) as bar:
            while course["done"] < self.epochs and course["done"] - course["best"] < self.patience:
                yield course["done"]
                course["done"] += 1
                judged = {side: self._judged(X[rows], y[rows]) for side, rows in some.items()}
                values = {f"{side}_{name}": each[name] for side, each in judged.items() for name in each}
                course["values"].append(values)
                if not np.isfinite(loss := values["validation_loss"]):
                    raise ValueError(f"its loss in epoch {course['done']} is {loss}: lower model.learning_rate")
                if loss < course["lowest"]:
                    course |= {"lowest": loss, "best": course["done"], "weights": self._weights()}
                if progress:
                    progress(course["done"], **values)
                bar.set_postfix(best=course["best"], **{name: f"{value:.4f}" for name, value in values.items()})
                bar.update()
                if file:
                    checkpoints.keep(file, course | {"state": self._state()})
        self.weights_ = course["weights"].numpy()
        self._open()
        self.loss_curve_ = [each["train_loss"] for each in course["values"]]
        self.stopped_at_, self.best_epoch_ = course["done"], course["best"]

    def _learn_columns(self, X: np.ndarray) -> None:
        """What the network is made by, besides the parameters."""

    def _judged(self, X: np.ndarray, y: np.ndarray) -> dict[str, float]:
        """The loss, and the score, of the network as it is."""
        outputs = self._outputs(X, min(JUDGED, len(X)))
        values = {"loss": self._loss(outputs, y)}
        if self.score:
            module, _, name = self.score.rpartition(".")
            scorer = make_scorer(getattr(import_module(module), name)) if module else get_scorer(name)
            self.__dict__["_outputs"] = lambda _: outputs  # it has answered
            values[name] = float(scorer(self, X, self._as_scored(y)))
            del self._outputs
        return values

    # How PyTorch does it; other libraries otherwise.

    def _train(self, X: Any, y: Any, train: Any, epochs: Iterator[int]) -> None:
        """Trains a new network on the rows `train` of `X` and `y`, an epoch for each of `epochs`."""
        import torch

        self._seed(self.random_state)
        place = self._place()
        self._network = self.network(self.n_features_in_, self.outputs_).to(place)
        parameters = self._network.parameters()
        self._optimizer = torch.optim.AdamW(parameters, self.learning_rate, weight_decay=self.weight_decay)
        loss_of = torch.nn.CrossEntropyLoss() if y.dtype.kind == "i" else torch.nn.MSELoss()
        for epoch in epochs:
            self._network.train()
            for batch in self._batches(train, epoch):
                with torch.autocast(place.type, torch.bfloat16, enabled=place.type == "cuda"):
                    outputs = self._network(self._tensor(X[batch]))
                outputs = outputs.float().reshape(-1, outputs.shape[-1])  # each member learns by itself
                right = torch.from_numpy(y[batch]).to(place).repeat_interleave(len(outputs) // len(batch))
                loss = loss_of(outputs if y.dtype.kind == "i" else outputs[:, 0], right)
                self._optimizer.zero_grad()
                loss.backward()
                self._optimizer.step()

    def _forward(self, X: np.ndarray) -> np.ndarray:
        """What the network makes of few rows."""
        import torch

        training = self._network.training
        self._network.eval()
        with torch.inference_mode():
            outputs = self._network(self._tensor(X)).float().cpu().numpy()
        self._network.train(training)
        return outputs

    def _state(self) -> Any:
        """All that the training goes on from."""
        return {"network": self._network.state_dict(), "optimizer": self._optimizer.state_dict()}

    def _restore(self, state: Any) -> None:
        self._network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])

    def _weights(self) -> Any:
        """The network's weights as bytes, in a tensor."""
        return checkpoints.as_tensor(checkpoints.pack(self._network.state_dict()))

    def _open(self) -> None:
        """Makes the network that `weights_` are of."""
        self._network = self.network(self.n_features_in_, self.outputs_).to(self._place())
        self._network.load_state_dict(checkpoints.unpack(self.weights_.tobytes()))

    def _seed(self, number: int) -> None:
        import torch

        torch.manual_seed(number)

    # What all share.

    def _place(self) -> Any:
        """The device to work on."""
        import torch

        there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
        names = [name for name in there if there[name]]
        name = names[0] if self.device == "auto" else self.device
        if name not in names and not hasattr(self, "weights_"):  # what was trained elsewhere answers here as well
            raise ValueError(f"model.device={name} is not there: it is auto, {', '.join(names)}")
        return torch.device(name if name in names else names[0])

    def _tensor(self, X: np.ndarray) -> Any:
        import torch

        return torch.from_numpy(X.astype("float32")).to(self._place())

    @contextmanager
    def _reproducibly(self) -> Iterator[None]:
        """A block of so many threads, and of algorithms that give the same bits each time."""
        import torch

        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without which CUDA has none of them
        before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
        torch.set_num_threads(self.n_jobs)
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.set_num_threads(before[0])
            torch.use_deterministic_algorithms(before[1])

    def _outputs(self, X: Any, rows: int = CHUNK) -> np.ndarray:
        """What the network makes of `X` (n, d), so many `rows` at a time: (n, members, outputs)."""
        X, made = np.asarray(X), []
        with self._reproducibly():
            for at in range(0, len(X), rows):
                part = X[at : at + rows]
                outputs = self._forward(np.resize(part, (rows, X.shape[1])))[: len(part)]
                made.append(outputs.astype("float64").reshape(len(part), -1, outputs.shape[-1]))
        return np.concatenate(made)

    def _batches(self, rows: np.ndarray, epoch: int) -> list[np.ndarray]:
        """The numbers of `rows` in an order of that epoch's own, in batches of like size, `batch_size` at most.

        With them its random numbers begin: so an epoch is the same whether those before it ran in this process or not.
        """
        draw = np.random.default_rng([self.random_state, epoch])
        self._seed(int(draw.integers(2**31)))
        # Some 20 at least: else few rows are learned in so few steps that patience ends before anything is.
        size = min(self.batch_size, max(16, len(rows) // 20))
        return np.array_split(draw.permutation(rows), -(-len(rows) // size))

    @property
    def tags_(self) -> dict[str, str]:
        """How the training ended, for whoever looks for runs by it."""
        return {"early_stopped": str(self.stopped_at_ < self.epochs).lower(), "stopped_at": str(self.stopped_at_)}

    def __getstate__(self) -> dict[str, Any]:
        """Parameters, numbers, and the network as safetensors' bytes, or Keras's: there is no pickle in it."""
        return {name: value for name, value in super().__getstate__().items() if name not in LIVING}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "weights_" in state:
            self._open()  # here, so that what is no network is refused before anything is asked of it


class Layers(Network):
    """A plain network: `depth` layers of `width`, of whose numbers a share is left out while it learns."""

    def __init__(self, *, width: int = 128, depth: int = 2, dropout: float = 0.1, **training: Any) -> None:
        super().__init__(**training)
        self.width, self.depth, self.dropout = width, depth, dropout


class Classifies(ClassifierMixin, Network):
    """A network whose outputs are classes' logits."""

    def _learn_targets(self, y: np.ndarray) -> np.ndarray:
        self._labels, codes = np.unique(y, return_inverse=True)
        self.outputs_ = len(self._labels)
        self.classes_ = np.arange(self.outputs_)  # while it is trained, as scorers take them
        return codes.astype("int64")

    def _learned(self) -> None:
        self.classes_ = self.__dict__.pop("_labels")

    def _loss(self, outputs: np.ndarray, y: np.ndarray) -> float:
        return float(-np.log(np.maximum(_softmax(outputs)[np.arange(len(y)), y], 1e-15)).mean())

    def _as_scored(self, y: np.ndarray) -> np.ndarray:
        return y

    def predict_proba(self, X: Any) -> np.ndarray:
        """The classes' probabilities (n, classes), the mean of the members'."""
        return _softmax(self._outputs(X))

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest classes (n,)."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class Regresses(RegressorMixin, Network):
    """A network whose output is a number, which it learns standardised."""

    def _learn_targets(self, y: np.ndarray) -> np.ndarray:
        self.outputs_, self.center_, self.spread_ = 1, float(y.mean()), float(y.std()) or 1.0
        return ((y - self.center_) / self.spread_).astype("float32")

    def _learned(self) -> None:
        pass

    def _loss(self, outputs: np.ndarray, y: np.ndarray) -> float:
        return float(((outputs.mean(axis=1)[:, 0] - y) ** 2).mean())

    def _as_scored(self, y: np.ndarray) -> np.ndarray:
        return y * self.spread_ + self.center_

    def predict(self, X: Any) -> np.ndarray:
        """The numbers (n,), the mean of the members'."""
        return self._outputs(X).mean(axis=1)[:, 0] * self.spread_ + self.center_


def _softmax(outputs: np.ndarray) -> np.ndarray:
    """The probabilities (n, classes) of `outputs` (n, members, classes)."""
    powers = np.exp(outputs - outputs.max(axis=2, keepdims=True))
    return (powers / powers.sum(axis=2, keepdims=True)).mean(axis=1)

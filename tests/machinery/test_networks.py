"""Networks of three libraries, held to the same: watched, going on after a kill, the same to the last bit, kept."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from importlib import import_module

import numpy as np
import pytest
from penguin_classifier.machinery.errors import ProjectError
from penguin_classifier.machinery.mlflow import model_format
from penguin_classifier.machinery.model import loader
from penguin_classifier.machinery.model.networks import checkpoints
from penguin_classifier.machinery.model.networks.torch import TorchClassifier, TorchRegressor
from sklearn.base import clone
from skops.io import dumps, get_untrusted_types, loads
from test_models import FRAME, fitted, save

torch = pytest.importorskip("torch")
PLACE = "penguin_classifier.machinery.model.networks"
NAMES = {"torch": "Tabular", "lightning": "Perceptron", "keras": "Dense"}
SMALL = {"epochs": 6, "batch_size": 16, "width": 16, "random_state": 3}
DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(120, 4))
Y = np.where(X[:, 0] * X[:, 1] + X[:, 2] > 0, "yes", "no")
KILLED = """
import os, signal, sys
from pathlib import Path
import test_networks as here
file = Path(sys.argv[2], "checkpoint.safetensors")
def progress(epoch, **values):
    if epoch == 5 and sys.argv[3] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
trained = []
model = here.classifier(sys.argv[1])
drawn = model._batches
model._batches = lambda rows, epoch: trained.append(epoch) or drawn(rows, epoch)
model.fit(here.X, here.Y, progress=progress, workspace=file.parent)
print(sorted({*trained}), here.weights(model))
"""


def classifier(library, **more):
    return getattr(import_module(f"{PLACE}.{library}"), f"{NAMES[library]}Classifier")(**{**SMALL, **more})


def regressor(library, **more):
    return getattr(import_module(f"{PLACE}.{library}"), f"{NAMES[library]}Regressor")(**{**SMALL, **more})


def weights(model):
    """A hash of all numbers of a network, as they are in memory."""
    values = [each.detach().numpy().tobytes() for each in model._network.state_dict().values()]
    assert values
    return hashlib.sha256(b"".join(values)).hexdigest()


@pytest.mark.parametrize("library", NAMES)
def test_a_fit_that_was_killed_in_an_epoch_goes_on_there_and_ends_with_the_same_weights(library, tmp_path):
    straight = weights(classifier(library).fit(X, Y))

    def run(how, threads):
        words = [sys.executable, "-W", "ignore", "-c", KILLED, library, str(tmp_path), how]
        where = {"PYTHONPATH": os.pathsep.join(["tests", "."]), "OMP_NUM_THREADS": threads}
        return subprocess.run(words, env=os.environ | where, capture_output=True, text=True)

    killed = run("kill", "1")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    [left] = tmp_path.iterdir()
    assert checkpoints.unpack(left.read_bytes())["done"] == 4
    done = run("", "3")
    assert done.stdout.split() == ["[4,", "5]", straight], done.stdout[:100] + done.stderr[-2000:]


@pytest.mark.parametrize("library", NAMES)
def test_losses_and_scores_are_told_by_epoch_and_the_best_epoch_is_kept(library):
    told = {}
    model = classifier(library, epochs=60, patience=3, learning_rate=0.02, score="roc_auc")
    model.fit(X, Y, progress=lambda epoch, **values: told.update({epoch: values}))
    sides = {f"{side}_{name}" for side in ("train", "validation") for name in ("loss", "roc_auc")}
    assert [*told] == list(range(1, model.stopped_at_ + 1)) and set(told[1]) == sides
    losses = [values["validation_loss"] for values in told.values()]
    assert model.best_epoch_ == np.argmin(losses) + 1 == model.stopped_at_ - 3
    assert model.tags_ == {"early_stopped": "true", "stopped_at": str(model.stopped_at_)}
    again = clone(model).set_params(epochs=model.best_epoch_).fit(X, Y)  # ends where the other was best
    assert (again.predict_proba(X) == model.predict_proba(X)).all()
    assert told[model.stopped_at_]["train_roc_auc"] > 0.8 and set(model.predict(X)) == {"yes", "no"}


@pytest.mark.parametrize("library", NAMES)
def test_a_regression_learns_in_its_own_unit(library):
    model = regressor(library, epochs=40, learning_rate=0.01).fit(X, X[:, 0] * 1000 + 50_000)
    assert 48_000 < model.predict(X).mean() < 52_000 and np.corrcoef(model.predict(X), X[:, 0])[0, 1] > 0.9


@pytest.mark.parametrize("library", NAMES)
def test_a_pipeline_is_kept_without_pickle_and_answers_a_row_alone_as_among_others(library, tmp_path):
    model = fitted(classifier(library, epochs=2))
    data = dumps(model)
    own = [name for name in get_untrusted_types(data=data) if name.startswith("penguin_classifier.")]
    assert own == [f"{PLACE}.{library}.{NAMES[library]}Classifier"]
    save(model, tmp_path / "model")
    loaded = model_format.load(tmp_path / "model").pipeline
    told = loader.answers(model, FRAME, positive=None)
    assert loader.answers(loaded, FRAME, positive=None).equals(told)
    assert loader.predictions(loaded[-1], loaded.predict_proba(FRAME)) is not None, "it would be asked twice"
    for at in (0, 17, 39):
        assert loader.answers(loaded, FRAME.iloc[[at]], positive=None).equals(told.iloc[[at]].reset_index(drop=True))
    pins = (tmp_path / "model/requirements.txt").read_text()
    assert f"\n{library}==" in pins and "\ntorch==" in pins and "+cpu" not in pins and "pytest" not in pins
    [file] = (tmp_path / "model").glob("*.skops")
    with zipfile.ZipFile(file) as parts:
        for part in parts.namelist():
            content = parts.read(part)
            assert not (content.startswith(b"\x80") and content.endswith(b".")), part


def poisoned(model, data):
    """The skops file of `model`, with `data` in the place of its weights."""
    model = clone(model).fit(X, Y)
    model.weights_ = np.frombuffer(data, np.uint8)
    return dumps(model)


@pytest.mark.parametrize("library", NAMES)
def test_weights_that_are_a_pickle_are_refused(library):
    made = io.BytesIO()
    torch.save({"weight": torch.zeros(2)}, made)  # a zip with a pickle in it
    data = poisoned(classifier(library, epochs=1), made.getvalue())
    with pytest.raises((ValueError, LookupError), match=r"no weights of a network|no item named 'config.json'"):
        loads(data, trusted=get_untrusted_types(data=data))


def test_a_keras_file_that_runs_code_is_refused():
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Lambda(lambda x: x[:, :2])])
    from penguin_classifier.machinery.model.networks.keras import DenseClassifier

    estimator = DenseClassifier(**SMALL)
    estimator._network = model
    data = poisoned(DenseClassifier(**SMALL | {"epochs": 1}), estimator._weights().numpy().tobytes())
    with pytest.raises(ValueError, match=r"(?i)lambda.*safe"):
        loads(data, trusted=get_untrusted_types(data=data))


def test_a_checkpoint_holds_what_it_was_given_and_refuses_objects(tmp_path):
    value = {"a": [1, 2.5, None, "x"], 3: (torch.arange(3), {"b": torch.tensor(2.0)}), "inf": float("inf")}
    checkpoints.keep(tmp_path / "c.safetensors", value)
    back = checkpoints.unpack((tmp_path / "c.safetensors").read_bytes())
    assert back["a"] == value["a"] and back["inf"] == float("inf") and [*back] == ["a", 3, "inf"]
    assert back[3][0].tolist() == [0, 1, 2] and back[3][1]["b"] == 2 and isinstance(back[3], tuple)
    assert [file.name for file in tmp_path.iterdir()] == ["c.safetensors"]
    with pytest.raises(TypeError, match=r"no object"):
        checkpoints.pack({"a": object()})
    with pytest.raises(ValueError, match=r"no weights of a network"):
        checkpoints.unpack(json.dumps({"a": 1}).encode())


class Own(TorchClassifier):
    """As a user writes one."""

    def __init__(self, *, hidden=8, **training):
        super().__init__(**training)
        self.hidden = hidden

    def network(self, inputs, outputs):
        return torch.nn.Sequential(
            torch.nn.Linear(inputs, self.hidden), torch.nn.ReLU(), torch.nn.Linear(self.hidden, outputs)
        )


def test_a_network_of_ones_own_says_what_it_takes():
    own = Own(hidden=5, epochs=2, score="roc_auc")
    assert {"hidden", "epochs", "device"} <= set(own.get_params()) and clone(own).get_params()["hidden"] == 5
    assert own.fit(X, Y)._network[0].out_features == 5 and own.predict(X[:3]).shape == (3,)
    with pytest.raises(NotImplementedError, match=r"TorchRegressor has no method network"):
        TorchRegressor(epochs=1).fit(X, X[:, 0])


@pytest.mark.parametrize("rows, size, most", [(540, 256, 27), (100, 256, 15), (100, 8, 8), (20_000, 256, 254)])
def test_an_epoch_of_few_rows_has_many_batches(rows, size, most):
    batches = classifier("torch", batch_size=size)._batches(np.arange(rows), 0)
    assert max(map(len, batches)) == most and sorted(np.concatenate(batches)) == list(range(rows))


@pytest.mark.parametrize(
    "word, sentence",
    [
        ({"device": "cuda"}, r"model.device=cuda is not there: it is auto, cpu"),
        ({"epochs": 0}, r"model.epochs=0: it is 1 or more"),
        ({"validation_share": 1.5}, r"model.validation_share=1.5: a share between 0 and 1"),
        ({"learning_rate": 1e30, "epochs": 20}, r"its loss in epoch \d+ is nan: lower model.learning_rate"),
        ({"score": "f2"}, r"f2"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(word, sentence):
    if torch.cuda.is_available() and "device" in word:
        pytest.skip("it is there")
    with pytest.raises(ProjectError, match=f"^TabularClassifier cannot be fitted: .*{sentence}"):
        fitted(classifier("torch", **word))


def test_unseen_and_missing_categories_and_numbers_are_answered():
    model = fitted(classifier("torch", epochs=2))
    assert model[-1].levels_ == [2] and model[-1].categorical_features == [0]  # of t: x and y
    odd = FRAME.head(2).assign(t="never seen", n=None)
    assert np.isfinite(model.predict_proba(odd)).all()


def test_no_library_of_networks_is_imported_before_one_is_fitted():
    code = f"""
import sys
for name in {[*NAMES]}:
    module = __import__("{PLACE}." + name, fromlist=["x"])
print({{"torch", "lightning", "keras", "safetensors"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stdout + done.stderr

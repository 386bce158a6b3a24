"""Models that train for hours, as their users live with them; see machinery/test_networks.py for each by itself."""

import json
import os
import signal
import time
import urllib.request

import polars as pl
import pytest
from conftest import Project, served
from test_projects import NAME
from test_story import NAMES, QUICK

pytestmark = pytest.mark.slow

MODEL = f"{NAME}-penguins"
MASS = f"{NAME}-penguins_mass"
SMALL = ["model.width=32", "model.learning_rate=0.01", "model.epochs=12"]
RUN = """
import json
[run] = client.search_runs(["0"], "tags.stage = 'train' and attributes.status = 'FINISHED'", max_results=1)
curves = {name: [(each.step, each.value) for each in client.get_metric_history(run.info.run_id, name)]
          for name in run.data.metrics if name.startswith(("train_", "validation_"))}
print(json.dumps([run.data.tags, curves]))
"""
OWN = '''

from .machinery.model.networks.lightning import LightningClassifier  # noqa: E402
from .machinery.model.networks.torch import TorchClassifier  # noqa: E402


class Wide(TorchClassifier):
    """One wide layer."""

    def __init__(self, *, hidden: int = 64, **training: Any) -> None:
        super().__init__(**training)
        self.hidden = hidden

    def network(self, inputs: int, outputs: int) -> Any:
        from torch import nn

        return nn.Sequential(nn.Linear(inputs, self.hidden), nn.ReLU(), nn.Linear(self.hidden, outputs))


class Residual(LightningClassifier):
    """A LightningModule of one's own."""

    def network(self, inputs: int, outputs: int) -> Any:
        import lightning
        import torch

        class Module(lightning.LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.inner, self.last = torch.nn.Linear(inputs, inputs), torch.nn.Linear(inputs, outputs)

            def forward(self, x: Any) -> Any:
                return self.last(x + self.inner(x).relu())

            def training_step(self, batch: Any, _: int) -> Any:
                return torch.nn.functional.cross_entropy(self(batch[0]), batch[1])

            def configure_optimizers(self) -> Any:
                optimizer = torch.optim.SGD(self.parameters(), 0.1, momentum=0.9)
                return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.95)]

        return Module()
'''


@pytest.fixture
def project(fresh, networks) -> Project:
    """A project of one's own, where the libraries of networks are installed."""
    return Project(fresh.path, networks)


def digest(project, outputs):
    """What tells the model apart that stage train has left."""
    [record] = (project.path / outputs / "train").glob("*/outcome.json")
    return json.loads(record.read_text())["outcome"]["model"]


def answers_over_http(project, name, table):
    """What a server of the champion of `name` answers for the rows of `table`."""
    words = ["mlflow", "models", "serve", "-m", f"models:/{name}@champion", "--env-manager", "local"]
    with served(project, *words, "--port", "{port}", path="/ping") as address:
        body = json.dumps({"dataframe_split": {"columns": table.columns, "data": table.rows()}}).encode()
        asked = urllib.request.Request(f"{address}/invocations", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked) as answer:
            return json.load(answer)["predictions"]


def test_a_network_from_its_table_to_its_monitor(project):
    (project.path / "data/raw/penguins.csv").rename(project.path / "data/raw/birds.csv")
    profiled = project.python("profile", "path=data/raw/birds.csv", "target=sex", "name=birds")
    assert profiled.code == 0, profiled.printed
    line = ["data=birds", "model=torch_mlp", *SMALL, "model.epochs=60", "model.patience=60", *QUICK]

    process = project.start("train", *line)
    while not list(project.path.glob("outputs/workspaces/*/checkpoint.safetensors")):
        time.sleep(0.02)
    os.kill(process, signal.SIGKILL)
    assert project.end(process).code == -signal.SIGKILL

    trained = project.python(*line)
    assert trained.code == 0 and f"{NAME}-birds version 1 is champion" in trained.lines, trained.printed
    tags, curves = json.loads(project.ask(RUN))
    assert set(curves) == {f"{side}_{name}" for side in ("train", "validation") for name in ("loss", "roc_auc")}
    assert [step for step, _ in curves["validation_loss"]] == list(range(1, int(tags["stopped_at"]) + 1))
    assert tags["early_stopped"] == "false" and tags["stopped_at"] == "60"
    assert not list(project.path.glob("outputs/workspaces/*"))
    other = project.python("train", *line, "platform.outputs=elsewhere", OMP_NUM_THREADS="4", PYTHONHASHSEED="7")
    assert other.code == 0 and digest(project, "outputs") == digest(project, "elsewhere"), other.printed

    tuned = project.python("tune", *line[:2], *QUICK, "tune.trials=2", "tune.folds=2", "model.epochs=2", "tune.jobs=1")
    assert tuned.code == 0 and "wrote conf/experiment/" in tuned.printed, tuned.printed
    scored = project.python("predict", "data=birds", "input=data/raw/birds.csv", "output=scores.parquet")
    assert scored.code == 0, scored.printed
    table = pl.read_parquet(project.path / "scores.parquet")
    given = pl.read_csv(project.path / "data/raw/birds.csv", null_values="NA").drop("sex")
    answers = answers_over_http(project, f"{NAME}-birds", given)
    assert answers == table.select("prediction", "probability", "threshold").to_dicts()
    watched = project.python("monitor", "data=birds", "input=data/raw/birds.csv")
    assert watched.code == 0 and "no drift" in watched.printed, watched.printed

    reproduces(project, "birds")


def reproduces(project, data):
    """What is registered first is made again, in an environment of its own, to the last bit."""
    # where the wheel for the CPU lies in a folder, else from where PyTorch has it
    links = os.environ.get("PIP_FIND_LINKS")
    place = {"UV_FIND_LINKS": links} if links else {"UV_TORCH_BACKEND": "cpu"}
    again = project.python("reproduce", f"data={data}", "run_id=1", **place)
    assert again.code == 0 and "identical to the bit" in again.printed, again.printed


LOGGED = "print([run.data.params for run in client.search_runs(['0'], \"tags.stage = 'train'\", max_results=1)][0])"


# Of Lightning MLflow's autologging tells the optimizer, of Keras, whose loop is our own, the estimator's arguments.
@pytest.mark.parametrize("model, logged", [("lightning", "'optimizer_name': 'AdamW'"), ("keras", "width': '32'")])
def test_other_libraries_live_as_well(project, model, logged):
    line = ["data=penguins_mass", f"model={model}", "task.transform=log", *SMALL, "gate.min_scores={}", *QUICK]
    trained = project.python(*line)
    assert trained.code == 0 and f"{MASS} version 1 is champion" in trained.lines, trained.printed
    _, curves = json.loads(project.ask(RUN))
    assert {"train_loss", "validation_loss", "train_r2", "validation_r2"} == set(curves)
    elsewhere = ["platform.outputs=elsewhere", "tracking.autolog=true"]
    other = project.python("train", *line, *elsewhere, OMP_NUM_THREADS="4", PYTHONHASHSEED="7")
    assert other.code == 0 and digest(project, "outputs") == digest(project, "elsewhere"), other.printed
    assert logged in project.ask(LOGGED)
    few = ["tune.trials=2", "tune.folds=2", "model.epochs=2", "tune.jobs=1"]
    tuned = project.python("tune", *line[:2], *QUICK, *few)
    assert tuned.code == 0 and "wrote conf/experiment/" in tuned.printed, tuned.printed
    scored = project.python("predict", "data=penguins_mass", "input=data/raw/penguins.csv", "output=scores.parquet")
    assert scored.code == 0, scored.printed
    table = pl.read_parquet(project.path / "scores.parquet")
    answers = answers_over_http(project, MASS, table.select(*NAMES[:-1], "sex"))
    assert [each["prediction"] for each in answers] == table["prediction"].to_list()
    watched = project.python("monitor", "data=penguins_mass", "input=data/raw/penguins.csv")
    assert watched.code == 0 and "no drift" in watched.printed, watched.printed
    reproduces(project, "penguins_mass")


def test_networks_of_ones_own_are_classes_in_models_py_and_members_of_a_blend(project, tmp_path):
    models = project.path / project.package / "models.py"
    models.write_text(models.read_text() + OWN)
    training = "epochs: 5\nlearning_rate: 0.01\nrandom_state: ${seed}\n"
    conf = project.path / "conf/model"
    (conf / "wide.yaml").write_text(f"_target_: {project.package}.models.Wide\nhidden: 32\n{training}")
    (conf / "residual.yaml").write_text(f"_target_: {project.package}.models.Residual\n{training}")
    wrong = project.python("model=wide", "model.hiden=3")
    assert wrong.code == 2 and "model.hiden" in wrong.printed and "did you mean hidden?" in wrong.printed
    for model in ("wide", "residual"):
        made = project.python(f"model={model}", "gate.min_scores={}", "gate.max_loss=1", *QUICK)
        assert made.code == 0 and f"{MODEL} version" in made.printed, made.printed
    [*folders] = project.path.glob("outputs/train/*/model")
    assert len(folders) == 2
    code = """
import sys, mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
print(len(model.predict(model.input_example)))
"""
    for folder in folders:
        away = project.run("python", "-c", code, str(folder), folder=tmp_path)
        assert away.code == 0 and away.lines[-1] == "3", away.printed
    (conf / "mixed.yaml").write_text(
        f"_target_: {project.package}.models.blend\nweights: [1, 1]\nmembers:\n"
        f"  wide: {{_target_: {project.package}.models.Wide, epochs: 3}}\n"
        "  forest: {_target_: sklearn.ensemble.RandomForestClassifier, n_estimators: 5}\n"
    )
    mixed = project.python("evaluate", "model=mixed", "gate.min_scores={}", *QUICK)
    assert mixed.code == 0, mixed.printed

"""The changes that the generated README describes, each made in a project of its own as it says, in the files that it
names: style and types stay clean, and the next command does what was wanted."""

import json
import re
import urllib.request

import polars as pl
import pytest
from conftest import FOLDER, Project, served
from test_projects import NAME, QUICK, STAGES

pytestmark = pytest.mark.slow

SMALL = ["model=forest", "model.n_estimators=10", *QUICK]
RAW = ["species", "island", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
PACKAGE = "penguin_classifier"
README = (FOLDER / "README.md").read_text().replace("<< cookiecutter.package_name >>", PACKAGE)


@pytest.fixture
def project(checked: Project) -> Project:
    """A fresh project."""
    return checked


def example(start: str) -> str:
    """The block of code in the README that begins with `start`."""
    [block] = [each for each in re.findall(r"(?ms)^```\w*\n(.*?)^```", README) if each.startswith(start)]
    return block


def append(project: Project, file: str, text: str) -> None:
    """Writes `text` to the end of a file of the project, or a new file."""
    path = project.path / file
    path.write_text((path.read_text() if path.exists() else "") + text)


def replace(project: Project, file: str, old: str, new: str) -> None:
    """Writes `new` where a file of the project has `old`."""
    text = (project.path / file).read_text()
    assert text.count(old) == 1, (file, old)
    (project.path / file).write_text(text.replace(old, new))


def assert_clean(project: Project, *files: str) -> None:
    """Nothing but `files` was changed, and `make lint`'s commands have nothing to say."""
    changed = project.run("git", "status", "--porcelain", "--untracked-files=all").lines
    assert sorted(line[3:] for line in changed) == sorted(files)
    for words in (["ruff", "check"], ["ruff", "format", "--check", "--diff"], ["mypy"]):
        done = project.run(*words)
        assert done.code == 0, done.printed


def champion(project: Project, *words: str, data: str = "penguins") -> list[str]:
    """What the whole line prints on a project whose candidate becomes champion."""
    done = project.python(*SMALL, *words)
    assert done.code == 0 and f"{NAME}-{data} version 1 is champion" in done.lines, done.printed
    return done.lines


def predicted(project: Project, *words: str) -> pl.DataFrame:
    """What `predict` writes for the rows of the source."""
    done = project.python("predict", *words, "output=scores.parquet")
    assert done.code == 0, done.printed
    return pl.read_parquet(project.path / "scores.parquet")


def over_http(project: Project, rows: pl.DataFrame) -> list[dict]:
    """What MLflow's server of the champion answers for raw `rows`."""
    words = ["mlflow", "models", "serve", "-m", f"models:/{NAME}-penguins@champion", "--env-manager", "local"]
    with served(project, *words, "--port", "{port}", path="/ping") as address:
        body = {"dataframe_split": {"columns": rows.columns, "data": [list(row) for row in rows.rows()]}}
        request = urllib.request.Request(
            f"{address}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["predictions"]


def importances(project: Project) -> set[str]:
    """The columns that the newest evaluation names."""
    [file] = project.path.glob("outputs/evaluate/*/outcome.json")
    return set(json.loads(file.read_text())["outcome"]["facts"]["model"]["kinds"])


def test_a_feature_as_an_expression(project: Project) -> None:
    """Once from the command line, then in the dataset's file as the README has it; raw rows go in at every door."""
    words = ["-P", "model=forest", "-P", "features.derive.bill_ratio=bill_length_mm / bill_depth_mm"]
    tried = project.mlflow("-e", "train", *words)
    assert tried.code == 0 and re.search(r"on 262 rows x 7 columns", tried.printed), tried.printed
    append(project, "conf/data/penguins.yaml", "\n" + example("features:\n  derive:"))
    assert_clean(project, "conf/data/penguins.yaml")
    champion(project)
    assert importances(project) == {*RAW, "bill_ratio", "heavy", "island_mass", "mass_to_island"}
    table = predicted(project, "input=data/raw/penguins.csv")
    assert table.height == 344 and "bill_ratio" not in table.columns
    answers = table.select("prediction", "probability", "threshold").to_dicts()
    assert over_http(project, table.select(RAW)) == answers  # together, and in another process
    monitored = project.python("monitor")
    assert monitored.code == 0, monitored.printed


def test_a_feature_as_a_function(project: Project) -> None:
    append(project, f"{PACKAGE}/features.py", "\n\n" + example("def bill_area("))
    [named] = re.findall(r"`(bill_area: \{_target_: .*?\})`", README)
    append(project, "conf/data/penguins.yaml", f"\nfeatures:\n  derive:\n    {named}\n")
    assert_clean(project, f"{PACKAGE}/features.py", "conf/data/penguins.yaml")
    champion(project)
    assert importances(project) == {*RAW, "bill_area"}
    table = predicted(project, "input=data/raw/penguins.csv")
    answers = table.select("prediction", "probability", "threshold").to_dicts()
    append(project, f"{PACKAGE}/features.py", "\n\nraise ValueError('the model does not need this file')\n")
    assert over_http(project, table.select(RAW).head(50)) == answers[:50]  # the function travelled with the model


SOURCE = '''

def with_places(table: str, places: str) -> pl.LazyFrame:
    """The rows of the CSV file `table`, each with what the CSV file `places` says of its island."""
    return pl.scan_csv(table, null_values="NA").join(
        pl.scan_csv(places), on="island", how="left", maintain_order="left"
    )
'''
DATASET = f"""# @package _global_
# Palmer penguins, and where their islands are.
defaults:
  - /task: binary

source:
  _target_: {PACKAGE}.sources.with_places
  table: data/raw/penguins.csv
  places: data/raw/places.csv

columns:
  target: sex
"""


def test_a_source_that_joins_tables(project: Project) -> None:
    append(project, f"{PACKAGE}/sources.py", SOURCE)
    append(project, "conf/data/placed.yaml", DATASET)
    append(project, "data/raw/places.csv", "island,latitude\nBiscoe,-65.4\nDream,-64.7\nTorgersen,-64.8\n")
    assert_clean(project, f"{PACKAGE}/sources.py", "conf/data/placed.yaml", "data/raw/places.csv")
    champion(project, "data=placed", data="placed")
    assert {*RAW, "year", "latitude"} == importances(project)
    lines = (project.path / "data/raw/penguins.csv").read_text().splitlines()
    append(project, "new.csv", "\n".join(lines[:11]) + "\n")
    table = predicted(project, "data=placed", "source.table=new.csv")
    assert table.height == 10 and table["latitude"].null_count() == 0
    monitored = project.python("monitor", "data=placed")
    assert monitored.code == 0, monitored.printed


METRIC = '''

def males_seen(target: np.ndarray, predicted: np.ndarray) -> float:
    """The share of the class that is looked for that is predicted as such."""
    return float((target * predicted).sum() / max(target.sum(), 1))
'''


def test_a_metric(project: Project) -> None:
    append(project, f"{PACKAGE}/metrics.py", METRIC)
    assert_clean(project, f"{PACKAGE}/metrics.py")
    own = f"{PACKAGE}.metrics.males_seen"
    lines = champion(project, f"task.metrics=[{own},roc_auc]", "gate.min_scores={males_seen: 0.5}")
    assert any(re.match(r"evaluate  males_seen [01]\.\d{4} ", line) for line in lines), lines
    assert any("males_seen" in line and "reaches 0.5" in line for line in lines), lines
    chosen = project.python("train", *SMALL, f"task.threshold={own}", "split.validation=0.15")
    assert chosen.code == 0, chosen.printed


MODEL = '''

class NearestMean(ClassifierMixin, BaseEstimator):
    """Answers the class whose mean is nearest, by distances that a `scale` turns into probabilities."""

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def fit(self, X: np.ndarray, y: np.ndarray, progress: Callable[..., None] | None = None) -> NearestMean:
        """Itself, with the mean (d,) of each class; `progress` gets how many classes are done."""
        self.classes_ = np.unique(y)
        means = []
        for step, each in enumerate(self.classes_):
            means.append(np.asarray(X)[y == each].mean(axis=0))
            if progress:
                progress(step, classes_done=step + 1)
        self.means_ = np.array(means)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """The probability of each class (n, k) for the rows (n, d)."""
        distances = np.linalg.norm(np.asarray(X)[:, None, :] - self.means_, axis=2)
        weights = np.exp(-(distances - distances.min(axis=1, keepdims=True)) / self.scale)
        return weights / weights.sum(axis=1, keepdims=True)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """The likeliest class (n,) for the rows (n, d)."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]
'''


def test_a_model_class(project: Project) -> None:
    models = f"{PACKAGE}/models.py"
    append(project, models, MODEL)
    replace(
        project,
        models,
        "from typing import Any\n\n",
        "from collections.abc import Callable\nfrom typing import Any\n\nimport numpy as np\n",
    )
    replace(project, models, "import is_classifier\n", "import BaseEstimator, ClassifierMixin, is_classifier\n")
    append(project, "conf/model/mine.yaml", f"# My own.\n_target_: {PACKAGE}.models.NearestMean\nscale: 2.0\n")
    assert_clean(project, models, "conf/model/mine.yaml")
    words = ["model=mine", *QUICK, "gate.min_scores={}"]
    done = project.python(*words)
    assert done.code == 0 and f"{NAME}-penguins version 1 is champion" in done.lines, done.printed
    assert "NearestMean on 262 rows" in done.printed
    drawn = project.ask(
        "run = client.search_runs(['0'], \"tags.stage = 'train'\")[0]\n"
        "print(*[each.value for each in client.get_metric_history(run.info.run_id, 'classes_done')])"
    )
    assert drawn == "1.0 2.0"
    refused = project.python("train", "model=mine", "model.scal=3")
    assert refused.code == 2 and "scale" in refused.printed, refused.printed
    assert predicted(project, "input=data/raw/penguins.csv").height == 344


GATE = '''

def min_test_rows(limit: int, evidence: Evidence) -> GateResult:
    """Judged by at least `limit` test rows."""
    rows = evidence.evaluation.rows
    return GateResult("min_test_rows", rows >= limit, f"{rows} test rows judge it, and {limit} have to")
'''


def test_a_gate(project: Project) -> None:
    append(project, f"{PACKAGE}/gates.py", GATE)
    replace(
        project, f"{PACKAGE}/config.py", "    serving: bool\n", "    serving: bool\n    min_test_rows: int | None\n"
    )
    append(project, "conf/gate/default.yaml", "min_test_rows: null # so many test rows judge a candidate\n")
    assert_clean(project, f"{PACKAGE}/gates.py", f"{PACKAGE}/config.py", "conf/gate/default.yaml")
    champion(project)
    other = project.python(*SMALL, "model.n_estimators=11", "gate.min_test_rows=1000")
    assert "71 test rows judge it, and 1000 have to" in other.printed, other.printed
    assert f"{NAME}-penguins version 2 is challenger" in other.lines
    again = project.python(*SMALL, "gate.min_test_rows=10")
    assert again.code == 0 and re.findall(r"^(\w+) .*\(\d+\.\d s, .*\)$", again.printed, re.M) == ["register"]


STAGE = '''"""The candidate's probabilities, calibrated on the validation rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from ..machinery import jobs
from ..machinery.data import derivation, frames
from ..machinery.evaluation import estimators
from ..machinery.mlflow import model_format
from ..machinery.result import StageResult
from ..training import PACKAGE

if TYPE_CHECKING:
    from ..machinery.config.schema import Columns, Objective
    from ..machinery.pipeline.store import Store


def calibrate(store: Store, *, columns: Columns, task: Objective) -> StageResult:
    """Fits a sigmoid to what the candidate answers for rows that it was not trained on; saves both as the model."""
    fitted, target = model_format.load(store.model), columns.target or ""
    sides = {side: rows for (side,), rows in store.table("split").collect().partition_by("split", as_dict=True).items()}
    rows = sides["validation"]
    frame, truth = fitted.frame(rows), frames.target(rows, target, kind=task.kind)
    *steps, (name, estimator) = fitted.pipeline.steps
    calibrated = CalibratedClassifierCV(FrozenEstimator(estimator), method="sigmoid")
    calibrated.fit(fitted.pipeline[:-1].transform(frame), truth)
    made = replace(fitted, pipeline=Pipeline([*steps, (name, calibrated)]))
    example = frames.masked(derivation.typed(rows.head(3), fitted.inputs).to_pandas(), columns.sensitive)
    folder = store.path("calibrate") / "model"
    model_format.save(made, folder, example=example, package=PACKAGE)
    about = {"columns": columns, "task": task, "sensitive": columns.sensitive, "example": example}
    for file, text in jobs.model_files(made, sides, **about).items():  # what `monitor` wants to lie with a model
        store.replace(folder / file, text)
    digest = estimators.digest(made.pipeline, frame, data=store.outcome("split").dataset)
    return StageResult(f"on {len(rows)} validation rows", model=digest)
'''
ENTRY = """
  # probabilities that come true as often as they say; -P split.validation=0.15
  calibrate:
    command: python -m penguin_classifier calibrate
"""


def test_a_stage(project: Project) -> None:
    append(project, f"{PACKAGE}/stages/calibrate.py", STAGE)
    replace(project, f"{PACKAGE}/stages/__init__.py", '"train", "evaluate"', '"train", "calibrate", "evaluate"')
    append(project, "MLproject", ENTRY)
    assert_clean(project, f"{PACKAGE}/stages/calibrate.py", f"{PACKAGE}/stages/__init__.py", "MLproject")
    words = [*SMALL, "split.validation=0.2"]
    alone = project.mlflow("-e", "calibrate", *(part for word in words for part in ("-P", word)))
    assert alone.code == 0, alone.printed
    ran = re.findall(r"^(\w+) .*\(\d+\.\d s, .*\)$", alone.printed, re.M)
    assert ran == [*STAGES[:4], "calibrate"], alone.printed
    done = project.python(*words)
    assert done.code == 0 and f"{NAME}-penguins version 1 is champion" in done.lines, done.printed
    assert project.python(*words).printed.startswith("register is up to date: ")
    kind = project.ask(f"print(type(mlflow.sklearn.load_model('models:/{NAME}-penguins@champion')[-1]).__name__)")
    assert kind == "CalibratedClassifierCV"
    assert predicted(project, "input=data/raw/penguins.csv").height == 344
    monitored = project.python("monitor", "input=data/raw/penguins.csv")
    assert monitored.code == 0, monitored.printed

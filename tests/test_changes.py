"""The changes that a project's pages describe, each made in a project of its own as it says, in the files that it
names: style and types stay clean, and the next command does what was wanted."""

import json
import os
import random
import re
import signal
import sqlite3
import time
import urllib.request

import polars as pl
import pytest
from conftest import FOLDER, Project, served
from test_projects import NAME, QUICK, STAGES

pytestmark = pytest.mark.slow

SMALL = ["model=forest", "model.n_estimators=10", *QUICK]
RAW = ["species", "island", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
PACKAGE = "penguin_classifier"
METRICS = f"{PACKAGE}/metrics.py"
PAGES = "".join(path.read_text() for path in (FOLDER / "README.md", *(FOLDER / "docs").glob("*.md")))
PAGES = PAGES.replace("<< cookiecutter.package_name >>", PACKAGE)


@pytest.fixture
def project(checked: Project) -> Project:
    """A fresh project."""
    return checked


def example(start: str) -> str:
    """The block of code on the pages that begins with `start`."""
    [block] = [each for each in re.findall(r"(?ms)^```\w*\n(.*?)^```", PAGES) if each.startswith(start)]
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
    """Once from the command line, then in the dataset's file as the pages have it; raw rows go in at every door."""
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
    [named] = re.findall(r"`(bill_area: \{_target_: .*?\})`", PAGES)
    append(project, "conf/data/penguins.yaml", f"\nfeatures:\n  derive:\n    {named}\n")
    assert_clean(project, f"{PACKAGE}/features.py", "conf/data/penguins.yaml")
    champion(project)
    assert importances(project) == {*RAW, "bill_area"}
    table = predicted(project, "input=data/raw/penguins.csv")
    answers = table.select("prediction", "probability", "threshold").to_dicts()
    replace(project, f"{PACKAGE}/features.py", "pl.col(length) * pl.col(depth)", "pl.col(length) * 0")
    again = predicted(project, "input=data/raw/penguins.csv")
    assert again.select("prediction", "probability", "threshold").to_dicts() == answers  # by the function of its day
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


def test_the_source_with_a_history(project: Project) -> None:
    """The pages' line, and its command for new rows."""
    chance = random.Random(3)
    customers, orders = ["customer_id,age,left"], ["customer_id,amount"]
    for each in range(300):
        amount = chance.gauss(20, 5)
        customers.append(f"c{each},{chance.randint(18, 80)},{'yes' if amount + chance.gauss(0, 1) < 20 else 'no'}")
        orders += [f"c{each},{amount + chance.gauss(0, 1):.2f}" for _ in range(each % 4)]
    append(project, "customers.csv", "\n".join(customers) + "\n")
    append(project, "orders.csv", "\n".join(orders) + "\n")
    head = "# @package _global_\ndefaults:\n  - /task: binary\n\n"
    columns = "\ncolumns:\n  target: left\n  key: [customer_id]\n"
    append(project, "conf/data/customers.yaml", head + example("source: {_target_") + columns)
    assert_clean(project, "conf/data/customers.yaml", "customers.csv", "orders.csv")
    champion(project, "data=customers", data="customers")
    assert importances(project) == {"age", "history_rows", "mean_amount"}
    append(project, "new.csv", "\n".join(customers[:21]) + "\n")
    [typed] = re.findall(r"`-e (predict -P source\.table.*?)`", PAGES)
    command, *words = [word for word in typed.split() if word != "-P"]
    answers = [project.python(command, *words, "data=customers"), project.python("monitor", "data=customers")]
    other = [word for word in words if word.startswith("source.")]
    answers.append(project.python("monitor", *other, "data=customers"))
    assert [each.code for each in answers] == [0, 0, 0], [each.printed for each in answers]
    table = pl.read_parquet(project.path / "scores.parquet")
    assert table.columns == ["customer_id", "prediction", "probability", "threshold"] and table.height == 20
    assert table.equals(predicted(project, "data=customers").head(20))  # the same rows of the table that it has


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


def test_the_metric_of_the_readme(project: Project) -> None:
    """`profit`, its floor, and the threshold at which it is best; and one of probabilities."""
    replace(project, METRICS, "import numpy as np\n", "import numpy as np\nfrom sklearn.metrics import make_scorer\n")
    append(project, METRICS, "\n\n" + example("def sharpness("))
    assert_clean(project, METRICS)
    [metrics] = re.findall(r'`-P "(task\.metrics=\[\w+\.metrics\.profit,.*?\])"`', PAGES)
    [threshold] = re.findall(r"`-P\s(task\.threshold=\w+\.metrics\.profit) -P split\.validation=0\.15`", PAGES)
    [floor] = re.findall(r"`-P (gate\.min_scores\.profit=[\d.]+)`", PAGES)
    both = metrics.replace("]", f",{PACKAGE}.metrics.sharp]")
    lines = champion(project, both, floor, threshold, "split.validation=0.15")
    assert any(re.match(r"  sharp  +-0\.\d{4} ", line) for line in lines), lines
    assert any(re.match(r"evaluate  profit \d+\.\d{4} ", line) for line in lines), lines
    assert any(re.search(r"profit \d+\.\d{4} reaches ", line) for line in lines), lines
    [file] = project.path.glob("outputs/train/*/outcome.json")
    assert 0 < json.loads(file.read_text())["outcome"]["scores"]["threshold"] < 1
    failed = project.python(*SMALL, metrics, "gate.min_scores.profit=30")
    assert re.search(r"profit \d+\.\d{4} is below 30", failed.printed), failed.printed


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


LONG = '''

class Descent(ClassifierMixin, BaseEstimator):
    """Two classes on two sides of a plane, which goes downhill for `steps` steps, each after a `pause` in seconds."""

    def __init__(self, steps: int = 100, pause: float = 0.0) -> None:
        self.steps = steps
        self.pause = pause

    def fit(self, X: np.ndarray, y: np.ndarray, progress: Callable[..., None], workspace: Path) -> Descent:
        """Itself; what an attempt before this one kept in `workspace` it goes on from."""
        self.classes_, sides = np.unique(y, return_inverse=True)
        self.weights_, begin, kept = np.zeros(X.shape[1]), 0, workspace / "kept.json"
        if kept.exists():
            begin, weights = json.loads(kept.read_text())
            self.weights_ = np.array(weights)
        for step in range(begin, self.steps):
            time.sleep(self.pause)
            off = self.predict_proba(X)[:, 1] - sides
            self.weights_ -= X.T @ off / len(X)
            progress(step, loss=float((off**2).mean()))
            (workspace / "new.json").write_text(json.dumps([step + 1, self.weights_.tolist()]))
            (workspace / "new.json").replace(kept)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """The probability of each class (n, 2) for the rows (n, d)."""
        yes = 1 / (1 + np.exp(-(X @ self.weights_)))
        return np.stack([1 - yes, yes], axis=1)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """The likelier class (n,) for the rows (n, d)."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]
'''


def curve(project: Project) -> dict[str, list[int]]:
    """The steps of `loss` in the embedded store, by run, as they stand there now."""
    steps: dict[str, list[int]] = {}
    if (project.path / "mlflow.db").exists():
        with sqlite3.connect(f"file:{project.path / 'mlflow.db'}?mode=ro", uri=True, timeout=30) as store:
            try:
                rows = store.execute("SELECT run_uuid, step FROM metrics WHERE key = 'loss' ORDER BY step").fetchall()
            except sqlite3.OperationalError:  # its tables are being made
                rows = []
        for run, step in rows:
            steps.setdefault(run, []).append(step)
    return steps


def test_a_model_that_trains_for_long(project: Project) -> None:
    """Its curve is there while it runs; after a kill the same command goes on from what it kept."""
    models = f"{PACKAGE}/models.py"
    append(project, models, LONG)
    replace(
        project,
        models,
        "from typing import Any\n\n",
        "import json\nimport time\nfrom collections.abc import Callable\nfrom pathlib import Path\n"
        "from typing import Any\n\nimport numpy as np\n",
    )
    replace(project, models, "import is_classifier\n", "import BaseEstimator, ClassifierMixin, is_classifier\n")
    append(project, "conf/model/mine.yaml", f"_target_: {PACKAGE}.models.Descent\nsteps: 40\npause: 0.1\n")
    assert_clean(project, models, "conf/model/mine.yaml")
    words = ["model=mine", *QUICK]
    process = project.start(*words)
    until = time.monotonic() + 120
    while not (seen := [steps for steps in curve(project).values() if len(steps) >= 10]):
        assert time.monotonic() < until, "no curve while it runs"
        time.sleep(0.2)
    os.kill(process, signal.SIGKILL)
    assert project.end(process).code == -signal.SIGKILL and len(seen[0]) < 40
    done = project.python(*words)
    assert done.code == 0 and f"{NAME}-penguins version 1 is champion" in done.lines, done.printed
    killed, whole = sorted(curve(project).values())
    assert killed == [*range(len(killed))] and whole == [*range(whole[0], 40)]
    assert whole[0] in (len(killed) - 1, len(killed))  # the last step may have been drawn, but not kept yet
    assert predicted(project, "input=data/raw/penguins.csv").height == 344


GATE = '''

def min_test_rows(limit: int, evidence: Evidence) -> GateResult:
    """Judged by at least `limit` test rows."""
    rows = evidence.evaluation.rows
    return GateResult("min_test_rows", rows >= limit, f"{rows} test rows judge it, and {limit} have to")
'''


def test_a_gate(project: Project) -> None:
    append(project, f"{PACKAGE}/gates.py", GATE)
    alone = project.python("train")
    assert alone.code == 2 and "gates.min_test_rows is called by nobody" in alone.printed, alone.printed
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
    replace(project, f"{PACKAGE}/gates.py", "def min_test_rows", "def _min_test_rows")
    alone = project.python("train")
    assert alone.code == 2 and "gates.py has no function min_test_rows" in alone.printed, alone.printed


STAGE = '''"""The candidate's probabilities, calibrated on the validation rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from ..machinery import jobs
from ..machinery.data import frames, splits
from ..machinery.mlflow import model_format
from ..machinery.result import StageResult
from ..training import PACKAGE, TABLE

if TYPE_CHECKING:
    from ..machinery.config.schema import Columns, Objective
    from ..machinery.pipeline.store import Store


def calibrate(store: Store, *, columns: Columns, task: Objective) -> StageResult:
    """Fits a sigmoid to what the candidate answers for rows that it was not trained on; saves both as the model."""
    fitted, target = model_format.load(store.model), columns.target or ""
    sides = splits.Sides(store.table(TABLE))
    rows = sides["validation"]
    frame, truth = fitted.frame(rows), frames.target(rows, target, kind=task.kind)
    *steps, (name, estimator) = fitted.pipeline.steps
    calibrated = CalibratedClassifierCV(FrozenEstimator(estimator), method="sigmoid")
    calibrated.fit(fitted.pipeline[:-1].transform(frame), truth)
    made = replace(fitted, pipeline=Pipeline([*steps, (name, calibrated)]))
    where = {"stage": "calibrate", "table": TABLE, "package": PACKAGE}
    digest = jobs.save_model(made, store, sides, columns=columns, task=task, **where)
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

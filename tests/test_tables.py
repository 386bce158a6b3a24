"""Tables that nobody prepared: real ones go from file to registered model, any one works or is refused in a sentence."""

import importlib.resources
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import Project, bake, settings
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

pytestmark = pytest.mark.slow


class Driver:
    """A process that runs one command line of a project after the other."""

    def __init__(self, project: Project) -> None:
        self.project = project
        known = settings(PYTHONPATH=str(Path(__file__).parent), PYTHONDONTWRITEBYTECODE="1")
        self.process = subprocess.Popen(
            [str(project.environment / "bin/python"), str(Path(__file__).parent / "driver.py"), project.package],
            cwd=project.path,
            env=known,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def do(self, *words: str | None) -> tuple[int, str]:
        """Exit code and output of a command line."""
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        return tuple(json.loads(self.process.stdout.readline()))


@pytest.fixture(scope="module")
def driver(environment, tmp_path_factory):
    made = Driver(Project(bake(tmp_path_factory.mktemp("tables")), environment))
    yield made
    made.process.kill()


# --- Real tables: package, file, target. Nothing else is typed.

TABLES = [
    ("sklearn", "datasets/data/iris.csv", "column_4"),
    ("palmerpenguins", "data/penguins.csv", "species"),
]


@pytest.mark.parametrize(("package", "file", "target"), TABLES, ids=[Path(file).stem for _, file, _ in TABLES])
def test_a_real_table_becomes_a_model_as_good_as_plain_boosting(package, file, target, driver, tmp_path):
    path = Path(str(importlib.resources.files(package))) / file
    name = path.name.partition(".")[0]
    code, printed = driver.do("profile", f"path={path}", f"target={target}", f"name={name}")
    assert code == 0, printed
    code, printed = driver.do(f"data={name}", "evaluation.importance_repeats=0")
    assert code == 0, printed
    assert re.search(rf"{name} version 1 is (champion|challenger)", printed)
    written = yaml.safe_load((driver.project.path / f"conf/data/{name}.yaml").read_text())
    task = next(each["/task"] for each in written["defaults"] if "/task" in each)
    metric = {"binary": "roc_auc", "multiclass": "accuracy", "regression": "r2"}[task]
    outputs = str(driver.project.path / "outputs")
    code, printed = driver.do("rival", outputs, target, metric, written.get("task", {}).get("positive"))
    assert code == 0, printed
    found = json.loads(printed)
    with (Path(__file__).parents[1] / ".cache/tables.jsonl").open("a") as file:  # what README's table is made of
        file.write(json.dumps({"package": package, "table": name, "target": target, "task": task, **found}) + "\n")
    chance = 1.5 / found["test"] ** 0.5  # few test rows tell little
    assert found["ours"] >= found["theirs"] - min(0.1, 0.3 * chance), found

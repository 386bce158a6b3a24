"""platform=databricks: names, tags and searches as Unity Catalog takes them; the bundle of its jobs."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import Project, bake, locked, served, settings
from databricks.bundles.jobs import Job
from unity_catalog import UNITY, Workspace

MODEL = "ml.churn.penguin-classifier-penguins"
QUICK = ("evaluation.resamples=0", "evaluation.importance_repeats=0", "columns.key=[]")
CATALOG = "ml.churn"
PLACE = ("platform=databricks", f"platform.catalog={CATALOG}")
RUNTIME = """
import json, sys
from types import SimpleNamespace
values = SimpleNamespace(set=lambda **value: open({!r}, "w").write(json.dumps(value)))
dbutils = SimpleNamespace(jobs=SimpleNamespace(taskValues=values))
sys.modules["databricks.sdk.runtime"] = SimpleNamespace(dbutils=dbutils)
"""
# Twenty-four changes of an alias, with long reasons, and what is remembered of them
FLIPS = """
import mlflow
from penguin_classifier.machinery.mlflow import aliases, registry, run_history
from penguin_classifier.machinery.errors import ProjectError
name = "ml.churn.penguin-classifier-penguins"
for turn in range(12):
    old, new = "12" if turn % 2 == 0 else "21"
    aliases.promote(name, new, over=old, who="ana", why="slow. " * 400)
changes = aliases.history(name)
assert [each.number for each in changes] == list(range(changes[0].number, changes[0].number - len(changes), -1))
print(len(changes), changes[0].alias, changes[0].new, changes[0].who)
version = registry.version(name, "2")
assert version.noted.rolled_back and len(version.noted.reason) > 1000
registry.note(version, registry.approval_tags(version, who="ana", why="again"))
again = registry.version(name, "2").noted
assert (again.rolled_back, again.reason) == ("", "again")
try:
    run_history.versions(held=True)
except ProjectError as error:
    assert "delete old ones in its own pages" in str(error)
version = registry.version(name, "1")
print(version.noted.trained.by, version.noted.gate, version.noted.scores.rows)
"""
# The champion with feature tables, logged by a client that takes what Databricks' takes and does the same with it
FEATURES = """
import sys, mlflow
sys.path.insert(0, "deploy/databricks")
import features
from mlflow.models import Model
taken = {taken}
class Client:
    def create_training_set(self, **given):
        assert set(given) <= taken["create_training_set"], given
        return given
    def log_model(self, **given):
        assert set(given) <= taken["log_model"], given
        flavor, made = given["flavor"], Model()
        assert flavor.FLAVOR_NAME != "python_function" and flavor.__name__
        flavor.save_model(given["model"], "raw", mlflow_model=made)
        one, other = map(mlflow.pyfunc.load_model, ("raw", "models:/{model}@champion"))
        same = one.predict(one.input_example).equals(other.predict(one.input_example))
        print(same, *made.flavors, given["registered_model_name"], given["training_set"])
def lookup(**given):
    assert set(given) <= taken["__init__"], given
    return tuple(given.values())
features.log(Client(), lookup, "rows", model="{model}", label="sex", tables={{"main.default.sizes": ["island"]}})
"""


@pytest.fixture(scope="session")
def taken() -> dict[str, set[str]]:
    """The arguments that Databricks' client for feature tables takes, by method; read and not imported, for it installs
    beside no MLflow of today."""
    with locked("feature-engineering-0.18.2") as folder:
        if not (folder / "databricks").exists():
            words = ["--no-deps", "--target", str(folder), "databricks-feature-engineering==0.18.2"]
            subprocess.run(["uv", "pip", "install", "--quiet", *words], env=settings(), check=True)
    files = ("feature_engineering/client.py", "ml_features/entities/feature_lookup.py")
    nodes = [node for file in files for node in ast.walk(ast.parse((folder / "databricks" / file).read_text()))]
    wanted = ("create_training_set", "log_model", "__init__")
    found = [node for node in nodes if isinstance(node, ast.FunctionDef) and node.name in wanted]
    return {node.name: {each.arg for each in (*node.args.args, *node.args.kwonlyargs)} for node in found}


@pytest.fixture
def runtime(tmp_path: Path) -> dict[str, str]:
    """The environment of a task: what Databricks has, by which it gives a value to the next one."""
    (tmp_path / "runtime").mkdir()
    (tmp_path / "runtime/sitecustomize.py").write_text(RUNTIME.format(str(tmp_path / "values.json")))
    return {"PYTHONPATH": str(tmp_path / "runtime")}


def bundle(project: Path) -> dict:
    return yaml.safe_load((project / "deploy/databricks/databricks.yml").read_text())


def words(project: Path, job: str, task: str, **typed: str) -> list[str]:
    """The parameters of a task as a workspace fills them in; `typed` are those of the job."""
    made = bundle(project)
    known = {f"var.{name}": each["default"] for name, each in made["variables"].items()}
    known |= {"workspace.file_path": str(project), "bundle.git.commit": "4f1c22a", "job.run_id": "7"}
    known |= {
        f"job.parameters.{each['name']}": each["default"]
        for each in made["resources"]["jobs"][job].get("parameters", ())
    }
    known |= {f"job.parameters.{name}": text for name, text in typed.items()}
    [task] = [each for each in made["resources"]["jobs"][job]["tasks"] if each["task_key"] == task]
    fill = re.compile(r"\$\{([\w.]+)\}|\{\{([\w.]+)\}\}")
    texts = task["spark_python_task"]["parameters"]
    return [
        fill.sub(lambda match: known[match[1] or match[2]], fill.sub(lambda match: known[match[1] or match[2]], text))
        for text in texts
    ]


def test_the_bundle_is_what_databricks_takes(tmp_path):
    """Each job by Databricks' own strict classes; what its bundle names is there."""
    project = bake(tmp_path, deploy="databricks")
    made = bundle(project)
    for word in ("check", "format"):
        assert (
            subprocess.run(
                [sys.executable, "-m", "ruff", word, *["--check"] * (word == "format")], cwd=project
            ).returncode
            == 0
        )
    assert set(made) == {"bundle", "sync", "variables", "targets", "resources"}
    assert set(made["targets"]) == {"dev", "staging", "prod"} and set(made["resources"]["jobs"]) == {
        "train",
        "deploy",
        "predict",
        "monitor",
    }
    for job in made["resources"]["jobs"].values():
        assert Job.from_dict(job).as_dict()["name"] == job["name"]
        with pytest.raises(Exception, match="tasc"):
            Job.from_dict(job | {"tasc": []})
        keys = [task["task_key"] for task in job["tasks"]]
        for task in job["tasks"]:
            assert {each["task_key"] for each in task.get("depends_on", ())} <= set(keys)
            if "spark_python_task" in task:
                assert (project / "deploy/databricks" / task["spark_python_task"]["python_file"]).is_file()
                assert task["environment_key"] in [each["environment_key"] for each in job["environments"]]
    text = (project / "deploy/databricks/databricks.yml").read_text()
    assert set(re.findall(r"\$\{var\.(\w+)\}", text)) == set(made["variables"])
    for target in made["targets"].values():
        assert set(target) <= {"default", "mode", "variables"} and set(target.get("variables", ())) <= set(
            made["variables"]
        )


@pytest.mark.slow
def test_the_line_promotion_and_rollback_keep_the_rules_of_unity_catalog(environment, runtime, taken, tmp_path):
    """MLflow's own client, in a workspace that refuses what Unity Catalog does and keeps things on a real server."""
    project = Project(bake(tmp_path / "project", deploy="databricks"), environment)
    assert (done := project.python("explain", *PLACE, "registered_model=churn", **runtime)).code == 2
    assert done.lines[-1].endswith(
        "churn: names in Unity Catalog are catalog.schema.model, without spaces: platform.catalog=main.default"
    )
    store = ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db", "--default-artifact-root", f"{tmp_path}/files"]
    with (
        served(project, "mlflow", "server", "--port", "{port}", *store, path="/health") as address,
        Workspace(address, tmp_path / "catalog") as workspace,
    ):
        here = runtime | workspace.environment()

        def run(*words: str) -> str:
            done = project.python(*words, *PLACE, **here)
            assert done.code == 0, done.printed
            return done.printed

        def task(job: str, key: str, *more: str, **typed: str) -> str:
            """What a job's task prints, its parameters as in the bundle but for folders of this machine."""
            places = [f"platform.catalog={CATALOG}", f"platform.outputs={tmp_path}/outputs", *more]
            given = [
                each
                for each in words(project.path, job, key, **typed)
                if each.partition("=")[0] not in {each.partition("=")[0] for each in places}
            ]
            done = project.run("python", "deploy/databricks/run.py", *given, *places, **here)
            assert done.code == 0, done.printed
            return done.printed

        said = task("train", "register", "model=logistic", *QUICK)
        assert f"{MODEL} version 1: champion" in said and "Tracing" not in said
        assert f"look: {workspace.host}/ml/experiments/" in said
        done = project.fork("-c", FEATURES.format(taken=taken, model=MODEL), **here)
        assert done.code == 0, done.printed
        looked_up = "{'df': 'rows', 'feature_lookups': [('main.default.sizes', ['island'])], 'label': 'sex'}"
        assert done.lines[-1] == f"True python_function sklearn {MODEL}_by_key {looked_up}", done.printed
        assert f"{MODEL} version 2: challenger" in run("register", "model=dummy", *QUICK)
        assert "registered before as the same model" in run("register", "model=logistic", "card.contact=ana", *QUICK)
        said = "tried. " * 300
        assert "version 2 is champion, approved by ana" in run("promote", "version=2", "approver=ana", f"reason={said}")
        assert "version 1 is champion again" in run("rollback", "approver=bo", "reason=wrong prices: see mail, p. 2 ")
        rows = f"input={project.path}/data/raw/penguins.csv"
        assert f"by {MODEL} version 1" in task("predict", "predict", rows, f"output={tmp_path}/out.csv")
        assert "no drift" in task("monitor", "monitor", rows)
        assert json.loads((tmp_path / "values.json").read_text()) == {"key": "exit_code", "value": "0"}
        copy = "environments.production.registered_model=prod.churn.penguins"
        said = task("deploy", "promote", "model=logistic", *QUICK, copy, version="1", approver="ana")
        assert "version 1 is prod.churn.penguins version 1: champion" in said
        done = project.fork("-c", FLIPS, **here)
        assert done.code == 0, done.printed
        changes, alias, *_ = done.lines[-2].split()
        assert int(changes) <= 24 and alias in ("champion", "previous", "challenger")
        assert done.lines[-1].split()[:2] == ["hash", "passed"]
        assert f"POST {UNITY}model-versions/finalize" in workspace.asked
        code = "import mlflow; print(*sorted(each.name for each in mlflow.search_experiments()))"
        named = project.fork("-c", code, **here).lines[-1]
        place = "/Shared/penguin-classifier_ml_penguins"
        assert named == f"{place} {place}-monitoring Default"

"""What users do with a generated project, done: real stores, real validation, real environments, real HTTP."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import polars as pl
import pytest
import yaml
from conftest import FOLDER, Driver, Project, bake, remember_types, served, settings

pytestmark = pytest.mark.slow

NAME = "penguin-classifier"
STAGES = ["ingest", "validate", "split", "train", "evaluate", "register"]
QUICK = ["evaluation.importance_repeats=0", "evaluation.resamples=20", "evaluation.slices=[]", "tracking.sample_rows=0"]
ODD = 'Größe & "Co" 🐧 it\'s: #1'


def records(outputs: Path) -> dict[str, dict]:
    """The newest record of each stage below an outputs folder."""
    found = sorted(outputs.glob("*/*/outcome.json"), key=lambda path: path.stat().st_mtime)
    return {path.parts[-3]: json.loads(path.read_text()) for path in found}


def last_run(project: Project, stage: str) -> dict:
    """Status, tags, params and experiment of the newest command `stage` in the embedded store."""
    code = f"""
import json
runs = [run for run in client.search_runs(["0"], "tags.stage = '{stage}'") if "mlflow.parentRunId" not in run.data.tags]
print(json.dumps(runs[0].to_dictionary() | {{"experiment": client.get_experiment("0").name}}))
"""
    return json.loads(project.ask(code))


# --- Each answer of each question but the defaults (the workflow's steps run those): linted, type-checked and tested


@pytest.mark.parametrize(
    "answers",
    [
        {
            "task": "regression",
            "environment": "conda",
            "ci": "none",
            "license": "Proprietary",
            "python_version": "3.12",
            "project_slug": "2024",
            "package_name": "p",
        },
        {
            "project_name": ODD,
            "project_slug": "odd.name_1",
            "package_name": "a_package_name_that_is_exactly_fifty_letters_long1",
            "description": ODD + r" \ C:\new",
            "author": ODD + " / R&D",
            "license": "Apache-2.0",
            "python_version": "3.13",
        },
        {"license": "BSD-3-Clause", "task": "regression", "package_name": "zebra"},
    ],
    ids=["regression conda", "odd names", "regression uv"],
)
def test_every_other_answer_lints_type_checks_and_passes_its_tests(answers, environment, tmp_path):
    """The last differs from the first by its environment alone, which no test of its own looks at."""
    project = remember_types(Project(bake(tmp_path, **answers), environment))
    files = ("config", "line") if answers.get("task") else ("config", "features", "gates", "models")
    some = [f"tests/test_{name}.py" for name in files]  # the others know no answer
    for words in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]):
        done = project.run(*words)
        assert done.code == 0, done.printed
    if "python_version" in answers:
        done = project.fork("pytest", "-q", "-p", "no:cacheprovider", *some)
        assert done.code == 0, done.printed
    assert project.run("git", "status", "--porcelain").printed == "", "the tests left files behind"


def test_make_format_mends_a_long_line_where_nothing_else_can(fresh):
    file = fresh.path / fresh.package / "metrics.py"
    file.write_text(
        file.read_text() + "\n\nLONG = [" + ", ".join(f"'word number {at}'" for at in range(20)) + "]\nl = 1\n"
    )
    done = fresh.run("make", "format", UV_NO_SYNC="1", UV_PROJECT_ENVIRONMENT=str(fresh.environment))
    assert done.code == 0 and max(map(len, file.read_text().splitlines())) <= 120, done.printed


@pytest.mark.parametrize("python", ["3.12", "3.13"])
def test_types_tests_and_the_line_under_the_other_pythons(python, tmp_path):
    """Stubs and libraries are other ones there: NumPy's, XGBoost's."""
    project = Project(bake(tmp_path, python_version=python), tmp_path / "environment")
    where = {"UV_PROJECT_ENVIRONMENT": str(project.environment)}
    made = project.run("uv", "lock", "--quiet", **where)
    assert made.code == 0, made.printed
    made = project.run("uv", "sync", "--quiet", "--python", python, **where)
    if made.code and "No interpreter found" in made.printed:
        pytest.skip(f"this machine has no Python {python}")
    assert made.code == 0, made.printed
    some = ["tests/test_config.py", "tests/test_models.py", "tests/test_features.py"]
    for words in (["ruff", "check"], ["mypy"]):
        done = project.run(*words)
        assert done.code == 0, done.printed
    done = project.fork("pytest", "-q", "-p", "no:cacheprovider", *some)
    assert done.code == 0, done.printed
    done = project.python(*QUICK)
    assert done.code == 0 and "is champion" in done.printed, done.printed


# --- The commands of the README


def test_the_main_job_and_what_it_prints(fresh):
    done = fresh.run("mlflow", "run", ".", "--env-manager", "local")
    assert done.code == 0, done.printed
    ours = [line for line in done.lines if not re.match(r"\d{4}/\d\d/\d\d .* INFO mlflow\.(projects|store)", line)]
    assert [line.split()[0] for line in ours[:6]] == STAGES, done.printed
    assert all(re.search(r"\(\d+\.\d s, first run\)$", line) for line in ours[:6])
    assert "gate passed: " in done.printed and f"{NAME}-penguins version 1 is champion" in done.lines
    page = "http://localhost:5000/#/experiments/0/runs?workflowType=machine_learning"
    assert ours[-1] == f"look: uv run mlflow ui, and all runs at {page}"
    assert len(ours) < 22 and not re.search("Warning|INFO|DEBUG", "\n".join(ours)), done.printed


def test_other_values_reach_the_run(default):
    done = default.mlflow("-P", "model=logistic", "-P", "split.test=0.3", "-P", "seed=7")
    assert done.code == 0, done.printed
    run = last_run(default, "register")
    assert run["info"]["status"] == "FINISHED" and run["experiment"] == NAME
    params = run["data"]["params"]
    assert (params["model"], params["split.test"], params["seed"]) == ("logistic", "0.3", "7")
    assert re.fullmatch(r"logistic-penguins-[0-9a-f]{8}", run["info"]["run_name"])
    assert run["data"]["tags"]["git.branch"] == "main" and len(run["data"]["tags"]["git.commit"]) == 40


@pytest.mark.parametrize("data", ["breast_cancer", "diabetes", "digits", "penguins_mass"])
def test_every_dataset_has_a_champion_of_its_own(default, data):
    done = default.python(f"data={data}", "evaluation.importance_repeats=1")
    assert done.code == 0 and f"{NAME}-{data} version 1 is champion" in done.lines, done.printed


def test_the_ui_shows_runs_and_models(default):
    default.python()
    with served(default, "mlflow", "ui", "--port", "{port}") as address:
        page = urllib.request.urlopen(address).read().decode()
        assert "<title>MLflow</title>" in page
        body = json.dumps({"experiment_ids": ["0"]}).encode()
        url = f"{address}/api/2.0/mlflow/runs/search"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        assert json.load(urllib.request.urlopen(request))["runs"]


SMALL = [part for word in ["model=logistic", *QUICK] for part in ("-P", word)]


@pytest.mark.parametrize("manager", ["uv", "virtualenv"])
def test_isolated_environments(fresh, manager):
    if manager == "virtualenv":
        if not shutil.which("pyenv"):
            pytest.skip("the virtualenv manager needs pyenv, which this machine has not")
        patch = ".".join(map(str, sys.version_info[:3]))  # pyenv would look for the newest patch of 3.11
        for name in ("python_env.yaml", ".python-version"):
            path = fresh.path / name
            path.write_text(re.sub(r"\b3\.11\b", patch, path.read_text()))
        made = fresh.run("uv", "pip", "install", "--quiet", "virtualenv", "--target", str(fresh.path / ".tools"))
        assert made.code == 0, made.printed
    tools = fresh.path / ".tools"
    paths = {"PYTHONPATH": str(tools)} if tools.exists() else {}
    more = {"MLFLOW_ENV_ROOT": str(fresh.path.parent / "environments"), **paths}
    path = os.pathsep.join([str(fresh.environment / "bin"), str(tools / "bin"), settings()["PATH"]])
    if tools.exists():
        more["PATH"] = path
    for stage in ["split", "main"] if manager == "uv" else ["main"]:
        done = fresh.mlflow("-e", stage, *SMALL, manager=manager, **more)
        assert done.code == 0, done.printed
    assert f"{NAME}-penguins version 1 is champion" in done.lines


def test_the_conda_environment_as_uv_makes_it(environment, tmp_path):
    project = Project(bake(tmp_path / "conda", environment="conda"), environment)
    assert "conda_env: conda.yaml" in (project.path / "MLproject").read_text()
    done = project.mlflow(*SMALL, manager="uv", MLFLOW_ENV_ROOT=str(tmp_path / "environments"))
    assert done.code == 0 and f"{NAME}-penguins version 1 is champion" in done.lines, done.printed


def test_another_folder_and_a_git_address(fresh, tmp_path):
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    table = (fresh.path / "data/raw/penguins.csv").read_text().splitlines()
    (elsewhere / "Data (final).csv").write_text("\n".join(table[:200]) + "\n")
    words = ["-e", "split", "-P", "source.source=Data (final).csv"]
    done = fresh.mlflow(*words, uri=str(fresh.path), folder=elsewhere)
    assert done.code == 0 and "199 rows x 8 columns" in done.printed, done.printed
    assert (elsewhere / "mlflow.db").exists() and not (fresh.path / "mlflow.db").exists()

    address = "https://git.invalid/team/penguins.git"
    git = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{fresh.path}.insteadOf", "GIT_CONFIG_VALUE_0": address}
    done = fresh.mlflow("-v", "main", *words, uri=address, folder=elsewhere, **git)
    assert done.code == 0 and "199 rows x 8 columns" in done.printed, done.printed


def test_a_table_with_awkward_names(fresh):
    rows = "\n".join(f"{i % 7},{'x' if i % 3 else ''},{i % 2}" for i in range(200))
    (fresh.path / "a=b (1).csv").write_text(f'"Amount, EUR",Größe,null\n{rows}\n')
    words = {"source.source": "a=b (1).csv", "columns.target": "'null'", "columns.drop": "[]", "expectations": "[]"}
    words |= {"task": "multiclass", "gate.min_scores": "{balanced_accuracy: -1}", "tags.owner": "O'Neil"}
    words |= {"evaluation.slices": "[]"}
    done = fresh.mlflow(*(part for key, value in words.items() for part in ("-P", f"{key}={value}")))
    assert done.code == 0 and "200 rows x 3 columns" in done.printed, done.printed
    assert last_run(fresh, "register")["data"]["tags"]["owner"] == "O'Neil"


# --- What runs leave


def test_tracking_on_a_server_in_its_own_experiment(fresh, tmp_path):
    store = f"sqlite:///{tmp_path / 'server.db'}"
    words = ["mlflow", "server", "--backend-store-uri", store, "--artifacts-destination", str(tmp_path / "artifacts")]
    with served(fresh, *words, "--port", "{port}") as address:
        server = {"MLFLOW_TRACKING_URI": address}
        done = fresh.python("platform=server", *QUICK, **server)
        assert done.code == 0 and f"{NAME}-penguins version 1 is champion" in done.lines, done.printed
        assert done.lines[-1].startswith(f"look: {address}/#/experiments/")
        done = fresh.mlflow("-e", "split", "-P", "seed=5", **server)
        assert f"MLFLOW_EXPERIMENT_NAME={NAME}" in done.printed
        done = fresh.mlflow("-e", "split", **server, MLFLOW_EXPERIMENT_NAME=NAME)
        assert done.code == 0 and "note:" not in done.printed, done.printed


def test_the_notebook_without_runs_says_how_to_make_one(fresh):
    done = fresh.run("jupyter", "execute", "notebooks/explore.ipynb")
    assert done.code != 0 and f"No finished runs of {NAME} yet: " in done.printed
    assert "`uv run mlflow run . --env-manager local` in the project's folder makes one" in done.printed


def test_the_page_of_great_expectations_reads_offline(default):
    default.python("validate")
    pages = [path.read_text() for path in (default.path / "outputs/validate").glob("*/expectations.html")]
    [page, *_] = [page for page in pages if "bill_length_mm" in page]
    assert not re.search(r"""(src|<link[^>]*href)=["']?https?:""", page)


# --- Determinism


MODELS = {
    "penguins": ["blend", "stack", "forest", "boosting", "lightgbm", "xgboost", "logistic", "dummy"],
    "diabetes": ["blend", "stack", "forest", "boosting", "lightgbm", "xgboost", "ridge"],
    "penguins task=anomaly gate.min_scores={}": ["isolation_forest", "local_outlier"],
}
MEMBERS = ["model.members.boosting.max_iter=30", "model.members.forest.n_estimators=30"]
SMALLER = {  # than they come: with more threads than cores boosting takes minutes, and bits differ in few trees as well
    "blend": MEMBERS,
    "boosting": ["model.max_iter=50"],
    "forest": ["model.n_estimators=50"],
    "lightgbm": ["model.n_estimators=50"],
    "stack": ["model.folds=2", *MEMBERS],
    "xgboost": ["model.n_estimators=50"],
}
MACHINES = [
    {"PYTHONHASHSEED": "1", "TZ": "Asia/Kolkata", "LANG": "C", "LC_ALL": "C", "POLARS_MAX_THREADS": "1"},
    {"PYTHONHASHSEED": "2", "TZ": "America/New_York", "LANG": "tr_TR.UTF-8", "LC_ALL": "", "POLARS_MAX_THREADS": "3"},
]
for number, threads in enumerate(("1", "4")):
    MACHINES[number] |= {f"{name}_NUM_THREADS": threads for name in ("OMP", "OPENBLAS", "MKL")}


def test_every_model_is_held_to_be_the_same_everywhere():
    files = {file.stem: yaml.safe_load(file.read_text()) for file in (FOLDER / "conf/model").glob("*.yaml")}
    networks = {"torch_mlp", "lightning", "keras"}  # see machinery/test_networks.py
    assert set(files) == {name for names in MODELS.values() for name in names} | networks
    assert not [name for name, model in files.items() if "_tolerance_" in model], "hold it to its tolerance below"


@pytest.mark.parametrize("data", MODELS)
def test_two_machines_give_the_same_to_the_last_bit(fresh, wider, tmp_path, data):
    """In two processes that differ in hash seed, threads, time zone, locale, folder, and row groups of the source."""
    fresh = Project(fresh.path, wider)
    rows = pl.read_csv(fresh.path / "data/raw/penguins.csv", null_values="NA")
    found = []
    for number, machine in enumerate(MACHINES):
        folder = tmp_path / str(number)
        folder.mkdir()
        rows.write_parquet(folder / "table.parquet", row_group_size=[50, 1000][number])
        source = f"source={{_target_: polars.scan_parquet, source: {folder}/table.parquet}}"
        sources = [source] if data.startswith("penguins") else []
        lines = [
            [
                "evaluate",
                *f"data={data}".split(),
                f"model={model}",
                *SMALLER.get(model, []),
                f"platform.outputs={folder}/{model}",
                *QUICK,
                *sources,
            ]
            for model in MODELS[data]
        ]
        python = {**machine, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        with Driver(fresh, folder=folder, **python) as driver:
            for words in lines:
                code, printed = driver.do(*words)
                assert code == 0, printed
        made = [records(folder / model) for model in MODELS[data]]
        found.append([(*map(table_of, each.values()), facts(each)) for each in made])
    assert found[0] == found[1]


def table_of(record: dict) -> str | None:
    return record["files"].get("table.parquet")


def facts(made: dict[str, dict]) -> tuple:
    return made["train"]["outcome"]["facts"]["digest"], made["evaluate"]["outcome"]["scores"]


# --- Wrong input


@pytest.fixture(scope="module")
def broken(environment, tmp_path_factory) -> Project:
    """A project for commands that fail, with tables that cannot serve."""
    project = Project(bake(tmp_path_factory.mktemp("broken")), environment)
    (project.path / "empty.csv").write_text("a,sex\n")
    (project.path / "nothing.csv").write_text("")
    (project.path / "one.csv").write_text("a,sex\n" + "".join(f"{i},male\n" for i in range(50)))
    (project.path / "few.csv").write_text("a,sex\n1,male\n2,female\n")
    return project


BARE = ["columns.drop=[]", "expectations=[]", "evaluation.slices=[]"]
WRONG = [
    (
        ["model=forest", "model.n_estimator=5"],
        "model.n_estimator: sklearn.ensemble.RandomForestClassifier has no such argument; did",
    ),
    (["sede=5"], "sede: there is no such key; did you mean seed?"),
    (["seed=soon"], "seed: value 'soon' of type 'str' could not be converted to Integer"),
    (["model=tree"], "model=tree: conf/model/ has no tree.yaml; it has blend, boosting, dummy, forest"),
    (["source.source=nowhere.csv"], "the source is not there: "),
    (["columns.target=wings"], "columns.target=wings: the table has no such column; it has species, island"),
    (["source.source=empty.csv"], "the source has no rows"),
    (["source.source=nothing.csv"], "the source cannot be read: "),
    (["source.source=one.csv", *BARE], "one class only (male)"),
    (["source.source=few.csv", *BARE], "it takes more rows, or a larger share"),
    (["source.source=few.csv", *BARE[:2]], "evaluation.slices=species: the table has no such column; it has a, sex"),
    (["source.source=few.csv", "columns.drop=[]"], "of 11 expectations failed:"),
    (["split.test=0.5", "split.train=0.6"], "shares sum to 1.1, not 1"),
    (["platform.outputs=/sys/outputs"], "/sys/outputs cannot be written"),
    (["task.metrics=[accurcy]"], "task.metrics: scikit-learn has no scorer accurcy"),
]


def test_wrong_input_is_one_sentence_and_a_failed_run(broken):
    """The first three through `mlflow run`; the others as it calls them, in a run that it has opened."""
    said = []
    for number, (words, sentence) in enumerate(WRONG):
        if number < 3:
            done = broken.mlflow(*(part for word in words for part in ("-P", word)))
        else:
            opened = [f"run{each}" for each in range(3, len(WRONG))]
            if number == 3:
                code = f"print(*[client.create_run('0', run_name=name).info.run_id for name in {opened}])"
                ids = broken.ask(code).split()
            done = broken.python(*words, MLFLOW_RUN_ID=ids[number - 3], MLFLOW_EXPERIMENT_ID="0")
        assert done.code != 0 and "Traceback" not in done.printed, done.printed
        [line] = [line for line in done.lines if line.startswith("penguin_classifier: ")]
        assert sentence in line, done.printed
        said.append(line.removeprefix("penguin_classifier: "))
    causes = broken.ask(
        "for run in client.search_runs(['0'], order_by=['attributes.start_time']):\n"
        "    if 'mlflow.parentRunId' not in run.data.tags:\n"
        "        print(run.info.status, run.data.tags['cause'].splitlines()[0])"
    ).splitlines()
    assert [cause.split(" ", 1)[1] for cause in causes] == said
    assert {cause.split()[0] for cause in causes[:3]} == {"FAILED"}, "what `mlflow run` has opened it also ends"
    assert not list((broken.path / "outputs").glob("*/.*")), "a draft was left"


def test_a_full_disk_is_one_sentence_and_leaves_nothing(fresh, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(small)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk takes root")
    try:
        done = fresh.python("ingest", f"platform.outputs={small}", "data=digits")
        assert done.code == 1 and f"{small} cannot be written" in done.printed and "Traceback" not in done.printed
        assert not list(small.glob("*/*"))
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_silent_server_is_said_at_once(fresh):
    began = time.monotonic()
    done = fresh.python(MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert done.code == 75 and time.monotonic() - began < 30
    assert "the tracking server http://127.0.0.1:9 does not answer" in done.printed and "Traceback" not in done.printed


def test_a_store_of_another_version_is_said(fresh):
    fresh.ask("client.search_experiments()")
    with sqlite3.connect(fresh.path / "mlflow.db") as store:
        store.execute("UPDATE alembic_version SET version_num = 'cc1f77228345'")
    done = fresh.python("ingest")
    assert done.code == 1 and "was made by another MLflow than this one" in done.printed, done.printed
    assert "Traceback" not in done.printed


def test_a_command_that_ends_early_leaves_nobody_who_says_more(fresh):
    """The second process is still importing then, and has nobody to answer to."""
    done = fresh.run("python", "-m", fresh.package, "source.source=nowhere.csv")
    assert done.code == 1 and len(done.lines) == 1 and "the source is not there: " in done.printed, done.printed


def test_a_missing_package_is_said(fresh):
    bare = fresh.run(sys.executable, "-S", "-m", fresh.package)
    assert bare.code == 1 and "run through `uv run`, or `uv sync` first" in bare.printed, bare.printed


def test_an_unexpected_error_keeps_its_traceback_in_the_run(fresh):
    stage = fresh.path / fresh.package / "stages/split.py"
    stage.write_text(stage.read_text().replace("    shares = ", "    1 / 0\n    shares = ", 1))
    done = fresh.python("split")
    assert done.code == 1 and "ZeroDivisionError" in done.printed and "Traceback" not in done.printed, done.printed
    run = last_run(fresh, "split")
    assert run["info"]["status"] == "FAILED"
    text = fresh.ask(f"print(mlflow.artifacts.load_text('runs:/{run['info']['run_id']}/traceback.txt'))")
    assert "1 / 0" in text

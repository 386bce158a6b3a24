"""deploy=airflow: the DAG carried out by a real Airflow, and what is in MLflow's registry afterwards."""

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import polars as pl
import pytest
from conftest import SECRET, Project, bake, served, settings

pytestmark = pytest.mark.slow
DAG = "penguin_classifier"
QUICK = ["model=logistic", "evaluation.resamples=0", "evaluation.importance_repeats=0"]
EVIL = "$(touch hacked) `touch hacked`; touch hacked {{ dag_run.conf }}"


def ask(address: str, method: str = "GET", body: dict | None = None, token: str = "") -> dict:
    """What a server answers."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(address, data, headers, method=method)) as answer:
        return json.loads(answer.read())


class Airflow:
    """Airflow with a database of its own, and the project's folder of DAGs."""

    def __init__(self, folder: Path, project: Project, home: Path, mlflow: str) -> None:
        self.project, self.folder, self.home = project, folder, home
        extra = {"MLFLOW_EXPERIMENT_NAME": "penguins", "DATABASE_PASSWORD": SECRET}
        self.more = {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(project.path / "deploy/airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "true",
            "AIRFLOW__API_AUTH__JWT_SECRET": "0" * 64,
            f"AIRFLOW_CONN_{DAG.upper()}": json.dumps({"conn_type": "http", "host": mlflow, "extra": extra}),
            "UV_PROJECT_ENVIRONMENT": str(project.environment),  # `uv run` finds it ready,
            "UV_NO_SYNC": "1",
        }
        # as a Project, so that `served` starts Airflow's server
        self.itself = Project(project.path, folder)
        home.mkdir()
        shutil.copy(folder / "home/airflow.db", home)

    def start(self, **params) -> tuple[subprocess.Popen, Path]:
        """A run of the DAG, and the file that its tasks' logs go to."""
        self.home.joinpath("runs").mkdir(exist_ok=True)
        log = self.home / f"runs/{len(list(self.home.glob('runs/*')))}.log"
        words = ["airflow", "dags", "test", DAG, "2026-11-30", "--conf", json.dumps({"platform": "local"} | params)]
        known = settings(**self.more)
        known["PATH"] = f"{self.folder / 'bin'}{os.pathsep}{known['PATH']}"
        with log.open("w") as file:
            process = subprocess.Popen(words, cwd=self.project.path, env=known, stdout=file, stderr=file)
        return process, log

    def test(self, **params) -> str:
        """The log of a run of the DAG that came to its end."""
        process, log = self.start(**params)
        process.wait()
        return log.read_text()

    def states(self, server: str) -> dict[str, str]:
        """What became of each task in the last run."""
        run = ask(f"{server}/api/v2/dags/{DAG}/dagRuns?order_by=-id", token=self.token(server))["dag_runs"][0]
        run_id = urllib.parse.quote(run["dag_run_id"])
        tasks = ask(f"{server}/api/v2/dags/{DAG}/dagRuns/{run_id}/taskInstances", token=self.token(server))
        return {each["task_id"]: each["state"] for each in tasks["task_instances"]}

    def token(self, server: str) -> str:
        return ask(f"{server}/auth/token")["access_token"]

    def decide(self, server: str, option: str, reason: str) -> str:
        """The text that a person saw who decided so."""
        token = self.token(server)
        [waiting] = ask(f"{server}/api/v2/dags/{DAG}/dagRuns/~/hitlDetails?response_received=false", token=token)[
            "hitl_details"
        ]
        run_id = urllib.parse.quote(waiting["task_instance"]["dag_run_id"])
        place = f"{server}/api/v2/dags/{DAG}/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"
        ask(place, "PATCH", {"chosen_options": [option], "params_input": {"reason": reason}}, token)
        return waiting["body"]


def wait_for(text: str, log: Path, process: subprocess.Popen) -> None:
    for _ in range(600):
        if text in log.read_text():
            return
        assert process.poll() is None, log.read_text()[-3000:]
        time.sleep(0.2)
    raise AssertionError(f"no {text!r} in:\n{log.read_text()[-3000:]}")


def champion(address: str) -> dict:
    """The champion in the registry: its number, and its tags."""
    query = urllib.parse.urlencode({"name": "penguin-classifier-penguins", "alias": "champion"})
    version = ask(f"{address}/api/2.0/mlflow/registered-models/alias?{query}")["model_version"]
    return {"version": version["version"]} | {each["key"]: each["value"] for each in version["tags"]}


def test_a_real_airflow_watches_trains_asks_a_person_and_promotes(environment, airflow, tmp_path):
    """From no champion and a server that is away, over an approval, to an alarm and a candidate that is worse."""
    project = Project(bake(tmp_path / "project", deploy="airflow"), environment)
    dag = project.path / f"deploy/airflow/{DAG}.py"
    text = dag.read_text()
    assert project.run("ruff", "check").code == project.run("ruff", "format", "--check").code == 0
    dag.write_text(text.replace("timedelta(minutes=1)", "timedelta(seconds=2)"))  # between two tries
    store = ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db", "--artifacts-destination", f"{tmp_path}/files"]
    mlflow = served(project, "mlflow", "server", "--port", "{port}", *store, path="/health")
    it = Airflow(airflow, project, tmp_path / "airflow", mlflow.address)
    words = ("airflow", "api-server", "--host", "127.0.0.1", "--port", "{port}", "--workers", "1")
    with served(it.itself, *words, path="/api/v2/version", **it.more) as server:
        # a server that is away is exit code 75: the task is tried again, and the DAG goes on once it is there
        process, log = it.start(always=True, settings=[*QUICK, f"card.contact={EVIL}"])
        wait_for("does not answer", log, process)
        with mlflow as address:
            wait_for("Waiting for Human-in-the-loop input", log, process)
            shown = it.decide(server, "Approve", EVIL)
            process.wait()
            assert "roc_auc" in shown and "version 1 is challenger" in shown
            states = it.states(server)
            assert states.pop("quiet") == "skipped" and set(states.values()) == {"success"}
            made = champion(address)
            assert (made["version"], made["reason"], made["approver"]) == ("1", EVIL, "Anonymous")
            assert made["logical_date"] == "2026-11-30T00:00:00+00:00" and made["dag_run"].startswith("manual__")
            query = {"experiment_ids": ["1"], "filter": "attributes.run_name LIKE 'register 2026-11-30T%'"}
            assert len(ask(f"{address}/api/2.0/mlflow/runs/search", "POST", query)["runs"]) == 1

            # nothing is wrong: nothing is trained
            it.test()
            states = it.states(server)
            assert (states["monitor"], states["quiet"], states["ingest"]) == ("success", "success", "skipped")

            # an alarm is no failure: trained again, and what does not pass the gate is nobody's to approve
            table = pl.read_csv(project.path / "data/raw/penguins.csv", infer_schema=False)
            moved = pl.col("body_mass_g").replace("NA", None).cast(float) * 1.5
            table.with_columns(moved.cast(int).cast(str).fill_null("NA")).write_csv(tmp_path / "week; touch hacked.csv")
            it.test(input=f"{tmp_path}/week; touch hacked.csv", settings=["model=dummy", *QUICK[1:]])
            states = it.states(server)
            assert (states["monitor"], states["register"], states["undecided"]) == ("success",) * 3
            assert (states["quiet"], states["approve"], states["promote"]) == ("skipped",) * 3
            assert champion(address)["version"] == "1"

            # what is no key is refused by the form, and what the project refuses is not tried again
            for params in (
                {"settings": ["; touch hacked"]},
                {"settings": ["--cfg"]},
                {"promotion": "now"},
                {"data": ""},
            ):
                with pytest.raises(urllib.error.HTTPError, match="400"):
                    body = {"logical_date": None, "conf": params}
                    ask(f"{server}/api/v2/dags/{DAG}/dagRuns", "POST", body, it.token(server))
            printed = it.test(always=True, data=EVIL)
            assert it.states(server)["ingest"] == "failed" and printed.count("starting task_id=ingest") == 1
            assert "penguin_classifier: data=$(touch hacked)" in printed, printed[-3000:]
    for each in it.home.glob("runs/*"):
        assert SECRET not in each.read_text()
    assert not list(project.path.rglob("hacked")) and not Path("hacked").exists()

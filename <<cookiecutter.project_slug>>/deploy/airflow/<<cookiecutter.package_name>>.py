"""Once a week: is the champion still right? After an alarm the stages run, and a person decides on the new version.

    monitor -> quiet: the end
            -> alarm: ingest -> validate -> split -> train -> evaluate -> register -> approve -> promote

Each task is one command of this project, in the project's own environment: Airflow (3.3 or later) has none of it.
No shell is involved, and nothing that is typed into a form is rendered as a template.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Connection, Param, chain, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowNotFoundException

PROJECT = Path(__file__).resolve().parents[2]  # a clone, or what a Git bundle of Airflow checks out
PACKAGE = Path(__file__).stem
COMMAND = ("uv", "run", "python", "-m", PACKAGE)
STAGES = ("ingest", "validate", "split", "train", "evaluate", "register")
ALARM, LATER = 3, 75  # exit codes, see docs/trouble.md
KEPT = ("status", "exit_code", "summary", "run_id", "look", "registered", "scores", "tags")  # of a result, in XCom
SERVER = {"host": "MLFLOW_TRACKING_URI", "login": "MLFLOW_TRACKING_USERNAME", "password": "MLFLOW_TRACKING_PASSWORD"}
PARAMS = {
    "data": Param("<< cookiecutter.__dataset >>", type="string", minLength=1, description="A dataset of conf/data/"),
    "input": Param("", type="string", description="The table to watch; empty: the dataset's source as it is now"),
    "always": Param(False, type="boolean", description="Train without watching: the first time there is no champion"),
    "platform": Param("server", type="string", minLength=1, description="One of conf/platform/"),
    "promotion": Param("manual", enum=["manual", "auto"], description="manual: a person approves; auto: the gate"),
    "read_once": Param(False, type="boolean", description="The source is a database or a bucket: one read for all"),
    "settings": Param(
        [],
        type="array",
        items={"type": "string", "pattern": r"^[+~]{0,2}[A-Za-z_][\w./@]*="},
        description="Any keys of conf/, one a line: model=boosting, platform.outputs=s3://bucket/outputs",
    ),
}


def settings() -> dict[str, str]:
    """The environment of a command: the worker's without Airflow's own, and what the connection <package> holds.

    Its host (with the scheme), login and password are the tracking server's; each key of its extra is a variable, such
    as {"DATABASE_URL": "postgresql://...", "ALERT_WEBHOOK_URL": "https://..."}.
    """
    airflows = ("AIRFLOW", "_AIRFLOW", "PYTHON", "VIRTUAL_ENV")
    known = {name: value for name, value in os.environ.items() if not name.startswith(airflows)}
    try:
        connection = Connection.get(PACKAGE)
    except AirflowNotFoundException:
        return known
    server = {name: getattr(connection, field) for field, name in SERVER.items()}
    return known | {name: str(value) for name, value in (server | connection.extra_dejson).items() if value}


def command(word: str, *words: str) -> dict[str, Any]:
    """What a command did, from the file that it writes; what it prints is the task's log.

    Only its exit code 75 (a server, a database or a lock is not to be had now) is tried again.
    """
    context = get_current_context()
    params, run = context["params"], context["dag_run"]
    when = run.logical_date.isoformat() if run.logical_date else run.run_id
    typed = [f"data={params['data']}", f"platform={params['platform']}", *params["settings"], *words]
    typed += [f"tracking.run_name={word} {when}", f"tags.logical_date={when}", f"tags.dag_run={run.run_id}"]
    if params["read_once"]:
        typed.append(f"source_version={run.run_id}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "result.json")
        process = subprocess.Popen(
            [*COMMAND, word, *typed, f"result={file}"],
            cwd=PROJECT,
            env=settings(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # it is told to end by Airflow through this task, once
        )
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        try:
            for line in process.stdout or ():
                print(line.rstrip())
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        done = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"cause": f"exit code {code}"}
    if code == LATER:
        raise AirflowException(done["cause"])
    if code not in (0, ALARM):
        raise AirflowFailException(done["cause"])
    return {key: done[key] for key in KEPT}


@task.branch
def monitor() -> str:
    """Whether to train: after an alarm, or where that is wanted anyway."""
    context = get_current_context()
    params = context["params"]
    if params["always"]:
        return STAGES[0]
    done = command("monitor", *([f"input={params['input']}"] if params["input"] else []))
    context["ti"].xcom_push("result", done)
    return STAGES[0] if done["exit_code"] == ALARM else "quiet"


@task
def quiet() -> None:
    """The champion is still right."""


@task
def stage(word: str) -> dict[str, Any]:
    """What the stage `word` did; what did not change since is not done again."""
    return command(word, f"promotion={get_current_context()['params']['promotion']}")


@task.short_circuit
def undecided(done: dict[str, Any]) -> bool:
    """Whether there is a version that passed the gate and waits for a person."""
    made = done["registered"] or {}
    return made.get("alias") == "challenger" and made["verdict"] == "passed"


@task
def promote(done: dict[str, Any], decision: dict[str, Any]) -> dict[str, Any]:
    """The version made champion, on behalf of who approved it in Airflow."""
    reason = decision["params_input"].get("reason")
    who = (decision["responded_by_user"] or {}).get("name") or "airflow"
    words = [f"version={done['registered']['version']}", f"approver={who}", *([f"reason={reason}"] if reason else [])]
    return command("promote", *words)


@dag(
    dag_id=PACKAGE,
    schedule="@weekly",
    catchup=False,
    max_active_runs=1,  # two at once would train on the same rows
    params=PARAMS,
    default_args={"retries": 4, "retry_delay": timedelta(minutes=1), "retry_exponential_backoff": True},
    doc_md=__doc__,
    tags=["mlflow"],
)
def line() -> None:
    """The tasks and their order."""
    look = monitor()
    stages = [stage.override(task_id=word)(word) for word in STAGES]
    approve = ApprovalOperator(
        task_id="approve",
        subject="Is this version to be champion?",
        body="    {{ ti.xcom_pull(task_ids='register')['summary'] | join('\n    ') }}",  # indented: no Markdown
        params={"reason": Param("", type="string", description="Written on the version")},
        response_timeout=timedelta(days=6),  # before the next week's run; then this task fails: nothing is decided
        retries=0,
    )
    look >> [quiet(), stages[0]]
    chain(*stages, undecided(stages[-1]), approve, promote(stages[-1], approve.output))


line()

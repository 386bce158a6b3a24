"""The edition with braces: it renders what the template renders, where `<` is refused and under cruft; its release."""

import json
import re
import shutil
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, settings
from test_generator import TEXTS
from test_workflows import read_workflow, run_job

CHOICES = json.loads((ROOT / "cookiecutter.json").read_text())["_choices"]
ROWS = [  # every answer once, and awkward texts beside them
    {name: values[number % len(values)] for name, values in CHOICES.items()}
    | {"project_name": f"{text} {number}", "project_slug": f"p{number}", "author": text, "description": text + "\\"}
    for number, (_, text) in enumerate(zip_longest(CHOICES["deploy"], TEXTS[:7]))
]
CRUFT = "cruft@2.16.0"


@pytest.fixture(scope="module")
def braces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edition") / "braces"
    subprocess.run([sys.executable, "docs/braces.py", str(folder)], cwd=ROOT, check=True)
    return folder


def cookiecutter(*words: str, home: Path, **more: str) -> None:
    """cookiecutter's own command, with what it remembers in `home`."""
    (home / "config.yaml").write_text(yaml.safe_dump({"replay_dir": f"{home}/replay"}))
    known = settings(COOKIECUTTER_CONFIG=f"{home}/config.yaml", COOKIECUTTER_MLPROJECT_LOCK="no", **more)
    done = subprocess.run([sys.executable, "-m", "cookiecutter", *words], env=known, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr


def made(folder: Path) -> dict[str, bytes]:
    """Every file by its path; of the answers, without the template's address and commit."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    files = {name: data for name, data in files.items() if "/.git/" not in name}
    answers = [name for name in files if name.endswith("/.cookiecutter.json")]
    for name in answers:
        kept = json.loads(files[name])
        files[name] = json.dumps({key: kept[key] for key in kept if key not in ("_template", "_commit")}).encode()
    return files


@pytest.mark.parametrize("answers", ROWS, ids=[row["deploy"] for row in ROWS])
def test_every_answer_renders_the_same_bytes(braces: Path, tmp_path: Path, answers: dict[str, str]) -> None:
    words = [f"{key}={value}" for key, value in answers.items()]
    for name, template in (("a", ROOT), ("b", braces)):
        cookiecutter("--no-input", str(template), "-o", f"{tmp_path}/{name}", *words, home=tmp_path)
    assert made(tmp_path / "a") == made(tmp_path / "b")
    assert len(made(tmp_path / "a")) > 150


def test_the_rows_have_every_answer() -> None:
    assert all({row[name] for row in ROWS} == {*values} for name, values in CHOICES.items())


def test_a_project_is_replayed(braces: Path, tmp_path: Path) -> None:
    cookiecutter("--no-input", str(braces), "-o", f"{tmp_path}/a", "deploy=slurm", "project_name=Otto", home=tmp_path)
    cookiecutter("--replay", str(braces), "-o", f"{tmp_path}/b", home=tmp_path)
    assert made(tmp_path / "a") == made(tmp_path / "b") and "otto/deploy/slurm.sbatch" in made(tmp_path / "b")


def test_windows_can_keep_every_file(braces: Path) -> None:
    """Its rules for names, and 260 characters for a path, of which a user's folder takes its share."""
    devices = r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?"
    for path in braces.rglob("*"):
        name = path.relative_to(braces)
        assert not re.search(r'[<>:"|?*\\\x00-\x1f]|[. ]$', path.name) and not re.fullmatch(devices, path.name), name
        assert len(str(name)) < 160, name
    names = [str(path.relative_to(braces)).lower() for path in braces.rglob("*")]
    assert len({*names}) == len(names)


@pytest.mark.slow
def test_cruft_makes_and_updates_a_project(braces: Path, tmp_path: Path) -> None:
    """With a change of the template that its update brings, beside one of the user's own that it leaves."""

    def git(folder: Path, *words: str) -> str:
        who = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "init.defaultBranch=main")
        return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout

    def cruft(*words: str, folder: Path) -> str:
        done = subprocess.run(["uvx", CRUFT, *words], cwd=folder, env=settings(), text=True, capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    template = tmp_path / "template"
    shutil.copytree(braces, template)
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"]):
        git(template, *words)
    cruft("create", str(template), "--no-input", "--output-dir", str(tmp_path), folder=tmp_path)
    project = tmp_path / "penguin-classifier"
    assert not (project / ".git").exists()
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "made"]):
        git(project, *words)
    (project / "README.md").write_text((project / "README.md").read_text() + "\nMine.\n")
    git(project, "commit", "-qam", "mine")
    [makefile] = template.glob("*project_slug*/Makefile")
    makefile.write_text(makefile.read_text() + "\n# new in the template\n")
    git(template, "commit", "-qam", "second")
    cruft("update", "--skip-apply-ask", folder=project)
    assert (project / "Makefile").read_text().endswith("# new in the template\n")
    assert (project / "README.md").read_text().endswith("\nMine.\n")
    assert {line[3:] for line in git(project, "status", "--porcelain").splitlines()} == {
        ".cookiecutter.json",
        ".cruft.json",
        "Makefile",
    }


GH = """#!/bin/sh
echo "$@" >> "$GH_SAID"
test "$1" = auth || while [ $# -gt 1 ]; do shift; test "$1" != --notes-file || cp "$2" "$GH_SAID.notes"; done
"""


def test_a_tag_becomes_a_release(braces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workflow's steps, with a stand-in for `gh` and a folder for GitHub, twice: a commit for each."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/gh").write_text(GH)
    (tmp_path / "bin/gh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{settings()['PATH']}")
    bare = tmp_path / "host/template.git"
    subprocess.run(["git", "init", "-q", "--bare", str(bare)], check=True)
    checkout = tmp_path / "checkout"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(checkout)], check=True)
    for name in ("Makefile", "docs/braces.py"):  # as they are now
        shutil.copy(ROOT / name, checkout / name)
    who = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
    for version in ("v7.0.0", "v7.0.1"):
        tag = ["git", *who, "tag", "-a", version, "-m", f"### Added\n\n- What {version} brings."]
        subprocess.run(tag, cwd=checkout, check=True)
        given = {"GITHUB_SERVER_URL": f"file://{bare.parent}", "GITHUB_REPOSITORY": bare.name}
        given |= {"GITHUB_REF_NAME": version, "RUNNER_TEMP": str(tmp_path), "GH_SAID": f"{tmp_path}/said"}
        run_job(ROOT / ".github/workflows/release.yml", "release", checkout, **given)
    log = subprocess.run(["git", "log", "--format=%s", "braces"], cwd=bare, capture_output=True, text=True, check=True)
    assert log.stdout.splitlines() == ["v7.0.1", "v7.0.0"]
    assert f"release create v7.0.1 {tmp_path}/braces.zip" in (tmp_path / "said").read_text()
    assert "- What v7.0.1 brings." in (tmp_path / "said.notes").read_text()
    cookiecutter("--no-input", f"{tmp_path}/braces.zip", "-o", f"{tmp_path}/made", home=tmp_path)
    assert (tmp_path / "made/penguin-classifier/MLproject").exists()


def test_the_windows_job_uses_what_the_job_before_it_made() -> None:
    jobs = read_workflow(ROOT / ".github/workflows/ci.yml")["jobs"]
    name = jobs["braces"]["steps"][-1]["with"]["name"]
    assert jobs["windows"]["needs"] == "braces" and f"--name {name} " in jobs["windows"]["steps"][-1]["run"]

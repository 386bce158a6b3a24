"""A project of an earlier template takes what the template has learned, and keeps what its owner wrote.

The earlier template is the one of today with known pieces taken back: keys and a module under other names, files that
were not there yet or are not there any more, an older version in the lock, a question less and one by another name.
"""

import contextlib
import importlib.util
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import FOLDER, ROOT, Done, Project, settings
from test_workflows import run_job

PACKAGE = "penguin_classifier"
MOVES = [
    {"key": "gate.least_gain", "to": "min_gain"},
    {"key": "drift.false_alarms", "to": "alarm_rate"},
    {"name": "machinery.faults", "to": "machinery.errors"},
    {"answer": "holder", "to": "author"},
]
# word of today: word of then; in every file of the template folder
WORDS = {
    r"\bmin_gain\b": "least_gain",
    r"\balarm_rate\b": "false_alarms",
    r"(\bfrom \.+(?:machinery\.)?|\bmachinery\.)errors\b": r"\1faults",
    r"\bcookiecutter\.author\b": "cookiecutter.holder",
    r'^  "author": "<< cookiecutter\.__author >>",$': '  "holder": "<< cookiecutter.__author >>",',
    r'cookiecutter\.deploy == "all"': "false",
    r'^  "deploy": "<< cookiecutter.deploy >>",\n': "",
}
NOW = "conf/experiment/stronger.yaml"  # a file that was not there then
THEN = "conf/experiment/weaker.yaml"  # and one that was
OLD_PIN = "tqdm==4.67.1"
CHANGELOG = "## [9.0.0] - 2031-05-01\n\n### Changed\n\n- `gate.least_gain` is called `gate.min_gain`.\n\n"
WHO = {
    f"GIT_{who}_{key}": value for who in ("AUTHOR", "COMMITTER") for key, value in (("NAME", "Ann"), ("EMAIL", "a@b"))
}


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"updates/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


update, release = load("update"), load("release")


def git(folder: Path, *words: object) -> str:
    done = subprocess.run(["git", *map(str, words)], cwd=folder, env=settings(**WHO), capture_output=True, text=True)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout.strip()


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, (path, old)
    path.write_text(text.replace(old, new, 1))


def save(folder: Path, message: str = "mine") -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD")


def take_back(template: Path) -> None:
    """Makes the template of today one of then."""
    folder = template / FOLDER.name
    package = folder / "<<cookiecutter.package_name>>"
    seen = set()
    for path in (path for path in [*folder.rglob("*"), *(template / "templates").rglob("*")] if path.is_file()):
        text = path.read_text()
        for now, then in WORDS.items():
            text, count = re.subn(now, then, text, flags=re.MULTILINE)
            seen |= {now} if count else set()
        path.write_text(text)
    assert seen == set(WORDS)
    (package / "machinery/errors.py").rename(package / "machinery/faults.py")
    (package / "machinery/obsolete.py").write_text('"""What nobody needs."""\n')
    (folder / NOW).unlink()
    (folder / THEN).write_text("# @package _global_\nseed: 1\n")
    replace(folder / "README.md", "## Run it\n", "## Run it, please\n")
    context = json.loads((template / "cookiecutter.json").read_text())
    context = {"holder" if key == "author" else key: value for key, value in context.items() if key != "deploy"}
    context["__author"] = context["__author"].replace("cookiecutter.author", "cookiecutter.holder")
    context["_release"] = "0.0.9"
    (template / "cookiecutter.json").write_text(json.dumps(context))
    for hook, old in (("pre", 'given["author"]'), ("post", 'ANSWERS["deploy"]')):
        path = template / f"hooks/{hook}_gen_project.py"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace('ANSWERS["deploy"]', '"none"').replace('given["author"]', 'given["holder"]'))
    (template / "updates/migrations.json").write_text("[]")
    (template / "CHANGELOG.md").write_text((template / "CHANGELOG.md").read_text().replace(CHANGELOG, ""))


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a template of long ago (v0.0.8: another lock, too), of then (v0.0.9) and of now (v9.0.0)."""
    copy = tmp_path_factory.mktemp("templates") / "template.git"  # cookiecutter wants a word of git
    copy.mkdir()
    git(copy, "init", "--quiet", "--initial-branch=main")
    names = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in names:
        if name.startswith(("cookiecutter.json", "hooks/", "templates/", "updates/", "CHANGELOG", FOLDER.name)):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    replace(copy / "CHANGELOG.md", "## [0.1.0]", f"{CHANGELOG}## [0.1.0]")
    (copy / "updates/migrations.json").write_text(json.dumps(MOVES))
    now = save(copy, "now")
    take_back(copy)
    locked = copy / FOLDER.name / "requirements.txt"
    text = locked.read_text()
    locked.write_text(re.sub(r"^tqdm==\S+", OLD_PIN, text, flags=re.MULTILINE))
    save(copy, "long ago")
    git(copy, "tag", "v0.0.8")
    locked.write_text(text)
    save(copy, "then")
    git(copy, "tag", "v0.0.9")
    git(copy, "checkout", "--quiet", now, "--", ".")
    git(
        copy,
        "rm",
        "--quiet",
        "-r",
        "--force",
        *{*git(copy, "ls-files").split("\n")} - {*git(copy, "ls-tree", "-r", "--name-only", now).split("\n")},
    )
    save(copy, "now")
    git(copy, "tag", "v9.0.0")
    assert git(copy, "diff", now) == ""
    return copy


def generate(template: Path, output: Path, checkout: str, *answers: str) -> Path:
    """A project by the template at a tag."""
    words = [sys.executable, "-m", "cookiecutter", "--no-input", "--checkout", checkout, str(template), *answers]
    clones = output / "cookiecutter.yaml"
    output.mkdir(parents=True, exist_ok=True)
    clones.write_text(json.dumps({"cookiecutters_dir": f"{output}/clones", "replay_dir": f"{output}/replay"}))
    words += ["--config-file", str(clones), "--output-dir", str(output / "made")]
    env = settings(COOKIECUTTER_MLPROJECT_LOCK="no", **WHO)
    address = f"file://{template}"  # as any address: cookiecutter clones it
    words[words.index(str(template))] = address
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    [made] = (output / "made").iterdir()
    return made


@pytest.fixture(scope="session")
def untouched(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(template, tmp_path_factory.mktemp("then"), "v0.0.9")


@pytest.fixture(scope="session")
def current(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(template, tmp_path_factory.mktemp("now"), "v9.0.0")


@pytest.fixture
def project(untouched: Path, tmp_path: Path) -> Path:
    """A project of then, of its own."""
    return Path(shutil.copytree(untouched, tmp_path / "project"))


@pytest.fixture
def bring(template: Path, project: Path) -> Callable[..., Done]:
    """Runs the newest updater on the project; without tests, which want an environment."""

    def run(*words: str, folder: Path = project, script: Path = template, env: dict | None = None) -> Done:
        command = [sys.executable, str(script / "updates/update.py"), "--project", str(folder), *words]
        known = settings(**(env or {}))
        done = subprocess.run(command, env=known, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        return Done(done.returncode, done.stdout + done.stderr)

    return run


def state(folder: Path) -> str:
    """All that an update could have changed in a project."""
    parts = ("status", "--porcelain"), ("for-each-ref",), ("rev-parse", "HEAD"), ("worktree", "list"), ("stash", "list")
    return "\n".join(git(folder, *words) for words in parts)


def shown(folder: Path, path: str, branch: str = "update/v9.0.0") -> str:
    return git(folder, "show", f"{branch}:{path}")


def content(folder: Path, branch: str = "HEAD") -> dict[str, str]:
    """Mode and object of each file of a branch."""
    lines = git(folder, "ls-tree", "-r", branch).splitlines()
    return {line.split("\t")[1]: line.split("\t")[0] for line in lines}


# What an update gives


def test_an_untouched_project_becomes_what_is_generated_today(project, current, bring, template):
    before = state(project)
    dry = bring("--dry-run")
    assert dry.code == 0 and state(project) == before
    assert dry.lines[-1] == "nothing was changed: without --dry-run this becomes the branch update/v9.0.0"
    done = bring("--no-test")
    assert done.code == 0 and done.lines[:-1] == dry.lines[:-1], done.printed
    assert done.lines[0].startswith("deploy=none (a new question's default; `make update ARGS=deploy=...`")
    assert done.lines[1:3] == [
        "project: from the template's v0.0.9 to v9.0.0",
        "news  Changed: `gate.least_gain` is called `gate.min_gain`.",
    ]
    assert re.fullmatch(r"machinery  \d+ files changed, 1 files new, 2 files dropped", done.lines[3])
    assert {f"new files  {NOW}", f"dropped files  {THEN}"} < set(done.lines) and len(done.lines) <= 12
    assert "conflict" not in done.printed and "merged" not in done.printed
    made, wanted = content(project, "update/v9.0.0"), content(current)
    assert {path for path in {**made, **wanted} if made.get(path) != wanted.get(path)} == {".cookiecutter.json"}
    kept = json.loads(shown(project, ".cookiecutter.json"))
    facts = json.loads((current / ".cookiecutter.json").read_text())
    assert kept == facts | {"_checkout": "v0.0.9"}
    assert kept["_commit"] == git(template, "rev-parse", "HEAD") and (kept["deploy"], "holder" in kept) == (
        "none",
        False,
    )
    # one commit on one branch, and nothing else
    assert git(project, "rev-parse", "update/v9.0.0^") == git(project, "rev-parse", "HEAD")
    assert git(project, "status", "--porcelain") == "" and git(project, "branch", "--show-current") == "main"
    assert git(project, "log", "-1", "--format=%s", "update/v9.0.0") == "Update: from the template's v0.0.9 to v9.0.0"
    git(project, "fsck", "--strict")

    again = bring("--no-test")  # the branch is not merged yet
    assert (again.code, len(again.lines)) == (1, 1) and "`git branch -D update/v9.0.0`" in again.printed
    git(project, "merge", "--quiet", "update/v9.0.0")
    last = bring("--no-test")
    assert (last.code, last.lines) == (0, ["project is up to date with the template's v9.0.0"])


@pytest.fixture
def edited(project: Path) -> Path:
    """What an owner does in a year, in every room; nothing of it where the template changed the same lines."""
    code = project / PACKAGE
    for name in ("features", "encoders", "models", "metrics", "sources", "gates", "config", "training"):
        with (code / f"{name}.py").open("a") as file:
            file.write(f'\n\ndef mine_of_{name}():\n    """Mine."""\n')
    for path in sorted((code / "stages").glob("*.py")):
        with path.open("a") as file:
            file.write("\n# mine\n")
    with (code / "features.py").open("a") as file:
        file.write("    from .machinery.faults import ProjectError\n\n    return ProjectError\n")
    replace(project / "conf/gate/default.yaml", "least_gain: null", "least_gain: 0.01")
    replace(project / "conf/config.yaml", "false_alarms: 0.01", "false_alarms: 0.05")
    replace(project / "conf/config.yaml", "seed: 42", "seed: 7")
    text = (
        "# @package _global_\ngate: {max_loss: 0.1, least_gain: 0.02} # mine\ndrift:\n  # ours\n  false_alarms: 0.2\n"
    )
    (project / "conf/experiment/mine.yaml").write_text(text)
    (project / "conf/gate/ours.yaml").write_text("defaults:\n  - default\n\nleast_gain: 0.5\n")
    (project / "run.sh").write_text("uv run mlflow run . -P gate.least_gain=0.1 -P task.least_gain=2\n")
    (project / "run.sh").chmod(0o755)
    (project / "data/raw/wards.bin").write_bytes(bytes(range(256)))
    replace(project / "README.md", "\n## Everything else\n", "\n## Our wards\n\nAsk Ann.\n\n## Everything else\n")
    replace(project / "pyproject.toml", '    "tqdm', '    "iniconfig>=2",\n    "tqdm')
    git(project, "mv", "notebooks/explore.ipynb", "notebooks/look.ipynb")
    git(project, "mv", "conf/model/forest.yaml", "conf/model/wood.yaml")
    git(
        project,
        "rm",
        "--quiet",
        "-r",
        "conf/experiment/weaker.yaml",
        f"{PACKAGE}/machinery/jobs/prune",
        "conf/job/prune.yaml",
    )
    save(project)
    return project


def test_what_an_owner_wrote_in_every_room_is_kept_without_a_conflict(edited, bring):
    before = content(edited)
    done = bring("--no-test")
    assert done.code == 0 and "conflict" not in done.printed, done.printed
    branch = content(edited, "update/v9.0.0")
    for name in ("features", "encoders", "models", "metrics", "sources", "gates", "config", "training"):
        assert f"def mine_of_{name}():" in shown(edited, f"{PACKAGE}/{name}.py")
    assert "    from .machinery.errors import ProjectError" in shown(edited, f"{PACKAGE}/features.py")
    for name in ("data/raw/wards.bin", "notebooks/look.ipynb", "conf/model/wood.yaml", "pyproject.toml"):
        assert branch[name] == before[name]
    assert branch["run.sh"].startswith("100755 ")
    assert not {"notebooks/explore.ipynb", "conf/model/forest.yaml", THEN, "conf/job/prune.yaml"} & set(branch)
    assert not [name for name in branch if "jobs/prune" in name]
    # keys have their new names, with the owner's values, comments and order
    assert "\nmin_gain: 0.01 #" in shown(edited, "conf/gate/default.yaml")
    config = shown(edited, "conf/config.yaml")
    assert "\n  alarm_rate: 0.05 #" in config and "\nseed: 7\n" in config
    text = "# @package _global_\ngate: {max_loss: 0.1, min_gain: 0.02} # mine\ndrift:\n  # ours\n  alarm_rate: 0.2"
    assert shown(edited, "conf/experiment/mine.yaml") == text
    assert shown(edited, "conf/gate/ours.yaml").endswith("\nmin_gain: 0.5")
    assert shown(edited, "run.sh") == "uv run mlflow run . -P gate.min_gain=0.1 -P task.least_gain=2"
    readme = shown(edited, "README.md")
    assert "## Our wards\n\nAsk Ann.\n\n## Everything else\n" in readme and "\n## Run it\n" in readme
    [renamed] = [line for line in done.lines if line.startswith("renamed")]
    assert renamed.startswith(
        "renamed  gate.least_gain -> min_gain, drift.false_alarms -> alarm_rate, machinery.faults ->"
    )
    assert any(line.startswith("merged with what you wrote  README.md, conf/config.yaml") for line in done.lines)
    assert len(done.lines) <= 12


def test_a_conflict_is_told_with_its_place_and_kept_on_the_branch(project, bring):
    replace(project / "README.md", "## Run it, please\n", "## Run it, Ann\n")
    (project / THEN).write_text("# @package _global_\nseed: 12\n")
    (project / NOW).write_text("# @package _global_\nseed: 13\n")
    save(project)
    done = bring("--no-test")
    assert done.code == 3
    told = [line for line in done.lines if line.startswith("conflict")]
    readme = shown(project, "README.md").splitlines()
    line = readme.index("<<<<<<< HEAD") + 1
    assert readme[line : line + 4] == ["## Run it, Ann", "=======", "## Run it", ">>>>>>> template"]
    assert told == [
        f"conflict  README.md: changed by both at line {line}",
        f"conflict  {NOW}: changed by both at line 2",
        f"conflict  {THEN}: the template has dropped it, you had changed it; yours is kept",
    ]
    assert shown(project, THEN).endswith("seed: 12")
    assert done.lines[-1].startswith("mend it: git switch update/v9.0.0, then git commit, and merge it")
    assert told[0] in git(project, "log", "-1", "--format=%b", "update/v9.0.0")


def test_what_marks_would_break_stays_the_owners(project, template, bring, tmp_path):
    """A notebook and a picture that both changed."""
    fork = Path(shutil.copytree(template, tmp_path / "fork"))
    for folder, text in ((fork / FOLDER.name, "theirs"), (project, "mine")):
        replace(folder / "notebooks/explore.ipynb", '"cells": [', f'"{text}": 1,\n "cells": [')
        save(folder)
    save(fork) if git(fork, "status", "--porcelain") else None
    done = bring("--no-test", "--to", "main", script=fork)
    assert done.code == 3
    assert (
        "conflict  notebooks/explore.ipynb: changed by both; yours is kept, the template's is not in it" in done.lines
    )
    branch = git(project, "branch", "--list", "update/*", "--format=%(refname:short)")
    assert json.loads(shown(project, "notebooks/explore.ipynb", branch))["mine"] == 1


def test_an_edit_of_the_machinery_is_told_file_by_file_and_kept(project, bring):
    for name in ("cli.py", "faults.py", "obsolete.py"):
        with (project / PACKAGE / "machinery" / name).open("a") as file:
            file.write("# mine\n")
    (project / PACKAGE / "machinery/own.py").write_text('"""Mine."""\n')
    save(project)
    done = bring("--no-test")
    assert done.code == 3  # of a file that the template dropped
    told = [line.split(" (")[0].strip() for line in done.lines if "yours in the machinery" in line]
    assert told == [
        f"yours in the machinery, kept: {PACKAGE}/machinery/cli.py",
        f"yours in the machinery, kept: {PACKAGE}/machinery/faults.py",
        f"yours in the machinery, in conflict: {PACKAGE}/machinery/obsolete.py",
        f"yours in the machinery, kept: {PACKAGE}/machinery/own.py",
    ]
    assert shown(project, f"{PACKAGE}/machinery/errors.py").endswith("# mine")  # the edit follows the file's new name
    assert shown(project, f"{PACKAGE}/machinery/cli.py").endswith("# mine")
    assert shown(project, f"{PACKAGE}/machinery/own.py") == '"""Mine."""'


@pytest.mark.slow
def test_a_question_is_answered_anew(project, bring, template):
    """`deploy=server` a year later: its files come, its entry in the answers too; nothing else changes twice."""
    wrong = bring("deploy=moon", "--no-test")
    assert wrong.code == 1 and "deploy=moon is none of none, server" in wrong.printed
    assert (
        bring("--no-test", "deploi=server")
        .lines[0]
        .startswith("deploi=server: an update takes question=answer for project_name,")
    )
    assert bring("--no-test", "package_name=x").code == 1
    done = bring("--no-test", "deploy=server", "license=Proprietary")
    assert done.code == 0 and "a new question" not in done.printed
    branch = "update/v9.0.0-deploy-server-license-Proprietary"
    assert "deploy/server.mk" in content(project, branch) and "reserved" in shown(project, "LICENSE", branch)
    git(project, "merge", "--quiet", branch)
    again = bring("--no-test", "deploy=none")  # and away, with the template as it is
    assert again.code == 0
    assert "deploy/server.mk" not in content(project, "update/v9.0.0-deploy-none")


@pytest.mark.slow
def test_a_new_question_is_asked_at_a_terminal(project, template):
    parent, child = pty.openpty()
    words = [sys.executable, str(template / "updates/update.py"), "--project", str(project), "--no-test"]
    with subprocess.Popen(words, env=settings(), stdin=child, stdout=subprocess.PIPE, text=True) as process:
        os.write(parent, b"slurm\n")
        printed = process.stdout.read()
    assert process.returncode == 0
    assert "What it brings along for production" in printed and "[none]: " in printed
    assert "deploy/slurm.sbatch" in content(project, "update/v9.0.0")
    assert json.loads(shown(project, ".cookiecutter.json"))["deploy"] == "slurm"


# Nothing half done


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_kill_while_the_lock_is_made_leaves_the_project_as_it_was(template, tmp_path, number):
    project = generate(template, tmp_path / "old", "v0.0.8")
    before = state(project)
    make = tmp_path / "bin/make"
    make.parent.mkdir()
    make.write_text(f"#!/bin/sh\ntouch {tmp_path}/locking\nexec sleep 60\n")
    make.chmod(0o755)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    env = settings(TMPDIR=str(temporary)) | {"PATH": f"{make.parent}:{os.environ['PATH']}"}
    words = [sys.executable, str(template / "updates/update.py"), "--project", str(project)]
    with subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, start_new_session=True) as process:
        while not (tmp_path / "locking").exists():
            assert process.poll() is None
            time.sleep(0.05)
        os.kill(process.pid, number)
        process.wait(60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the tools that it started
    assert process.returncode != 0 and state(project) == before
    if number != signal.SIGKILL:
        assert not list(temporary.iterdir())
    git(project, "fsck", "--strict")


# Refused in a sentence


def test_what_cannot_be_updated_is_said_in_a_sentence(project, bring, template, tmp_path):
    def refused(*words: str, **options) -> str:
        done = bring("--no-test", *words, **options)
        assert (done.code, len(done.lines)) == (1, 1), done.printed
        return done.printed

    assert "holds no .cookiecutter.json: --project names" in refused(folder=tmp_path)
    assert "no tag, branch or commit v7 (its releases: v9.0.0, v0.0.9, v0.0.8)" in refused("--to", "v7")
    assert "the project is from v0.0.9, which is later than v0.0.8" in refused("--to", "v0.0.8")
    (project / "conf/data/new.yaml").touch()
    (project / "scores.csv").touch()
    replace(project / "README.md", "## Run it, please\n", "## Run it\n")
    assert refused().startswith("README.md, conf/data/new.yaml: not committed; commit or stash first")
    save(project)
    kept = json.loads((project / ".cookiecutter.json").read_text())
    for commit, said in ((None, ".cookiecutter.json names no commit"), ("5eed" * 10, "has no commit 5eed5eed5eed,")):
        (project / ".cookiecutter.json").write_text(json.dumps(kept | {"_commit": commit, "_release": None}))
        save(project)
        assert said in (told := refused()) and "--from COMMIT names the" in told
    done = bring("--dry-run", "--from", "v0.0.9")
    assert done.code == 0 and "conflict" not in done.printed
    (project / ".cookiecutter.json").write_text(json.dumps(kept | {"_commit": None}))  # of a release's archive
    save(project)
    assert bring("--dry-run").lines == done.lines
    (project / ".cookiecutter.json").write_text("<<<<<<< HEAD")
    save(project)
    assert "is no JSON" in refused()
    (project / ".cookiecutter.json").write_text(json.dumps(kept))
    shutil.rmtree(project / ".git")
    assert "is in no git repository" in refused()


# Where projects lie, and where templates


def test_a_project_in_a_folder_of_a_larger_repository_that_knows_no_name_and_is_shallow(
    untouched, current, bring, tmp_path
):
    large = tmp_path / "large"
    large.mkdir()
    git(large, "init", "--quiet", "--initial-branch=main")
    (large / "README.md").write_text("everything\n")
    save(large)
    shutil.copytree(untouched, large / "teams/birds", ignore=shutil.ignore_patterns(".git"))
    save(large)
    (large / "README.md").write_text("everything, once more\n")
    save(large)
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{large}", shallow)
    nobody = {"HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_COUNT": "1"}
    nobody |= {"GIT_CONFIG_KEY_0": "user.useConfigOnly", "GIT_CONFIG_VALUE_0": "true"}
    done = bring("--no-test", folder=shallow / "teams/birds", env=nobody)
    assert done.code == 0, done.printed
    branch = "update/teams/birds/v9.0.0"
    assert branch in done.lines[-1] and shown(shallow, "README.md", branch) == "everything, once more"
    made = {path.removeprefix("teams/birds/"): each for path, each in content(shallow, branch).items()}
    wanted = content(current)
    differing = {path for path in wanted if made.get(path) != wanted[path]}
    assert differing == {".cookiecutter.json"} and set(made) == {*wanted}
    assert git(shallow, "log", "-1", "--format=%an", branch) == "template update"
    git(large, "fetch", "--quiet", shallow, f"{branch}:{branch}")  # it can be pushed


@pytest.mark.slow
def test_the_branch_that_a_project_was_made_of_is_followed_and_a_fork_may_take_over(template, project, bring, tmp_path):
    upstream = Path(shutil.copytree(template, tmp_path / "upstream"))
    git(upstream, "switch", "--quiet", "--create", "stable", "v9.0.0")
    replace(upstream / FOLDER.name / "Dockerfile", "FROM ", "# ours\nFROM ")
    save(upstream)
    fork = tmp_path / "fork"
    git(tmp_path, "clone", "--quiet", "--branch=main", f"file://{upstream}", fork)
    kept = json.loads((project / ".cookiecutter.json").read_text())
    (project / ".cookiecutter.json").write_text(json.dumps(kept | {"_checkout": "stable"}))
    save(project)
    done = bring("--no-test", "--address", "https://example.org/fork", script=fork)
    assert done.code == 0, done.printed
    branch = git(project, "branch", "--list", "update/*", "--format=%(refname:short)")
    assert branch.startswith("update/v9.0.0-1-g") and "# ours" in shown(project, "Dockerfile", branch)
    assert json.loads(shown(project, ".cookiecutter.json", branch))["_template"] == "https://example.org/fork"
    git(project, "merge", "--quiet", branch)
    # what changes in no project makes no branch
    (upstream / "README.md").write_text("new\n")
    save(upstream)
    git(fork, "fetch", "--quiet")
    done = bring("--no-test", script=fork)
    assert done.code == 0 and re.fullmatch("project is up to date: what .* is in no project", done.printed.strip())


# The parts of it


def test_a_key_is_renamed_where_it_stands_and_nowhere_else():
    moves = [{"key": "gate.old", "to": "new"}]

    def moved(text: str, path: str) -> str:
        return update.migrate(text, path, moves)

    assert moved("old: 1 # old\nolder: 2\nmine:\n  old: 3\n", "conf/gate/a.yaml") == (
        "new: 1 # old\nolder: 2\nmine:\n  old: 3\n"
    )
    text = "# @package _global_\nold: 1\ngate: # of mine\n  # a comment\n\n  old: [a, b]\ndrift:\n  old: 2\n"
    assert moved(text, "conf/data/a.yaml") == text.replace("  old: [a", "  new: [a")
    assert moved("# @package gate\nold: 1\n", "conf/data/a.yaml") == "# @package gate\nnew: 1\n"
    assert moved("gate: {a: 1, old: 2}\nb: {old: 3}\n", "conf/config.yaml") == "gate: {a: 1, new: 2}\nb: {old: 3}\n"
    assert moved("b: ${gate.old}", "conf/config.yaml") == "b: ${gate.new}"
    assert moved("-P gate.old=1 my.gate.old gate.older gate.old", "README.md") == (
        "-P gate.new=1 my.gate.old gate.older gate.new"
    )
    assert update.migrate("old: 1\n", "conf/config.yaml", [{"key": "old", "to": "new"}]) == "new: 1\n"


def test_of_two_locks_each_package_has_the_version_that_somebody_moved():
    head, then = "# Made\n", "a==1.0 \\\n    --hash=x\nb==1.0\nc==1.0\nd==1.0\n"
    yours = "a==1.0 \\\n    --hash=x\nb==1.2\nc==3.0\nmine==0.1 ; python_version < '3.12' \\\n    --hash=y\n"
    now = head + "a==2.0 \\\n    --hash=z\nb==1.0\nc==2.0\ne==1.0\n"
    assert update.merge_pins(then, yours, now) == (
        head + "a==2.0 \\\n    --hash=z\nb==1.2\nc==3.0\ne==1.0\nmine==0.1 ; python_version < '3.12' \\\n    --hash=y\n"
    )


# Releases


def test_the_release_has_one_number():
    numbers = {re.search(line, (ROOT / name).read_text(), re.MULTILINE)[1] for name, line in release.PLACES.items()}
    [number] = numbers
    newest = re.findall(r"^## \[(\d.*)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    assert number == newest


def test_a_release_is_a_number_a_day_and_a_tag(tmp_path):
    for name in ("CHANGELOG.md", "pyproject.toml", "cookiecutter.json", "updates/release.py", "Makefile"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    changelog = tmp_path / "CHANGELOG.md"
    text = re.sub(r"## \[Unreleased\]\n(.|\n)*?(?=## \[0)", "## [Unreleased]\n\n", changelog.read_text())
    changelog.write_text(text)
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    save(tmp_path)

    def make(version: str) -> Done:
        words = [sys.executable, "updates/release.py", version]
        done = subprocess.run(words, cwd=tmp_path, env=settings(**WHO), capture_output=True, text=True)
        return Done(done.returncode, done.stdout + done.stderr)

    last = release.section(text, "Unreleased") == "" and re.search(r"## \[(\d\S+)\]", text)[1]
    assert make(last).lines == [f"v{last} is here; `git push origin HEAD v{last}` gives it to the projects"]
    assert make("9.0.0").printed.startswith("CHANGELOG.md has nothing under Unreleased")
    replace(changelog, "## [Unreleased]\n", "## [Unreleased]\n\n### Added\n\n- A thing.\n")
    assert make("9.0.0").printed.startswith("not committed: CHANGELOG.md;")
    save(tmp_path)
    assert make("9").printed.startswith("VERSION=9 is no number")
    assert make("0.0.1").printed.startswith(f"0.0.1 does not come after {last}")
    assert git(tmp_path, "status", "--porcelain") == ""
    assert make("9.0.0").code == 0 and git(tmp_path, "status", "--porcelain") == ""
    assert make("9.0.0").printed.startswith("v9.0.0 is there since ")
    assert json.loads((tmp_path / "cookiecutter.json").read_text())["_release"] == "9.0.0"
    assert re.search(
        r"## \[Unreleased\]\n\n## \[9.0.0\] - \S+\n\n### Added\n\n- A thing.\n\n## ", changelog.read_text()
    )
    assert git(tmp_path, "tag", "--list", "--format=%(contents)", "v9.0.0") == "9.0.0\n\n### Added\n\n- A thing."
    assert git(tmp_path, "rev-parse", "v9.0.0^{commit}") == git(tmp_path, "rev-parse", "HEAD")


# By the commands that people type

GH = """#!/bin/sh
case "$1 $2" in
"auth setup-git") ;;
"repo clone") git clone --quiet "file://$FORGE/$3.git" "$4" ;;
"pr create") shift 2; printf '%s\n' "$@" >> "$FORGE/pulls"; cat "$6" >> "$FORGE/pulls" ;;
*) echo "unknown: $*" >&2; exit 2 ;;
esac
"""


@pytest.mark.slow
def test_a_platform_team_opens_a_pull_request_for_each_project(untouched, template, tmp_path):
    """The steps of the workflow, with a forge in a folder; twice, and for a project that wants somebody's eyes."""
    forge, temp = tmp_path / "forge", tmp_path / "temp"
    mine = Path(shutil.copytree(untouched, tmp_path / "mine"))
    replace(mine / "README.md", "## Run it, please\n", "## Run it, Ann\n")
    save(mine)
    for name, source in (("birds", untouched), ("wards", mine)):
        git(tmp_path, "clone", "--quiet", "--bare", source, forge / f"org/{name}.git")
    gh = tmp_path / "bin/gh"
    gh.parent.mkdir()
    gh.write_text(GH)
    gh.chmod(0o755)

    def work(name: str) -> list[str]:
        shutil.rmtree(temp, ignore_errors=True)
        temp.mkdir()
        (forge / "pulls").unlink(missing_ok=True)
        known = {"vars.PROJECTS": "[...]", "matrix.project": f"org/{name}"}
        given = {"RUNNER_TEMP": temp, "GITHUB_WORKSPACE": template, "GITHUB_SERVER_URL": "https://github.com"}
        given |= {"GITHUB_REPOSITORY": "org/fork", "FORGE": forge, **WHO}
        path = {"PATH": f"{gh.parent}{os.pathsep}{settings()['PATH']}"}
        run_job(
            ROOT / ".github/workflows/update-projects.yml",
            "update",
            temp,
            known,
            **{k: str(v) for k, v in given.items()},
            **path,
        )
        return (forge / "pulls").read_text().splitlines() if (forge / "pulls").exists() else []

    pull = work("birds")
    assert pull[:4] == ["--head", "update/v9.0.0", "--title", "Update: from the template's v0.0.9 to v9.0.0"]
    assert "--draft" not in pull and "    news  Changed: `gate.least_gain` is called `gate.min_gain`." in pull
    kept = json.loads(git(forge / "org/birds.git", "show", "update/v9.0.0:.cookiecutter.json"))
    assert kept["_template"] == "https://github.com/org/fork"
    assert work("birds") == []  # it is open
    pull = work("wards")
    assert "--draft" in pull and any(
        line.startswith("    conflict  README.md: changed by both at line") for line in pull
    )


LINE = ("register", "model=logistic", "gate=ours", "evaluation.resamples=20", "evaluation.importance_repeats=0")


@pytest.mark.slow
def test_a_project_of_long_ago_works_on_after_make_update(template, environment, tmp_path):
    """The whole way, with lock and tests: its champion stays champion and answers the same."""
    folder = generate(template, tmp_path / "old", "v0.0.8")
    project = Project(folder, environment)
    (folder / "conf/gate/ours.yaml").write_text("defaults:\n  - default\n\nleast_gain: 0.01\n")
    replace(folder / "pyproject.toml", '    "tqdm', '    "iniconfig>=2",\n    "tqdm')
    with (folder / PACKAGE / "metrics.py").open("a") as file:
        file.write('\n\ndef half(truth, predicted) -> float:\n    """Half."""\n    return 0.5\n')
    for part in ("notebooks", "tests/test_notebook.py", "tests/test_line.py"):  # what takes longest of the tests
        git(folder, "rm", "--quiet", "-r", part)
    save(folder)
    assert project.python(*LINE).code == 0
    predict = ("predict", "input=data/raw/penguins.csv")
    assert project.python(*predict, "output=then.csv").code == 0  # and there it lies
    champion = "print(client.get_model_version_by_alias('penguin-classifier-penguins', 'champion').version)"
    assert project.ask(champion) == "1"

    # the address is that of a repository on GitHub, to which git is told another way
    instead = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.file://{template}.insteadOf"}
    instead["GIT_CONFIG_VALUE_0"] = "https://github.com/org/template"
    done = project.run("make", "update", "TEMPLATE=gh:org/template", "ARGS=deploy=server", **instead)
    assert done.code == 0, done.printed
    assert "lock  made again" in done.lines
    assert any(re.fullmatch(r"tests  \d+ passed.* in .*", line) for line in done.lines), done.printed
    git(folder, "merge", "--quiet", "update/v9.0.0-deploy-server")
    kept = json.loads((folder / ".cookiecutter.json").read_text())
    assert kept["_template"] == "https://github.com/org/template"
    # the template's versions and the owner's package in all locks
    locked = [
        re.findall(r"^ *-? ?([\w.-]+)==([\w.]+)", (folder / name).read_text(), re.MULTILINE)
        for name in update.LOCKS[:2]
    ]
    packages = tomllib.loads((folder / "uv.lock").read_text())["package"]
    locked.append([(each["name"], each["version"]) for each in packages if "version" in each])
    wanted = set(re.findall(r"^([\w.-]+)==([\w.]+)", (FOLDER / "requirements.txt").read_text(), re.MULTILINE))
    for each in map(set, locked):
        assert wanted < each and "iniconfig" in dict(each)

    assert project.python(*predict, "output=now.csv").code == 0
    assert (folder / "now.csv").read_bytes() == (folder / "then.csv").read_bytes()
    again = project.python(*LINE)
    assert again.code == 0 and project.ask(champion) == "1", again.printed
    assert project.python("explain", *LINE[1:]).code == 0

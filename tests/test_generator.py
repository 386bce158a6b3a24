"""What a user of the generator sees: refused answers, awkward texts, missing tools, what is made and what is said."""

import ast
import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from conftest import FOLDER, ROOT, settings
from markdown_it import MarkdownIt

HOOKS = sorted((ROOT / "hooks").glob("*.py"))
NEXT = ["cd penguin-classifier", "uv run mlflow run . --env-manager local", "uv run mlflow ui"]
CONTEXT = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
OURS = ("GIT_", "UV_OFFLINE", "UV_PYTHON", "VIRTUAL_ENV", "COOKIECUTTER", "PWD")


@pytest.fixture
def bake(tmp_path):
    """Runs cookiecutter's own command, in tmp_path/out, with an empty home and without uv.lock."""
    (tmp_path / "out").mkdir()
    (tmp_path / "home").mkdir()
    config = {"cookiecutters_dir": f"{tmp_path}/home/clones", "replay_dir": f"{tmp_path}/home/replay"}
    (tmp_path / "home/cookiecutter.yaml").write_text(yaml.safe_dump(config))
    env = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    env |= {
        "HOME": f"{tmp_path}/home",
        "TMPDIR": f"{tmp_path}/home",  # cookiecutter leaves each hook that it ran there
        "LC_ALL": "C.UTF-8",
        "COOKIECUTTER_CONFIG": f"{tmp_path}/home/cookiecutter.yaml",
        "COOKIECUTTER_MLPROJECT_LOCK": "no",
        "GIT_CONFIG_NOSYSTEM": "1",
    }

    def run(*answers, template=ROOT, options=("--no-input",), typed=None, **extra):
        command = [sys.executable, "-m", "cookiecutter", *options, str(template), *answers]
        settings = {"cwd": tmp_path / "out", "env": env | extra, "input": typed}
        return subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", **settings)

    return run


@pytest.fixture
def baked(bake, tmp_path):
    """The project's folder, for answers that are accepted."""

    def run(*answers, **settings):
        done = bake(*answers, **settings)
        assert done.returncode == 0, done.stdout + done.stderr
        [project] = (tmp_path / "out").iterdir()
        return project

    return run


def git(folder, *arguments):
    """What a git command says, as somebody with an identity."""
    who = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
    return subprocess.run(["git", "-C", folder, *who, *arguments], capture_output=True, check=True, text=True).stdout


def only(tmp_path, *tools):
    """A PATH with these programs and nothing else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in tools:
        (folder / tool).symlink_to(shutil.which(tool))
    return str(folder)


@cache
def pre_hook():
    """The names that the pre hook defines, after it accepted answers."""
    answers = {"project_name": "A", "project_slug": "a", "package_name": "a", "author": "A"}
    answers |= {"_choices": CONTEXT["_choices"], "_repo_dir": str(ROOT)}
    names = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        exec(HOOKS[1].read_text(encoding="utf-8").replace("<< cookiecutter | tojson >>", json.dumps(answers)), names)
    return names


def files(project):
    """Every file of a project by its path, but for git's."""
    paths = (path for path in sorted(project.rglob("*")) if path.is_file())
    return {str(path.relative_to(project)): path for path in paths if ".git" not in path.relative_to(project).parts}


def parsed(path):
    """A file's content as its own parser reads it; None for a kind that has none."""
    text = path.read_text(encoding="utf-8")
    kind = path.suffix if path.suffix and path.name != ".cookiecutter.json" else path.name
    if kind in (".toml",) or path.name == "uv.lock":
        return tomllib.loads(text)
    if kind in (".yaml", ".yml", "MLproject"):
        documents = list(yaml.safe_load_all(text))  # of Kubernetes, several in a file
        return documents[0] if len(documents) == 1 else documents
    if kind in (".json", ".ipynb", ".cookiecutter.json"):
        return json.loads(text)
    return ast.parse(text) if kind == ".py" else None


HIDING = [
    "class",
    "match",
    "None",
    "mlflow",
    "sklearn",
    "hydra",
    "test",
    "conf",
    "data",
    "deploy",
    "docs",
    "json",
    "Json",
    "tomllib",
]
HIDING += ["xgboost", "pytest", "tornado"]  # an extra, a tool, what tools bring
REFUSED = [
    ("project_name= ", "project_name=Penguin Classifier"),
    ("project_name=TCP/IP", "project_name=TCP IP"),
    ("project_name=a\\b", "project_name=a b"),
    ("project_slug=my project", "project_slug=my-project"),
    ("project_slug=größe", "project_slug=groe"),
    ("project_slug=-x-", "project_slug=x"),
    ("project_slug=!", "project_slug=ml-project"),
    ("project_slug=" + "a" * 61, "project_slug=" + "a" * 50),
    ("project_slug=../x", "project_slug=x"),
    ("project_slug=../x/y", "project_slug=x-y"),
    ("project_slug=a/b/c", "project_slug=a-b-c"),
    ("project_slug=a\\b", "project_slug=a-b"),
    ("project_slug=mlflow", "project_slug=mlflow-project"),
    ("project_slug=Scikit.Learn", "project_slug=Scikit-Learn-project"),
    ("package_name=", "package_name=project"),
    ("package_name=2024_sales", "package_name=sales_2024"),
    ("package_name=2024", "package_name=project_2024"),
    ("package_name=my-package", "package_name=my_package"),
    ("package_name=a/b", "package_name=a_b"),
    ("package_name=größe", "package_name=groe"),
    ("package_name=" + "a" * 51, "package_name=" + "a" * 30),
    *[(f"package_name={word}", f"package_name={word}_project") for word in HIDING],
    ("python_version=3.10", "python_version=3.11"),
    ("python_version=3.14", "python_version=3.11"),
    ("python_version=3.12.1", "python_version=3.12"),
    ("license=GPL", "license=MIT"),
    ("license=apache 2", "license=Apache-2.0"),
    ("environment=poetry", "environment=uv"),
    ("task=Regression", "task=regression"),
    ("ci=", "ci=github"),
    ("deploy=Server", "deploy=server"),
    ("author={{ cookiecutter }}", "author=cookiecutter"),
    ("description=a {% x %}", "description=a x"),
    ("description=${seed} of it", "description=seed} of it"),
    ("description=a >> b", "description=a b"),
    ("description=a\nb", "description=a b"),
    ("description=a\tb", "description=a b"),
    ("description=a\u2028b", "description=a b"),
    ("description=a\udcffb", "description=a b"),
]


@pytest.mark.parametrize(("answer", "way_out"), REFUSED, ids=[ascii(answer)[1:30] for answer, _ in REFUSED])
def test_a_refused_answer_ends_in_one_sentence_with_a_way_out(bake, tmp_path, answer, way_out):
    done = bake(answer)
    key, value = answer.split("=", 1)
    shown = value if value and value.isprintable() else ascii(value)
    sentence, command, *rest = done.stderr.splitlines()
    assert (done.returncode, done.stdout, rest) == (1, "", ["", "Aborted!"])  # cookiecutter's word for Ctrl-C
    assert sentence.startswith(f"{key}={shown} "), sentence
    assert sentence.endswith(f": take {way_out}"), sentence
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "out"]
    assert not any((tmp_path / "out").iterdir())
    kept = dict(word.split("=", 1) for word in shlex.split(command) if "=" in word)
    assert kept[key] == way_out.split("=", 1)[1]
    assert not any(pre_hook()["fault"](*answer) for answer in kept.items())


def test_each_refused_answer_has_one_sentence_but_none_for_a_default_made_of_it(bake):
    said = bake("project_name={{ a/b }}", "project_slug=mlflow", "python_version=2.7").stderr.splitlines()
    assert [line.split("=")[0] for line in said[:3]] == ["project_name", "project_slug", "python_version"]
    assert said[3].startswith("With every other answer kept: ") and said[4:] == ["", "Aborted!"]


def test_the_command_after_a_refusal_makes_the_project_that_was_answered(bake, tmp_path):
    typed = 'Otto\'s "R&D" $HOME\notto\n\na \\ b\n\nBSD\n3.10\nconda\nregression\nnone\nserver\n'
    command = bake(options=(), typed=typed).stderr.splitlines()[2].removeprefix("With every other answer kept: ")
    assert command.startswith(f"cookiecutter --no-input {ROOT} --output-dir {tmp_path}/out ")
    env = os.environ | {"COOKIECUTTER_MLPROJECT_LOCK": "no"}
    made = subprocess.run(["bash", "-c", f"{sys.executable} -m {command}"], env=env, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    kept = parsed(tmp_path / "out/otto/.cookiecutter.json")
    del kept["_template"], kept["_checkout"], kept["_commit"], kept["_release"]
    assert kept == {
        "project_name": 'Otto\'s "R&D" $HOME',
        "project_slug": "otto",
        "package_name": "otto",
        "description": "a \\ b",
        "author": 'The Otto\'s "R&D" $HOME authors',
        "license": "BSD-3-Clause",
        "python_version": "3.11",
        "environment": "conda",
        "task": "regression",
        "ci": "none",
        "deploy": "server",
    }


def test_the_command_after_a_refusal_has_what_was_given_and_no_password(bake, tmp_path, template):
    address = "https://ann:secret@example.org/template.git"
    instead = {"GIT_CONFIG_KEY_0": f"url.{template}.insteadOf", "GIT_CONFIG_VALUE_0": address, "GIT_CONFIG_COUNT": "1"}
    given = {"PWD": f"{tmp_path}/out", "UV": "/usr/bin/uv"}
    done = bake("ci=no", template=address, options=("--no-input", "-c", "trunk"), **instead, **given)
    start = "uvx cookiecutter --no-input https://example.org/template.git --checkout trunk author="
    assert start in done.stderr and "secret" not in done.stderr and "--output-dir" not in done.stderr


def test_only_cookiecutter_s_own_command_is_interrupted(tmp_path):
    def unreadable(*_, **__):
        raise OSError("no /proc")

    interruptible = pre_hook()["interruptible"]
    script = tmp_path / "cookiecutter"
    script.write_text("import signal\nprint(flush=True)\nsignal.pause()\n")
    for start, expected in (([], True), (["bash", "-c", "trap '' INT; exec \"$@\"", "-"], False)):
        process = subprocess.Popen([*start, sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            process.stdout.readline()
            assert interruptible(process.pid) is expected
            pre_hook()["open"] = unreadable  # as on macOS: `ps` names the command
            assert interruptible(process.pid)
        finally:
            pre_hook().pop("open", None)
            process.kill()
            process.wait()
            process.stdout.close()
    assert not interruptible(os.getpid())


def test_an_empty_slug_ends_before_any_hook(bake, tmp_path):
    done = bake("project_slug=")
    assert (done.returncode, "already exists" in done.stdout, "Traceback" in done.stdout) == (1, True, False)
    assert not any((tmp_path / "out").iterdir())


def test_template_syntax_typed_at_a_prompt_is_refused_not_executed(bake, tmp_path):
    for typed in ("<< 6 * 7 >>", "<% raw %>", "<# gone #>"):
        done = bake(options=(), typed="\n" * 3 + typed + "\n" * 8)
        assert f"description={typed} holds template syntax: take description=" in done.stderr
        assert done.returncode == 1
        assert not any((tmp_path / "out").iterdir())


def test_every_question_has_help_that_names_its_choices():
    questions = {key: value for key, value in CONTEXT.items() if not key.startswith("_")}
    assert list(CONTEXT["__prompts__"]) == list(questions)
    for key, choices in CONTEXT["_choices"].items():
        named = re.findall(r"(?m)^    (\S+) - |\b(3\.\d+)", CONTEXT["__prompts__"][key])
        assert ["".join(words) for words in named] == choices and questions[key] == choices[0]


TEXTS = [
    "Größe & Façade 🎉",
    'Ann "A" O\'Neil',
    "\"\"\"many''' quotes",
    "# not: a comment, {neither} [this] #",
    "- dash: *star* _under_ `tick` <b>",
    "100 % sure; $HOME !important | @you ~ ? > y",
    "👩‍👩‍👧 مرحبا 你好",
    "null",
]


@pytest.mark.parametrize("text", TEXTS)
def test_free_text_survives_in_every_file(baked, text):
    described = f"{text} C:\\new / R&D \\"
    project = baked(f"project_name={text}", f"description={described}", f"author={described}")
    made = {name: parsed(path) for name, path in files(project).items()}
    kept = made[".cookiecutter.json"]
    assert (kept["project_name"], kept["description"], kept["author"]) == (text, described, described)
    assert made["pyproject.toml"]["project"]["description"] == described
    assert made["pyproject.toml"]["project"]["authors"] == [{"name": described}]
    assert made["conf/config.yaml"]["description"] == described
    assert made["conf/config.yaml"]["tags"]["owner"] == described
    assert described in (project / "LICENSE").read_text(encoding="utf-8")
    opened, heading, *_ = MarkdownIt().parse((project / "README.md").read_text(encoding="utf-8"))
    assert (opened.tag, "".join(token.content for token in heading.children)) == ("h1", text)


@pytest.mark.parametrize("slug", ["2024", "null", "1e5", "a.b-c_d", "X"])
def test_a_slug_is_text_wherever_it_stands(baked, slug):
    project = baked(f"project_slug={slug}", "package_name=sales")
    assert parsed(project / "conf/config.yaml")["project"] == slug
    assert parsed(project / "MLproject")["name"] == slug
    assert parsed(project / "pyproject.toml")["project"]["name"] == slug


def test_a_name_without_letters_gets_the_fallback_slug(baked):
    assert baked("project_name=!?").name == "ml-project"


def test_a_long_name_that_starts_with_digits_gets_defaults_that_work(baked):
    project = baked("project_name=2024 " + "long name " * 20)
    assert project.name == "2024-long-name-long-name-long-name-long-name-long"
    assert (project / "project_2024_long_name_long_name_long_name_long_na").is_dir()


ANSWERS = [
    ("license=MIT", "LICENSE", "MIT License"),
    ("license=Apache-2.0", "LICENSE", "Apache License"),
    ("license=BSD-3-Clause", "LICENSE", "BSD 3-Clause License"),
    ("license=Proprietary", "LICENSE", "All rights reserved"),
    ("python_version=3.12", ".python-version", "3.12\n"),
    ("python_version=3.13", "python_env.yaml", 'python: "3.13"'),
    ("environment=uv", "MLproject", "\npython_env: python_env.yaml\n"),
    ("environment=conda", "MLproject", "\nconda_env: conda.yaml\n"),
    ("task=classification", "conf/config.yaml", "- data: penguins "),
    ("task=regression", "conf/config.yaml", "- data: penguins_mass "),
    ("ci=github", ".github/workflows/ci.yml", "${{ github.ref }}"),
    ("ci=none", ".cookiecutter.json", '"ci": "none"'),
    ("deploy=none", ".cookiecutter.json", '"deploy": "none"'),
    ("deploy=server", "deploy/server/compose.yaml", "\nservices:\n"),
    *[(f"deploy={name}", ".cookiecutter.json", name) for name in ("kubernetes", "slurm", "airflow", "databricks")],
    ("deploy=all", "conf/deploy/production.yaml", "on_promote: "),
]


@pytest.mark.parametrize(("answer", "name", "text"), ANSWERS)
def test_an_answer_shows_and_leaves_nothing_of_the_template(baked, answer, name, text):
    project = baked(answer, "author=Ann")
    made = files(project)
    assert text in made[name].read_text(encoding="utf-8")
    assert (".github/workflows/ci.yml" in made) == (answer != "ci=none")
    for platform in ("server", "kubernetes", "slurm", "airflow", "databricks"):
        brought = any(name.startswith(f"deploy/{platform}") for name in made)
        is_there = any(FOLDER.glob(f"deploy/{platform}*"))
        assert brought == (is_there and answer in (f"deploy={platform}", "deploy=all")), platform
    for part in (
        "conf/deploy/",
        "conf/job/deploy.yaml",
        "penguin_classifier/machinery/jobs/deploy/",
        "deploy/deploy.mk",
    ):
        assert any(name.startswith(part) for name in made) == (answer == "deploy=all"), part
    assert re.search(r"20\d\d,? Ann\b", made["LICENSE"].read_text())
    no_template_left(made)


def no_template_left(made):
    for name, path in made.items():
        assert not re.search(r"<<|<%|<#|#>|%>|cookiecutter\.\w*name", name + path.read_text("utf-8")), name
        parsed(path)


def test_a_project_works_with_hooks_refused(baked):
    project = baked(options=("--no-input", "--accept-hooks", "no"))
    made = files(project)
    no_template_left(made)
    assert made["LICENSE"].read_text().startswith("MIT License\n\nCopyright (c) 20")
    kept = parsed(made[".cookiecutter.json"])
    assert (kept["project_slug"], kept["_template"], kept["_commit"]) == ("penguin-classifier", str(ROOT), None)


def test_only_the_next_commands_are_printed(bake):
    done = bake()
    assert (done.stdout.splitlines(), done.stderr) == (NEXT, "")


def test_the_printed_folder_is_seen_from_where_the_user_stands(bake, tmp_path):
    done = bake(options=("--no-input", "-o", "deep/er"), PWD=f"{tmp_path}/out")
    assert done.stdout.splitlines()[0] == "cd deep/er/penguin-classifier"


def test_what_the_user_changed_is_skipped_where_files_are_to_be_skipped(baked, bake, tmp_path):
    project = baked()
    mine = {name: f"mine: {name}" for name in ("LICENSE", "uv.lock", ".cookiecutter.json", ".github/theirs.yml")}
    mine[".github/workflows/ci.yml"] = "mine: ci"
    for name, text in mine.items():
        (project / name).write_text(text)
    (project / ".github/workflows/retrain.yml").unlink()
    (project / "licenses").mkdir()
    (project / "licenses/theirs").touch()
    without_uv = {"COOKIECUTTER_MLPROJECT_LOCK": "", "PATH": only(tmp_path, "git")}  # a new lock would be missed
    done = bake("ci=none", options=("--no-input", "--overwrite-if-exists", "--skip-if-file-exists"), **without_uv)
    line, *following = done.stdout.splitlines()
    assert (done.returncode, following) == (0, NEXT)
    assert line.startswith("Nothing is committed (the folder lies in the repository ")
    assert {name: (project / name).read_text() for name in mine} == mine
    assert not (project / ".github/workflows/retrain.yml").exists()
    assert (project / "licenses/theirs").exists() and not (project / ".cookiecutter.began").exists()


def test_what_is_overwritten_is_what_the_template_has(baked, bake):
    project = baked()
    for name in ("LICENSE", ".cookiecutter.json", ".github/theirs.yml"):
        (project / name).write_text("mine")
    assert bake("license=Proprietary", "ci=none", options=("--no-input", "-f")).returncode == 0
    assert "All rights reserved" in (project / "LICENSE").read_text()
    kept = parsed(project / ".cookiecutter.json")
    assert (kept["license"], kept["_commit"]) == ("Proprietary", git(ROOT, "rev-parse", "HEAD").strip())
    assert [path.name for path in (project / ".github").iterdir()] == ["theirs.yml"]


CRUFT = """
import sys
from cookiecutter.exceptions import FailedHookException
from cookiecutter.generate import generate_context, generate_files
from cookiecutter.prompt import prompt_for_config
template, output, *answers = sys.argv[1:]
given = dict(answer.split("=", 1) for answer in answers)
context = generate_context(f"{template}/cookiecutter.json", {}, given)
context["cookiecutter"] = prompt_for_config(context, no_input=True)
context["cookiecutter"] |= {"_template": "https://example.org/template.git", "_commit": "5eed"}
try:
    generate_files(template, context, output, overwrite_if_exists=True)
except FailedHookException as error:
    print(type(error).__name__)
"""


@pytest.fixture
def cruft(tmp_path):
    """What a program prints that uses cookiecutter's library as cruft does, in tmp_path/out."""

    def run(*answers):
        words = [sys.executable, "-c", CRUFT, str(ROOT), str(tmp_path / "out"), *answers]
        return subprocess.run(words, capture_output=True, text=True, check=True)

    return run


def test_a_program_that_compares_projects_gets_neither_lock_nor_repository(cruft, tmp_path):
    done = cruft("ci=none", "project_name=Sales")
    [line] = done.stderr.splitlines()
    assert done.stdout == "" and line.startswith(
        "uv.lock and the first commit are left to you: `make lock`, `git init`, "
    )
    made = files(tmp_path / "out/sales")
    assert not (tmp_path / "out/sales/.git").exists() and "uv.lock" not in made and "LICENSE" in made
    assert not any(name.startswith(".github/") for name in made)
    kept = parsed(made[".cookiecutter.json"])
    answers = {"_template": "https://example.org/template.git", "_checkout": None, "_commit": "5eed", "ci": "none"}
    assert kept | answers == kept


def test_a_program_that_uses_the_library_is_not_interrupted(cruft, tmp_path):
    done = cruft("ci=no", "project_name=Sales")
    assert done.stderr.splitlines()[0] == "ci=no is none of github, none: take ci=none"
    assert "With every other answer" not in done.stderr and "FailedHookException" in done.stdout
    assert not (tmp_path / "out/sales").exists()


@pytest.fixture
def template(tmp_path):
    """A copy of the template in a repository of its own."""
    copy = tmp_path / "home/template"
    copy.mkdir()
    shutil.copy(ROOT / "cookiecutter.json", copy)
    for folder in (ROOT / "hooks", ROOT / "templates", FOLDER):
        shutil.copytree(folder, copy / folder.name)
    git(copy, "init", "-q", "-b", "trunk")
    git(copy, "add", "-A")
    git(copy, "commit", "-qm", "template")
    return copy


def test_a_project_remembers_answers_template_and_commit(bake, tmp_path, template):
    done = bake("project_name=Sales", template="../home/template")
    assert done.returncode == 0
    kept = parsed(tmp_path / "out/sales/.cookiecutter.json")
    assert kept == {
        "project_name": "Sales",
        "project_slug": "sales",
        "package_name": "sales",
        "description": "A table in, a validated and registered model out",
        "author": "The Sales authors",
        "license": "MIT",
        "python_version": "3.11",
        "environment": "uv",
        "task": "classification",
        "ci": "github",
        "deploy": "none",
        "_template": str(template),
        "_checkout": None,
        "_release": CONTEXT["_release"],
        "_commit": git(template, "rev-parse", "HEAD").strip(),
    }


def test_a_template_from_a_git_address_is_remembered_without_its_password(bake, tmp_path, template):
    address = "https://ann:secret@example.org/template.git"
    instead = {"GIT_CONFIG_KEY_0": f"url.{template}.insteadOf", "GIT_CONFIG_VALUE_0": address, "GIT_CONFIG_COUNT": "1"}
    done = bake(template=address, options=("--no-input", "-c", "trunk"), **instead)
    assert done.returncode == 0, done.stdout
    kept = parsed(tmp_path / "out/penguin-classifier/.cookiecutter.json")
    assert kept["_template"] == "https://example.org/template.git"
    assert kept["_checkout"] == "trunk"
    assert kept["_commit"] == git(template, "rev-parse", "HEAD").strip()


def test_everything_is_committed_on_main_under_the_users_name(baked, tmp_path):
    (tmp_path / "home/.gitconfig").write_text("[user]\nname = Eve\nemail = eve@example.org\n")
    project = baked()
    assert git(project, "log", "--format=%an %D") == "Eve HEAD -> main\n"
    assert git(project, "status", "--porcelain") == ""
    assert set(git(project, "ls-files").splitlines()) == set(files(project))


def test_no_git_identity_signing_and_failing_hooks_do_not_matter(bake, tmp_path):
    hook = tmp_path / "home/hooks/pre-commit"
    hook.parent.mkdir()
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    settings = f"[user]\nuseConfigOnly = true\n[commit]\ngpgsign = true\n[core]\nhooksPath = {hook.parent}\n"
    (tmp_path / "home/.gitconfig").write_text(settings)
    assert bake().stdout.splitlines() == NEXT
    assert git(tmp_path / "out/penguin-classifier", "log", "--format=%an") == "cookiecutter\n"


def test_a_missing_git_is_one_line(bake, tmp_path):
    done = bake(PATH=only(tmp_path))
    line, *following = done.stdout.splitlines()
    assert (done.returncode, following) == (0, NEXT)
    assert line == "Nothing is committed (git is not installed): `git add .` and `git commit` are left to you."


def test_inside_a_repository_none_is_nested(bake, tmp_path):
    git(tmp_path / "out", "init", "-q")
    done = bake()
    line, *following = done.stdout.splitlines()
    assert (done.returncode, following) == (0, NEXT)
    assert line.startswith(f"Nothing is committed (the folder lies in the repository {tmp_path}/out)")
    assert not (tmp_path / "out/penguin-classifier/.git").exists()


def test_the_repository_of_a_calling_git_hook_is_left_alone(baked, template):
    project = baked(GIT_DIR=f"{template}/.git", GIT_WORK_TREE=str(template), GIT_INDEX_FILE=f"{template}/.git/index")
    assert git(template, "log", "--format=%s") == "template\n"
    assert git(project, "log", "--format=%s") == "Generate the project from its template\n"


def test_a_missing_uv_is_one_line(bake, tmp_path):
    done = bake(PATH=only(tmp_path, "git"), COOKIECUTTER_MLPROJECT_LOCK="")
    line, *following = done.stdout.splitlines()
    assert (done.returncode, following) == (0, NEXT)
    assert line.startswith("No uv.lock yet (uv is not installed): ") and "`make lock`" in line


@pytest.mark.skipif(not shutil.which("uv"), reason="needs uv")
def test_an_offline_uv_is_one_line_and_leaves_the_project_whole(bake, tmp_path):
    done = bake(COOKIECUTTER_MLPROJECT_LOCK="", UV_OFFLINE="1", UV_CACHE_DIR=f"{tmp_path}/home/uv")
    line, *following = done.stdout.splitlines()
    assert (done.returncode, following) == (0, NEXT)
    assert line.startswith("No uv.lock yet (") and "the network was disabled" in line
    project = tmp_path / "out/penguin-classifier"
    assert not (project / "uv.lock").exists()
    assert "constraint-dependencies" not in (project / "pyproject.toml").read_text()
    assert git(project, "status", "--porcelain") == ""


def distributions(names):
    """Names of distributions as a folder or a module would have them."""
    return {re.sub(r"[-_.]+", "_", name.lower()) for name in names}


def test_no_package_can_be_called_like_a_required_one():
    pins = re.findall(r"^([A-Za-z0-9._-]+)==", (FOLDER / "requirements.txt").read_text(), re.MULTILINE)
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())
    optional = project["project"]["optional-dependencies"] | project["dependency-groups"]
    required = [project["project"]["dependencies"], *optional.values()]
    direct = [re.match(r"[\w.-]+", line)[0] for lines in required for line in lines]
    assert distributions(pins + direct) <= pre_hook()["required"]() <= pre_hook()["TAKEN"]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("uv"), reason="needs uv")
def test_the_lock_is_requirements_txt(bake, tmp_path):
    home = os.environ["HOME"]  # with uv's settings and cache
    assert bake(COOKIECUTTER_MLPROJECT_LOCK="", HOME=home).stdout.splitlines() == NEXT
    project = tmp_path / "out/penguin-classifier"
    assert "constraint" not in (project / "uv.lock").read_text() + (project / "pyproject.toml").read_text()
    assert git(project, "status", "--porcelain") == "" and "uv.lock" in git(project, "ls-files")
    env = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    for command in ("uv lock --check", "uv sync --quiet --locked"):
        subprocess.run(command.split(), cwd=project, env=env, check=True)
    export = "uv export -q --frozen --no-dev --no-emit-project --no-header --no-annotate --format requirements.txt"
    exported = subprocess.run(export.split(), cwd=project, env=env, check=True, capture_output=True, text=True).stdout
    pinned = [line for line in (project / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert exported.splitlines() == pinned
    lock = parsed(project / "uv.lock")
    pinned, described = lock["package"], {each["name"] for each in lock["manifest"]["dependency-metadata"]}
    sources = [each for each in pinned if "sdist" in each and "wheels" not in each and each["name"] not in described]
    assert sum(each["sdist"]["size"] for each in sources) < 1_000_000, "a lock fetches them, to read what they need"
    locked = distributions(package["name"] for package in pinned) - {"penguin_classifier"}
    [installed] = project.glob(".venv/lib/python3*/site-packages")
    packages = {path.parent.name.lower() for path in installed.glob("*/__init__.py")}
    modules = {path.stem.lower() for path in installed.glob("*.py")} - {"_virtualenv"}
    imported = {name for name in packages | modules if pre_hook()["PACKAGE"].fullmatch(name)}
    assert locked | imported <= pre_hook()["TAKEN"]
    folders = {path.name.lower() for path in installed.iterdir() if path.is_dir()}  # some of them have no __init__.py
    assert {*pre_hook()["LISTED"]} - {*pre_hook()["FOLDERS"].split(), "tomllib"} <= locked | imported | folders


@pytest.mark.parametrize("hook", HOOKS, ids=lambda path: path.stem)
def test_hooks_are_python_3_9_before_they_are_rendered(hook):
    ast.parse(hook.read_text(encoding="utf-8"), feature_version=(3, 9))


OLD = [shutil.which("python3.9"), *map(str, (Path.home() / ".pyenv/versions").glob("3.9*/bin/python3.9"))]
OLD = next((python for python in reversed(OLD) if python), None)


@pytest.mark.skipif(not OLD, reason="needs Python 3.9")
@pytest.mark.parametrize(("package", "status"), [("penguin_classifier", 0), ("json", 1), ("_json", 1), ("zlib", 1)])
def test_hooks_run_under_python_3_9(baked, tmp_path, package, status):
    project = baked(options=("--no-input", "--accept-hooks", "no"))
    context = parsed(project / ".cookiecutter.json") | {"package_name": package}
    context |= {"_output_dir": str(project.parent), "_repo_dir": str(ROOT), "_choices": CONTEXT["_choices"]}
    for hook in reversed(HOOKS):
        rendered = tmp_path / "home" / hook.name
        rendered.write_text(hook.read_text().replace("<< cookiecutter | tojson >>", json.dumps(context)))
        env = {"PATH": os.environ["PATH"], "HOME": f"{tmp_path}/home", "COOKIECUTTER_MLPROJECT_LOCK": "no"}
        done = subprocess.run([OLD, rendered], cwd=project, env=env, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        if status:
            break
    assert (project / ".git").exists() == (status == 0)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("uv"), reason="needs uv")
@pytest.mark.parametrize("version", CONTEXT["_choices"]["python_version"])
def test_any_python_generates_the_same_files_and_refuses(baked, tmp_path, version):
    project = baked()
    env = settings(COOKIECUTTER_MLPROJECT_LOCK="no")
    words = ["uvx", "--python", version, f"cookiecutter@{metadata.version('cookiecutter')}", "--no-input", str(ROOT)]
    words += ["--output-dir", str(tmp_path / "other")]
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    if "No interpreter" in done.stderr:
        pytest.skip(f"needs Python {version}")
    assert done.returncode == 0, done.stderr
    made = files(tmp_path / "other/penguin-classifier")
    assert {name: path.read_bytes() for name, path in made.items()} == {
        name: path.read_bytes() for name, path in files(project).items()
    }
    refused = subprocess.run([*words, "project_slug=x", "ci=no"], env=env, capture_output=True, text=True)
    sentence, command, *rest = refused.stderr.splitlines()
    assert (refused.returncode, refused.stdout, rest) == (1, "", ["", "Aborted!"])
    assert sentence.startswith("ci=no is none of ") and " uvx cookiecutter --no-input " in command
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["penguin-classifier"]

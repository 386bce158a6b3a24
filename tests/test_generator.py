"""What a user of the generator sees: refused answers, awkward texts, missing tools, what is made and what is said."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml
from conftest import FOLDER, ROOT
from markdown_it import MarkdownIt

HOOKS = sorted((ROOT / "hooks").glob("*.py"))
NEXT = ["cd penguin-classifier", "uv run mlflow run . --env-manager local", "uv run mlflow ui"]
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
    names = {}
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
        return yaml.safe_load(text)
    if kind in (".json", ".ipynb", ".cookiecutter.json"):
        return json.loads(text)
    return ast.parse(text) if kind == ".py" else None


HIDING = ["class", "match", "None", "mlflow", "sklearn", "hydra", "test", "conf", "data", "json", "Json", "tomllib"]
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
    ("python_version=3.12.1", "python_version=3.11"),
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
    [sentence] = done.stderr.splitlines()
    assert done.returncode == 1
    assert sentence.startswith(f"{key}={shown} "), sentence
    assert sentence.endswith(f": take {way_out}"), sentence
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "out"]
    assert not any((tmp_path / "out").iterdir())
    assert pre_hook()["fault"](*way_out.split("=", 1)) is None


def test_each_refused_answer_has_one_sentence_but_none_for_a_default_made_of_it(bake):
    said = bake("project_name={{ a/b }}", "project_slug=mlflow", "python_version=2.7").stderr.splitlines()
    assert [line.split("=")[0] for line in said] == ["project_name", "project_slug", "python_version"]


def test_an_empty_slug_ends_before_any_hook(bake, tmp_path):
    done = bake("project_slug=")
    assert (done.returncode, "already exists" in done.stdout, "Traceback" in done.stdout) == (1, True, False)
    assert not any((tmp_path / "out").iterdir())


def test_template_syntax_typed_at_a_prompt_is_refused_not_executed(bake, tmp_path):
    for typed in ("<< 6 * 7 >>", "<% raw %>", "<# gone #>"):
        done = bake(options=(), typed="\n" * 3 + typed + "\n" * 7)
        assert f"description={typed} holds template syntax: take description=" in done.stderr
        assert done.returncode == 1
        assert not any((tmp_path / "out").iterdir())


def test_every_question_has_help_and_every_choice_a_label():
    context = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
    questions = {key: value for key, value in context.items() if not key.startswith("_")}
    assert list(context["__prompts__"]) == list(questions)
    for key, value in questions.items():
        if isinstance(value, list):
            assert set(context["__prompts__"][key]) == {"__prompt__", *value}


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
]


@pytest.mark.parametrize(("answer", "name", "text"), ANSWERS)
def test_an_answer_shows_and_leaves_nothing_of_the_template(baked, answer, name, text):
    project = baked(answer, "author=Ann")
    made = files(project)
    assert text in made[name].read_text(encoding="utf-8")
    assert (".github/workflows/ci.yml" in made) == (answer != "ci=none")
    assert not any(path.startswith("licenses") for path in made)
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
    assert {name for name in made if name.startswith("licenses/")} == {
        f"licenses/{name}" for name in ("MIT", "Apache-2.0", "BSD-3-Clause", "Proprietary")
    }
    kept = parsed(made[".cookiecutter.json"])
    assert (kept["project_slug"], kept["_template"], kept["_commit"]) == ("penguin-classifier", str(ROOT), None)


def test_only_the_next_commands_are_printed(bake):
    done = bake()
    assert (done.stdout.splitlines(), done.stderr) == (NEXT, "")


def test_the_printed_folder_is_seen_from_where_the_user_stands(bake, tmp_path):
    done = bake(options=("--no-input", "-o", "deep/er"), PWD=f"{tmp_path}/out")
    assert done.stdout.splitlines()[0] == "cd deep/er/penguin-classifier"


@pytest.fixture
def template(tmp_path):
    """A copy of the template in a repository of its own."""
    copy = tmp_path / "home/template"
    copy.mkdir()
    shutil.copy(ROOT / "cookiecutter.json", copy)
    for folder in (ROOT / "hooks", FOLDER):
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
        "_template": str(template),
        "_checkout": None,
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


def test_no_package_can_be_called_like_a_pinned_one():
    pins = re.findall(r"^([A-Za-z0-9._-]+)==", (FOLDER / "requirements.txt").read_text(), re.MULTILINE)
    assert {re.sub(r"[-_.]+", "_", name.lower()) for name in pins} <= pre_hook()["TAKEN"]


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
    [installed] = project.glob(".venv/lib/python3*/site-packages")
    packages = {path.parent.name.lower() for path in installed.glob("*/__init__.py")}
    modules = {path.stem.lower() for path in installed.glob("*.py")} - {"_virtualenv"}
    assert {name for name in packages | modules if name.isidentifier()} <= pre_hook()["TAKEN"]


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
    context |= {"_output_dir": str(project.parent), "_repo_dir": str(ROOT)}
    for hook in reversed(HOOKS):
        rendered = tmp_path / "home" / hook.name
        rendered.write_text(hook.read_text().replace("<< cookiecutter | tojson >>", json.dumps(context)))
        env = {"PATH": os.environ["PATH"], "HOME": f"{tmp_path}/home", "COOKIECUTTER_MLPROJECT_LOCK": "no"}
        done = subprocess.run([OLD, rendered], cwd=project, env=env, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        if status:
            break
    assert (project / "LICENSE").exists() == (status == 0)

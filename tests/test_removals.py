"""Each part that the generated README says how to remove is removed as it says: nothing dead stays, and what stays is
clean and passes its tests."""

import ast
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import FOLDER, Project, bake
from test_projects import NAME, QUICK

PACKAGE = "penguin_classifier"
JOBS = sorted(path.parent.name for path in (FOLDER / "<<cookiecutter.package_name>>").glob("machinery/jobs/*/job.py"))
SMALL = ["model=forest", "model.n_estimators=10", *QUICK]
ROWS = re.findall(
    r"(?m)^\| ([^|]+) \| ([^|]+) \|$", (FOLDER / "README.md").read_text().partition("## Remove parts\n")[2]
)[2:]


def delete(root: Path, *names: str) -> None:
    """Deletes files and folders of the project at `root`, which have to be there."""
    for name in names:
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def cut(root: Path, file: str, pattern: str) -> None:
    """Takes the one text that `pattern` matches out of a file."""
    text, count = re.subn(pattern, "", (root / file).read_text(), flags=re.MULTILINE)
    assert count == 1, (file, pattern, count)
    (root / file).write_text(text)


def no_sample_data(root: Path) -> None:
    """A table of the user's own takes its place."""
    (root / "data/raw/penguins.csv").rename(root / "data/raw/mine.csv")
    text = (root / "conf/data/penguins.yaml").read_text()
    for file in (root / "conf/data").iterdir():
        file.unlink()
    (root / "conf/data/mine.yaml").write_text(text.replace("penguins.csv", "mine.csv"))
    config = root / "conf/config.yaml"
    config.write_text(re.sub(r"(?m)^  - data: \w+", "  - data: mine", config.read_text()))
    for file in (root / "tests").glob("test_*.py"):
        file.write_text(re.sub(r"\bdata=penguins\b", "data=mine", file.read_text()))


def no_notebook(root: Path) -> None:
    delete(root, "notebooks", "tests/test_notebook.py")


def no_actions(root: Path) -> None:
    delete(root, ".github")


def no_conda(root: Path) -> None:
    delete(root, "conda.yaml")
    makefile = root / "Makefile"
    text = makefile.read_text().replace(" conda.yaml from", " from").replace(' "$$new/conda.yaml" .', " .")
    text, count = re.subn(r"(?m)^\t\{ sed '/- pip:/q' conda.yaml; \\\n.*conda\.yaml\"; \\\n", "", text)
    assert count == 1
    makefile.write_text(text)
    workflow = root / ".github/workflows/ci.yml"
    if workflow.exists():
        cut(root, ".github/workflows/ci.yml", r"\n  # [^\n]*conda[^\n]*\n  conda:\n(?:    .*\n|\n)+")


def no_options(root: Path) -> None:
    delete(root, *(f"conf/model/{name}.yaml" for name in ("ridge", "lightgbm", "stack")))
    delete(root, *(f"conf/tune/{name}.yaml" for name in ("ridge", "lightgbm")))
    delete(root, "conf/split/group.yaml", "conf/platform/ci.yaml")


def no_anomaly(root: Path) -> None:
    delete(
        root,
        "conf/task/anomaly.yaml",
        *(f"conf/{group}/{name}.yaml" for group in ("model", "tune") for name in ("isolation_forest", "local_outlier")),
    )


def no_image(root: Path) -> None:
    delete(root, "Dockerfile", ".dockerignore")
    cut(root, "Makefile", r"^image: .*\n(?:\t.*\n)+\n")
    cut(root, "Makefile", r"^MODEL \?= .*\n")
    cut(root, "Makefile", r"(?<=ui) image\b")


def no_job(root: Path, job: str) -> None:
    delete(root, f"{PACKAGE}/machinery/jobs/{job}", f"conf/job/{job}.yaml", *(["conf/tune"] * (job == "tune")))
    cut(root, "MLproject", rf"^  #.*\n  {job}:\n    command: .*\n\n?")


PARTS: dict[str, Callable[[Path], None]] = {  # by the README's words for them
    "sample data": no_sample_data,
    "the notebook": no_notebook,
    "GitHub Actions": no_actions,
    "conda": no_conda,
    "a model, a split, a platform": no_options,
    "anomalies": no_anomaly,
    "the image": no_image,
}


def test_the_readme_names_the_parts_that_are_removed_here() -> None:
    assert {name for name, _ in ROWS} == {*PARTS, "a job"}
    assert len(JOBS) >= 8


def imported(path: Path, root: Path) -> set[str]:
    """The modules of the package that a file imports, those inside functions too, by their dotted names."""
    parts = (root.name, *path.relative_to(root).with_suffix("").parts)
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            start = ".".join([*parts[: len(parts) - node.level], *filter(None, [node.module])])
            names |= {start, *(f"{start}.{alias.name}" for alias in node.names)}
    return names


def unreached(root: Path) -> set[str]:
    """The modules of the package in `root` that neither the user's files, nor the command line, nor a job reaches."""
    files = {
        ".".join((root.name, *path.relative_to(root).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in root.rglob("*.py")
    }
    start = {name for name, path in files.items() if "machinery" not in path.parts}
    start |= {name for name in files if re.search(r"\.jobs\.\w+(\.job)?$", name)}  # looked up by name
    seen, todo = set[str](), [*start]
    while todo:
        name = todo.pop()
        if name in seen or name not in files:
            continue
        seen.add(name)
        todo += [*imported(files[name], root), name.rpartition(".")[0]]
    return {*files} - seen


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bake(tmp_path_factory.mktemp("whole"))


def copied(generated: Path, folder: Path) -> Path:
    shutil.copytree(generated, folder / generated.name, symlinks=True)
    return folder / generated.name


def test_every_module_is_reached(generated: Path) -> None:
    assert unreached(generated / PACKAGE) == set()


@pytest.mark.parametrize("job", JOBS)
def test_nothing_dead_stays_of_a_job(generated: Path, tmp_path: Path, job: str) -> None:
    root = copied(generated, tmp_path)
    no_job(root, job)
    assert unreached(root / PACKAGE) == set()
    files = [path for path in (root / PACKAGE / "machinery").rglob("*") if path.suffix in (".html", ".md", ".css")]
    code = "".join(path.read_text() for path in (root / PACKAGE).rglob("*") if path.suffix in (".py", ".html", ".md"))
    assert not [path.name for path in files if path.name != "README.md" and f'"{path.name}"' not in code]
    for path in (root / PACKAGE).rglob("*.py"):  # but for what is asked whether it is there
        lines = [line for line in path.read_text().splitlines() if re.search(rf"import.*\bjobs\.{job}\b", line)]
        assert not lines, (path, lines)


@pytest.fixture(scope="module")
def clean(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that mypy has read: reading it again takes a tenth of the time."""
    project = Project(bake(tmp_path_factory.mktemp("clean")), environment)
    assert project.run("mypy").code == 0
    return project


def assert_clean(project: Project, *tests: str) -> None:
    """Style, types and `tests` of the project."""
    for words in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"], ["python", "-m", "pytest", "-q", *tests]):
        done = project.run(*words)
        assert done.code == 0, (words, done.printed)


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_a_project_without_a_job(clean: Project, tmp_path: Path, job: str) -> None:
    project = Project(copied(clean.path, tmp_path), clean.environment)
    no_job(project.path, job)
    assert_clean(project, "tests/test_config.py")
    done = project.python(job)
    assert done.code == 2 and f"{job} is no stage and no job" in done.printed, done.printed
    done = project.python(*SMALL)
    assert done.code == 0 and f"{NAME}-penguins version 1 is champion" in done.lines, done.printed


@pytest.mark.slow
@pytest.mark.parametrize("part", [part for part in PARTS if part != "the notebook"])
def test_a_project_without_a_part(clean: Project, tmp_path: Path, part: str) -> None:
    project = Project(copied(clean.path, tmp_path), clean.environment)
    PARTS[part](project.path)
    assert_clean(project, "tests/test_config.py", "tests/test_models.py")
    done = project.python(*SMALL)
    assert done.code == 0 and "version 1 is champion" in done.printed, done.printed
    for words in (["make", "help"], ["make", "-n", "lock"], ["make", "-n", "test"]):
        made = project.run(*words)
        assert made.code == 0 and (part not in ("conda", "the image") or part.split()[-1] not in made.printed)


@pytest.mark.slow
def test_a_project_with_everything_removed(clean: Project, tmp_path: Path) -> None:
    """All its own tests."""
    project = Project(copied(clean.path, tmp_path), clean.environment)
    for remove in PARTS.values():
        remove(project.path)
    for job in JOBS:
        no_job(project.path, job)
    assert not list((project.path / PACKAGE / "machinery/jobs").glob("*/"))
    assert_clean(project)

"""Each part is removed as docs/removing.md of a project says: nothing dead stays, what stays is clean and passes its
tests."""

import ast
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from conftest import FOLDER, Project, bake
from test_projects import NAME, QUICK

PACKAGE = "penguin_classifier"
JOBS = sorted(path.parent.name for path in (FOLDER / "<<cookiecutter.package_name>>").glob("machinery/jobs/*/job.py"))
SMALL = ["model=forest", "model.n_estimators=10", *QUICK]
ROWS = re.findall(r"(?m)^\| ([^|]+) \| ([^|]+) \|$", (FOLDER / "docs/removing.md").read_text())[2:]


def delete(root: Path, *names: str) -> None:
    """Deletes files and folders of the project at `root`, which have to be there."""
    for name in names:
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def cut(root: Path, file: str, pattern: str, instead: str = "") -> None:
    """Takes the one text that `pattern` matches out of a file."""
    text, count = re.subn(pattern, instead, (root / file).read_text(), flags=re.MULTILINE)
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
    cut(root, "tests/conftest.py", r'(?<=^DATA = ")penguins(?=")', "mine")


def no_notebook(root: Path) -> None:
    delete(root, "notebooks", "tests/test_notebook.py")
    for name in ("ipykernel", "nbclient"):
        cut(root, "pyproject.toml", rf'^    "{name}.*\n')


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
        cut(root, ".github/workflows/renew.yml", r"^ +conda\.yaml\n")
        cut(root, ".github/workflows/ci.yml", r"\n  # [^\n]*conda[^\n]*\n  conda:\n(?:    .*\n|\n)+")


def no_options(root: Path) -> None:
    """Those that nothing else in the project names."""
    delete(root, *(f"conf/model/{name}.yaml" for name in ("xgboost", "lightgbm", "stack")))
    delete(root, *(f"conf/tune/{name}.yaml" for name in ("xgboost", "lightgbm")))
    delete(root, "conf/split/stratified.yaml", "conf/platform/ci.yaml")


def no_anomaly(root: Path) -> None:
    delete(
        root,
        "conf/task/anomaly.yaml",
        *(f"conf/{group}/{name}.yaml" for group in ("model", "tune") for name in ("isolation_forest", "local_outlier")),
    )
    cut(root, "tests/test_config.py", ', "isolation_forest": "anomaly", "local_outlier": "anomaly"')


def no_image(root: Path) -> None:
    delete(root, "Dockerfile", ".dockerignore")
    cut(root, "Makefile", r"^image: .*\n(?:\t.*\n)+\n")
    cut(root, "Makefile", r"^MODEL \?= .*\n")
    cut(root, "Makefile", r"(?<=ui) image\b")


def no_job(root: Path, job: str) -> None:
    more = {"tune": ["conf/tune"], "deploy": ["conf/deploy", "deploy/deploy.mk"]}
    delete(root, f"{PACKAGE}/machinery/jobs/{job}", f"conf/job/{job}.yaml", *more.get(job, []))
    cut(root, "MLproject", rf"^  #.*\n  {job}:\n    command: .*\n\n?")


def no_server(root: Path) -> None:
    """Which the default answers do not bring along."""
    if (root / "deploy").exists():
        delete(root, "deploy/server", "deploy/server.mk")


def no_clusters(root: Path) -> None:
    """What is left asks for nothing: the image takes its commit from its Dockerfile alone."""
    if (root / "deploy").exists():
        delete(root, "deploy/kubernetes", "deploy/kubernetes.mk", "deploy/slurm.sbatch")
    cut(root, "pyproject.toml", "^kubernetes = .*\n")


PARTS: dict[str, Callable[[Path], None]] = {  # by the page's words for them
    "sample data": no_sample_data,
    "the notebook": no_notebook,
    "GitHub Actions": no_actions,
    "conda": no_conda,
    "a model, a split, a platform": no_options,
    "anomalies": no_anomaly,
    "the image": no_image,
    "the server for the team": no_server,
    "Kubernetes, SLURM": no_clusters,
}


def test_the_page_names_the_parts_that_are_removed_here() -> None:
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
    # these are looked up
    by_name = r"\.jobs\.\w+(\.job)?$|\.(data|spark)\.readers$|\.model_server\.app$|\.copied$|\.engines\.\w+$"
    by_name += r"|\.networks\.(torch|lightning|keras)$"
    start |= {name for name in files if re.search(by_name, name)}
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
    return bake(tmp_path_factory.mktemp("whole"), deploy="all")


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
    for path in (root / PACKAGE).rglob("*.py"):  # but for `jobs`, which asks what is there
        gone = {name for name in imported(path, root / PACKAGE) if re.search(rf"\.jobs\.{job}\b", name)}
        assert not gone or path.parent.name == "jobs", (path, gone)


LEFT = {  # functions that only one job calls and that do not lie with it: let it shrink
    *(
        "replies",
        "chart",
        "fits",
        "approve",
        "delete_versions",
        "delete_runs",
        "roll_back",
        "download",
        "activation",
        "using",
        "registered_at",
    ),
    *(
        "approval_tags",
        "sign_card",
        "typed_arguments",
        "odd_rows",
        "lenient",
    ),  # of MLflow, Hydra and how texts are read
}


@pytest.mark.parametrize("job", JOBS)
def test_no_function_serves_nobody_when_a_job_is_gone(generated: Path, job: str) -> None:
    root = generated / PACKAGE
    whole, left = uses(root, root.rglob("*.py")), uses(root, set(root.rglob("*.py")) - set(root.rglob(f"{job}/*.py")))
    for path in (root / "machinery").rglob("*.py"):
        if path.parent.name != job:
            names = {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
            dead = {name for name in names if left[name] < 2 <= whole[name] and not name.startswith("_")}
            assert not dead - LEFT, (path, dead)


def uses(root: Path, files: Iterable[Path]) -> Counter[str]:
    """How often each name stands in `files`, docstrings apart, and in the package's templates."""
    texts = [re.sub(r'(?s)""".*?"""', "", path.read_text()) for path in files]
    texts += [path.read_text() for path in root.rglob("*.html")]
    return Counter(name for text in texts for name in re.findall(r"\w+", text))


@pytest.mark.slow
def test_jobs_removed_one_after_the_other(checked: Project) -> None:
    for job in JOBS:
        if job == "deploy":  # the default answers bring it not along
            continue
        no_job(checked.path, job)
        for words in (["ruff", "check"], ["mypy"]):
            done = checked.run(*words)
            assert done.code == 0, (job, words, done.printed)
        done = checked.python(job)
        assert done.code == 2 and f"{job} is no stage and no job" in done.printed, done.printed
    assert [path.name for path in (checked.path / PACKAGE / "machinery/jobs").glob("*/*.py")] == []
    done = checked.python(*SMALL)
    assert done.code == 0 and f"{NAME}-penguins version 1 is champion" in done.lines, done.printed


@pytest.mark.slow
def test_all_other_parts_removed(checked: Project) -> None:
    for remove in PARTS.values():
        remove(checked.path)
    words_left = checked.run("git", "grep", "-lwE", "isolation_forest|local_outlier|nbclient|Dockerfile").lines
    words_left = {name for name in words_left if not name.startswith("docs/")}
    assert words_left <= {"README.md", f"{PACKAGE}/machinery/pipeline/provenance.py"}, words_left  # what is code
    for words in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"], ["python", "-m", "pytest", "-q"]):
        done = checked.run(*words)
        assert done.code == 0, (words, done.printed)
    for words in (["make", "help"], ["make", "-n", "lock"], ["make", "-n", "test"]):
        made = checked.run(*words)
        assert made.code == 0 and "conda" not in made.printed and "image" not in made.printed, made.printed
    done = checked.python(*SMALL)
    assert done.code == 0 and f"{NAME}-mine version 1 is champion" in done.lines, done.printed

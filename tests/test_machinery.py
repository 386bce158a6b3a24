"""The machinery's own tests, in machinery/: run in a generated project, whose other tests run in test_workflows.py."""

import shutil
from pathlib import Path

import pytest
from conftest import Project, bake

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
FILES = sorted(file.name for file in (HERE / "machinery").glob("test_*.py"))


@pytest.fixture(scope="session")
def house(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with the machinery's tests among its own; each file runs in a process of its own."""
    path = bake(tmp_path_factory.mktemp("house"))
    for file in [*(HERE / "machinery").glob("*.py"), HERE / "traced.py"]:
        shutil.copy(file, path / "tests")
    project = Project(path, environment)
    for words in (["add", "--all"], ["commit", "--quiet", "--message", "More tests"]):  # every run reads what is not
        done = project.run("git", "-c", "user.name=ana", "-c", "user.email=ana@localhost", *words)
        assert done.code == 0, done.printed
    return project


@pytest.mark.parametrize("file", FILES)
def test_in_a_generated_project(house, request, file):
    extras = {"test_boosters.py": "wider", "test_answer_cache.py": "wider", "test_networks.py": "networks"}
    project = Project(house.path, request.getfixturevalue(extras[file])) if file in extras else house
    done = project.fork("pytest", "-q", "-p", "no:cacheprovider", f"tests/{file}")
    assert done.code == 0, done.printed

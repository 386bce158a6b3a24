import os
import subprocess

import pytest
from penguin_classifier.machinery.jobs.reproduce import worktrees
from penguin_classifier.machinery.pipeline import processes, provenance


@pytest.fixture
def repository(tmp_path):
    """A project in a folder of a repository of one commit."""
    root = tmp_path / "repository/project"
    root.mkdir(parents=True)
    (root / "kept.py").write_text("x = 1\n")
    (root / ".gitignore").write_text("ignored\n")
    (root.parent / "beside.txt").write_text("of another project\n")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", *words], cwd=root.parent, check=True)
    return root


def status(root) -> str:
    return subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True).stdout


def test_a_clean_tree_has_no_changes(repository):
    (repository / "ignored").write_text("x")
    (repository.parent / "beside.txt").write_text("changed")
    tags = provenance.tree(repository)
    assert tags["git.dirty"] == "false" and len(tags["git.commit"]) == 40
    assert provenance.changes(repository, secret=lambda _: None) == {}


def test_changes_make_the_same_tree_again(repository, tmp_path):
    commit = provenance.tree(repository)["git.commit"]
    (repository / "kept.py").write_text("x = 2  # größer\r\n")
    (repository / "conf").mkdir()
    (repository / "conf/new.yaml").write_text("a: 1\n")
    (repository / "picture.png").write_bytes(bytes(range(256)))
    (repository / "large.csv").write_text("1\n" * 60_000)
    before = status(repository)
    found = provenance.changes(repository, secret=lambda _: None)
    assert status(repository) == before, "the index was touched"
    assert found["uncommitted.txt"] == "not recorded, too large: large.csv\n"
    with worktrees.worktree(repository, commit, found["uncommitted.diff"], tmp_path / "tree") as tree:
        for name in ("kept.py", "conf/new.yaml", "picture.png"):
            assert (tree / name).read_bytes() == (repository / name).read_bytes(), name
    assert not (tmp_path / "tree").exists() and worktrees.has(repository, commit)
    assert not worktrees.has(repository, "0" * 40)


def test_changes_that_must_not_be_told_are_not(repository):
    (repository / "kept.py").write_text("x = 'hunter2'\n")
    found = provenance.changes(repository, secret=lambda text: "a password" if "hunter2" in text else None)
    assert found == {"uncommitted.txt": "not recorded: a password stands in the changes\n"}
    (repository / "kept.py").write_bytes("x = 'größer'\n".encode("latin-1"))
    assert "no UTF-8" in provenance.changes(repository, secret=lambda _: None)["uncommitted.txt"]


def test_outside_of_git_there_is_nothing_to_tell(tmp_path):
    assert provenance.tree(tmp_path) == {} and provenance.changes(tmp_path, secret=lambda _: None) == {}


def test_a_process_is_told_from_another_of_its_number():
    mine = processes.this()
    assert not processes.is_dead(mine) and not processes.is_dead(f"elsewhere {os.getpid()} 1")
    host, number, _ = mine.split()
    assert processes.is_dead(f"{host} {number} 1")
    child = subprocess.Popen(["true"])
    child.wait()
    assert processes.is_dead(f"{host} {child.pid} 1")

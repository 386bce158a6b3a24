import os
import subprocess

import pytest
from penguin_classifier.machinery.config import credentials
from penguin_classifier.machinery.jobs.reproduce import worktrees
from penguin_classifier.machinery.pipeline import processes, provenance, runner


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


def changes(root, secret=lambda text, code: None):
    return provenance.changes(root, secret=secret)


def test_a_clean_tree_has_no_changes(repository):
    (repository / "ignored").write_text("x")
    (repository.parent / "beside.txt").write_text("changed")
    tags = provenance.tree(repository)
    assert tags["git.dirty"] == "false" and len(tags["git.commit"]) == 40
    assert changes(repository) == {}


def test_changes_make_the_same_tree_again(repository, tmp_path):
    commit = provenance.tree(repository)["git.commit"]
    (repository / "kept.py").write_text("x = 2  # größer\r\n")
    (repository / "conf").mkdir()
    (repository / "conf/new.yaml").write_text("a: 1\ndiff --git a/x b/x\n")
    (repository / "conf/[a] größer.yaml").write_text("a: 1\n")
    (repository / "picture.png").write_bytes(bytes(range(256)))
    (repository / "large.py").write_text("1\n" * 60_000)
    before = status(repository)
    found = changes(repository)
    assert status(repository) == before, "the index was touched"
    assert found["uncommitted.txt"].splitlines() == [
        "not recorded, too large: large.py",
        "left out, no code: picture.png",
    ]
    with worktrees.worktree(repository, commit, found["uncommitted.diff"], tmp_path / "tree") as tree:
        for name in ("kept.py", "conf/new.yaml", "conf/[a] größer.yaml"):
            assert (tree / name).read_bytes() == (repository / name).read_bytes(), name
        assert not (tree / "picture.png").exists()
    assert not (tmp_path / "tree").exists() and worktrees.has(repository, commit)
    assert not worktrees.has(repository, "0" * 40)
    (repository / "kept.py").unlink()
    assert "deleted file" in changes(repository)["uncommitted.diff"]


def test_rows_and_credentials_are_named_and_not_recorded(repository):
    """Neither those that nobody committed, nor those in files of the commit."""
    secrets = [".env.production", ".envrc", "id_rsa", "key.pem", "a.p12", "credentials.json", "deploy/secrets.yaml"]
    tables = ["patients.csv", "data/x.yaml", "rows.jsonl", "explore.ipynb", "note.txt", "page.html"]
    for name in [*secrets, *tables, ".aws/config.toml", "conf/db-passwords.yml", "conf/api_token.toml"]:
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text("Lovelace\n")
    (repository / "conf/db.yaml").write_text("host: x\npassword: Lovelace\n")
    (repository / "settings.py").write_text("API_KEY = 'Lovelace'\n")
    (repository / "secrets.py").write_text("def token(x): return x\n")  # a program, whatever its name
    subprocess.run(["git", "add", "patients.csv", "conf/db-passwords.yml"], cwd=repository, check=True)

    def secret(text, code):
        return "a credential by its name" if credentials.line_in(text, code=code) else None

    found = changes(repository, secret)
    assert "Lovelace" not in str(found) and "secrets.py" in found["uncommitted.diff"]
    named = {
        line.partition(": ")[0]: line.partition(": ")[2].split(", ") for line in found["uncommitted.txt"].split("\n")
    }
    assert {*named["left out, no code"]} == {*secrets[:-1], *tables}
    assert named["not recorded, a credential by its name stands in them"] == ["conf/db.yaml", "settings.py"]
    assert {*named["left out, credentials by their names"]} == {
        *(".aws/config.toml", "conf/api_token.toml", "conf/db-passwords.yml", "deploy/secrets.yaml"),
    }


def test_what_is_no_file_or_no_text_is_named(repository):
    (repository / "conf").mkdir()
    (repository / "conf/.#penguins.yaml").symlink_to("ana@laptop.4711:1700000000")
    (repository / "link.py").symlink_to("kept.py")
    (repository / "loop.yaml").symlink_to("loop.yaml")
    os.mkfifo(repository / "pipe.yaml")
    subprocess.run(["git", "init", "-q", "nested"], cwd=repository, check=True)
    (repository / "nested/a.py").write_text("a = 1\n")
    (repository / "wide.sql").write_bytes("SELECT 1".encode("utf-16"))
    (repository / "old.py").write_bytes("x = 'größer'\n".encode("latin-1"))
    (repository / os.fsdecode(b"gr\xf6\xdfer.yaml")).write_text("a: 1\n")
    found = changes(repository)
    lines = set(found["uncommitted.txt"].splitlines())
    assert {"not recorded, no text: wide.sql", "not recorded, no UTF-8: old.py"} <= lines
    assert "left out, no files: conf/.#penguins.yaml, link.py, loop.yaml" in str(lines)
    assert "a: 1" in found["uncommitted.diff"]
    subprocess.run(["git", "-C", "nested", "add", "-A"], cwd=repository, check=True)
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", "-C", "nested", *identity, "commit", "-qm", "first"], cwd=repository, check=True)
    assert "nested/" in changes(repository)["uncommitted.txt"]


def test_changes_that_git_cannot_tell_end_no_run(repository, monkeypatch):
    (repository / "new.py").write_text("x = 1\n")
    monkeypatch.setattr(provenance.os, "access", lambda path, mode: False)  # of another user
    assert changes(repository) == {"uncommitted.txt": "not recorded, not readable: new.py\n"}
    monkeypatch.undo()
    monkeypatch.setattr(provenance, "_diff", lambda *words: provenance._git(repository, "diff", "--no-such-option"))
    assert changes(repository)["uncommitted.txt"].startswith("not recorded: git cannot tell the changes")


def test_outside_of_git_there_is_nothing_to_tell(tmp_path):
    assert provenance.tree(tmp_path) == {} and changes(tmp_path) == {}


def test_a_process_is_told_from_another_of_its_number():
    mine = processes.this()
    assert not processes.is_dead(mine) and not processes.is_dead(f"elsewhere {os.getpid()} 1")
    host, number, _ = mine.split()
    assert processes.is_dead(f"{host} {number} 1")
    child = subprocess.Popen(["true"])
    child.wait()
    assert processes.is_dead(f"{host} {child.pid} 1")


def test_a_run_says_which_ci_run_and_review_it_is_for(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("GITHUB_", "CI_"))]:
        monkeypatch.delenv(name)
    assert provenance.ci() == {}
    for name, value in {"RUN_ID": "77", "REPOSITORY": "a/b", "REF": "refs/pull/12/merge"}.items():
        monkeypatch.setenv(f"GITHUB_{name}", value)
    at = "https://github.com/a/b"
    assert provenance.ci() == {"ci.run": f"{at}/actions/runs/77", "ci.review": f"{at}/pull/12"}
    monkeypatch.delenv("GITHUB_RUN_ID")
    at = "https://gitlab.example.com/a/b"
    review = {"MERGE_REQUEST_PROJECT_URL": at, "MERGE_REQUEST_IID": "5"}
    for name, value in {"PIPELINE_URL": f"{at}/-/pipelines/9", **review}.items():
        monkeypatch.setenv(f"CI_{name}", value)
    assert provenance.ci() == {"ci.run": f"{at}/-/pipelines/9", "ci.review": f"{at}/-/merge_requests/5"}


def test_a_long_parameter_is_cut_and_says_how_much_is_left_out():
    assert runner._short([1, "a"]) == "[1, 'a']" and runner._short({"a": 1}) == "{'a': 1}"
    cut = runner._short([f"column_{number:03}" for number in range(100)])
    assert cut.startswith("['column_000', ") and cut.endswith(" more]") and len(cut) < 530
    assert runner._short({f"column_{number:03}": "x" * 300 for number in range(3)}).endswith("... and 2 more}")

import multiprocessing
import os
import signal
import time

import polars as pl
import pytest
from penguin_classifier.machinery.locks import is_locked, locked
from penguin_classifier.machinery.pipeline.store import Store
from penguin_classifier.machinery.result import StageResult


def make(root, summary: str = "made", began=None, done=None) -> None:
    """Makes the output of a stage, or takes that of another process that has just made it."""
    store = Store(root)
    store.keys["split"] = "key"
    with store.draft("split") as folder:
        if began:
            began.set()
            time.sleep(0.3)
        if store.why_unusable("split") is None:
            return
        assert not list(folder.iterdir()), "something was left here"
        store.save_table("split", pl.LazyFrame({"a": [1]}))
        store.commit("split", StageResult(summary), run="r1")
        if done is not None:
            done.append(summary)


def test_an_output_is_whole_or_not_there(tmp_path):
    store = Store(tmp_path)
    store.keys["split"] = "key"
    with pytest.raises(KeyboardInterrupt), store.draft("split"):
        store.save_table("split", pl.LazyFrame({"a": [1]}))
        raise KeyboardInterrupt
    assert not list((tmp_path / "split").iterdir()) and store.why_unusable("split") == "there is none"
    make(tmp_path)
    assert store.why_unusable("split") is None and store.record("split")["run"] == "r1"
    assert [path.name for path in (tmp_path / "split").iterdir()] == ["key"]


def test_two_processes_do_not_make_the_same_twice(tmp_path):
    began = multiprocessing.get_context("spawn").Event()
    other = multiprocessing.get_context("spawn").Process(target=make, args=(tmp_path, "the other's", began))
    other.start()
    assert began.wait(60)
    done: list[str] = []
    make(tmp_path, "mine", done=done)  # waits for the other
    other.join()
    store = Store(tmp_path)
    store.keys["split"] = "key"
    assert not done and store.outcome("split").summary == "the other's"


def test_what_a_killed_process_left_is_no_output_and_is_cleared(tmp_path):
    draft = tmp_path / "split/.key"
    draft.mkdir(parents=True)
    (draft / "table.parquet").write_text("half")
    (draft / "outcome.json").write_text("{}")
    store = Store(tmp_path)
    store.keys["split"] = "key"
    assert store.why_unusable("split") and store.records("split") == []
    make(tmp_path)
    assert store.why_unusable("split") is None


def hold(path, held) -> None:
    with locked(path):
        held.set()
        time.sleep(60)


def test_a_lock_ends_with_its_process(tmp_path):
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    other = context.Process(target=hold, args=(tmp_path / "key", held))
    other.start()
    assert held.wait(60) and is_locked(tmp_path / "key") and is_locked(tmp_path / ".key")
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    assert (tmp_path / ".key.lock").exists() and not is_locked(tmp_path / "key"), "the file stays, and does no harm"
    with locked(tmp_path / "key"):
        assert is_locked(tmp_path / "key")
    assert not list(tmp_path.iterdir())


def test_what_another_process_writes_is_not_deleted(tmp_path):
    store = Store(tmp_path)
    for key in ("needed", "old", "new"):
        (tmp_path / "split" / key).mkdir(parents=True)
    with locked(tmp_path / "split/.new"):
        folders, _ = store.others(["split"], ["needed"])
    assert [folder.name for folder in folders] == ["old"]


def test_a_digest_is_kept_until_the_file_changes(tmp_path, monkeypatch):
    file = tmp_path / "a.csv"
    file.write_text("a\n1\n")
    time.sleep(0.1)
    store = Store(tmp_path / "outputs")
    (tmp_path / "outputs").mkdir()
    first = store.digest(file)
    store.remember()
    store = Store(tmp_path / "outputs")
    with monkeypatch.context() as patch:
        patch.setattr("hashlib.file_digest", None)  # would fail: nothing is read
        assert store.digest(file) == first
    state = file.stat()
    file.write_text("a\n2\n")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert store.digest(file) != first, "same size, same time of writing, another content"


def test_a_file_written_just_now_is_read_again(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("a\n1\n")
    store = Store(tmp_path)
    store.digest(file)
    assert "digests" not in store.notes, "it may be written again within the clock's tick"


def test_notes_that_cannot_be_read_are_forgotten(tmp_path):
    (tmp_path / "notes.json").write_text('{"digests": ')
    assert Store(tmp_path).notes == {}

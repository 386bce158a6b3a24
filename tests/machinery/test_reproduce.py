import json
from pathlib import Path

import pytest
from penguin_classifier.machinery.errors import ProjectError
from penguin_classifier.machinery.jobs.reproduce import job as reproduce
from penguin_classifier.machinery.pipeline.store import Store
from penguin_classifier.machinery.result import StageResult

ROOT = Path(__file__).parents[1]


@pytest.fixture
def again(tmp_path):
    """The outputs of a run that was done again."""
    store = Store(tmp_path)
    made = {
        "ingest": StageResult("", facts={"digest": "a"}),
        "validate": StageResult("", scores={"expectations": 3}),
        "evaluate": StageResult("", scores={"test_r2": 0.5, "champion_r2": 0.4}),
    }
    for stage, outcome in made.items():
        store.keys[stage] = "key"
        with store.draft(stage):
            store.commit(stage, outcome)
    return Store(tmp_path)


def steps(digest: str = "a", score: float = 0.5) -> list[dict]:
    return [
        {"stage": "ingest", "facts": {"digest": digest}, "scores": {}},
        {"stage": "validate", "facts": {}, "scores": {"expectations": 3}},
        {"stage": "evaluate", "facts": {}, "scores": {"test_r2": score, "champion_r2": 0.3}},
        {"stage": "register", "facts": {}, "scores": {}, "aliases": {}},
    ]


def test_the_same_is_told_from_the_similar_and_the_other(again):
    told, apart = reproduce.compare(steps(), again, model_id="")
    assert told == {"ingest": "identical table", "validate": "identical counts", "evaluate": "identical scores"}
    assert set(apart.values()) == {0.0}, "the champion of then is not asked for"
    told, apart = reproduce.compare(steps(score=0.75), again, model_id="")
    assert told["evaluate"] == "test_r2 apart by 0.25" and apart["evaluate"] == 0.25
    told, apart = reproduce.compare(steps(digest="b"), again, model_id="")
    assert told["ingest"] == "another table" and apart["ingest"] == float("inf")


def test_what_is_gone_is_said_first(do):
    do("split", "data=penguins")
    code, printed = do("reproduce", "run_id=nothing")
    assert code == 1 and "run nothing cannot be had: " in printed
    code, printed = do("reproduce", "run_id=models:/nobody@champion")
    assert code == 1 and "models:/nobody@champion is not in the registry" in printed
    assert reproduce._gone(ROOT, {}, {}) == [
        "it has no lineage: it did not end, or it is no run of this project's line"
    ]
    about = {"input": {"source": {}}, "transformations": [{"stage": "split"}], "model_id": ""}
    lineage = {"command": {"overrides": []}, **about}
    whole = {"lineage.json": json.dumps(lineage), "config.json": json.dumps({"model": {}})}
    assert "outside of git" in reproduce._gone(ROOT, {}, whole)[0]
    found = reproduce._gone(ROOT, {"git.commit": "0" * 40}, whole | {"uncommitted.txt": "not recorded: too large\n"})
    assert "is not in this repository" in found[0] and found[1].endswith("are gone (not recorded: too large)")
    typed = {"command": {"overrides": ["expectations=withheld: columns.sensitive"]}, **about}
    found = reproduce._gone(ROOT, {"git.commit": "0" * 40}, whole | {"lineage.json": json.dumps(typed)})
    assert "are withheld" in found[1]
    left = {"uncommitted.txt": "left out, no code: people.csv\n"}
    assert len(reproduce._gone(ROOT, {"git.commit": "0" * 40}, whole | left)) == 1


def test_a_table_that_was_changed_after_the_commit_is_taken_where_it_is(tmp_path):
    root, tree = tmp_path / "root", tmp_path / "tree"
    for folder, text in ((root, "a\n1\n"), (tree, "a\n2\n")):
        folder.mkdir()
        (folder / "table.csv").write_text(text)
    store, source = Store(tmp_path / "store"), {"_target_": "polars.scan_csv", "source": "table.csv"}
    for folder, words in ((tree, []), (root, [f"++source.source='{root}/table.csv'"])):
        contents = reproduce.fingerprint({"source": str(folder / "table.csv")}, digest=store.digest)
        assert reproduce._data(store, {"source": source, "contents": contents}, root, tree) == words


def test_a_table_of_a_cluster_is_its_version():
    source = {"_target_": "penguin_classifier.machinery.engines.spark.readers.table", "name": "shop.customers"}
    assert reproduce.fingerprint(source, digest=str) is None  # it is read each time
    assert reproduce.fingerprint(source | {"version": 3}, digest=str) == "version=3 of shop.customers"


def test_a_table_that_has_another_version_now_is_read_as_it_was(tmp_path, monkeypatch):
    source = {"_target_": "polars.scan_delta", "source": "s3://bucket/table"}
    monkeypatch.setattr(reproduce, "fingerprint", lambda source, digest: f"version={source.get('version', 8)} of 98-0d")
    recorded = {"source": source, "contents": "version=3 of 98-0d"}
    assert reproduce._data(Store(tmp_path), recorded, tmp_path, tmp_path) == ["++source.version=3"]
    with pytest.raises(ProjectError, match="has changed since that run"):  # another table, in the same place
        reproduce._data(Store(tmp_path), recorded | {"contents": "version=3 of 11-1a"}, tmp_path, tmp_path)


def test_data_that_changed_is_said(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("a\n1\n")
    recorded = {"source": {"source": str(table)}, "contents": "another"}
    with pytest.raises(ProjectError, match=r"table.csv\) has changed since that run"):
        reproduce._data(Store(tmp_path), recorded, tmp_path, tmp_path)
    table.unlink()
    with pytest.raises(ProjectError, match=r"table.csv\) is gone"):
        reproduce._data(Store(tmp_path), recorded, tmp_path, tmp_path)

"""What is run again and what is reused, and what is said of it."""

import json
import os
import shutil
from pathlib import Path

from mlflow import MlflowClient
from penguin_classifier.machinery.layout import Layout
from penguin_classifier.machinery.pipeline import provenance
from penguin_classifier.stages import split
from test_line import SMALL, runs


def test_a_damaged_output_is_made_again_and_said(do, outputs):
    do("split", "data=penguins")
    table = next((outputs / "outputs/ingest").glob("*/table.parquet"))
    whole, state = table.read_bytes(), table.stat()
    for damaged, sentence in (
        (whole[:-1], "is not as it was written"),
        (whole[:-9] + b"x" + whole[-8:], "is not as it was written"),
        (None, "is missing"),
    ):
        table.unlink() if damaged is None else table.write_bytes(damaged)
        if damaged:
            os.utime(table, ns=(state.st_atime_ns, state.st_mtime_ns))  # looks untouched
        _, printed = do("split", "data=penguins")
        assert f"s, {table} {sentence})" in printed and "validate  11 of 11 expectations met (reused" in printed
        assert table.read_bytes() == whole


def test_what_would_run_is_told_and_not_run(do, outputs):
    code, printed = do("explain", "data=penguins")
    assert code == 0 and [line.split(maxsplit=1)[1] for line in printed.splitlines()] == ["would run: first run"] * 6
    do("train", "data=penguins", *SMALL)
    before = sorted(outputs.rglob("*"))
    code, printed = do("explain", "data=penguins", *SMALL, "model.max_depth=3", "evaluation.min_rows=40")
    told = dict(line.split(maxsplit=1) for line in printed.splitlines())
    assert told["split"].startswith("up to date, by run ")
    assert told["train"] == "would run: model.max_depth is new (3)"
    assert told["evaluate"] == "would run: first run" and sorted(outputs.rglob("*")) == before
    _, printed = do("explain", "data=penguins", *SMALL)
    assert "train     up to date" in printed


def test_a_store_that_is_gone_is_filled_again(do, outputs, store):
    do("data=penguins", *SMALL)
    shutil.rmtree(outputs / "mlruns", ignore_errors=True)
    shutil.copy(store, outputs / "mlflow.db")
    code, printed = do("data=penguins", *SMALL)
    assert code == 0 and printed.count("(reused from run ") == 5
    assert "the registry changed: champion is version 1 -> no alias)" in printed
    assert MlflowClient().get_model_version_by_alias("penguin-classifier-penguins", "champion").version == 1


def test_a_version_declared_spares_reading(do, outputs):
    lines = (Path(__file__).parents[1] / "data/raw/penguins.csv").read_text().splitlines()
    for number in (1, 2):
        (outputs / f"part{number}.csv").write_text("\n".join(lines[:200]))
    where = ["data=penguins", f"source.source={outputs}/part*.csv", "expectations=[]"]
    do("split", *where)
    _, printed = do("split", *where)
    assert "s, a source without source_version is read each time)" in printed and "validate" in printed
    assert "split     " in printed and printed.count("(reused from run ") == 2
    do("split", *where, "source_version=1")
    assert do("split", *where, "source_version=1")[1].startswith("split is up to date: ")
    assert "source_version changed 1 -> 2" in do("explain", *where, "source_version=2")[1]


def test_a_version_declared_hides_no_change_of_a_file(do, outputs):
    table = outputs / "table.csv"
    table.write_text((Path(__file__).parents[1] / "data/raw/penguins.csv").read_text())
    where = ["data=penguins", f"source.source={table}", "source_version=1"]
    do("split", *where)
    table.write_text(table.read_text().replace("39.1", "39.2", 1))
    assert "contents of the source changed" in do("explain", *where)[1]


def test_every_pin_of_the_lock_counts(do, outputs, monkeypatch):
    monkeypatch.setattr(Layout, "lock", outputs / "requirements.txt")
    lock = outputs / "requirements.txt"
    pins = "a==1 ; python_full_version < '3.12' \\\n    --hash=sha256:0\na==2 ; python_full_version >= '3.12' \\\n"
    lock.write_text(pins)
    do("ingest", "data=penguins")
    lock.write_text(pins.replace("a==1", "a==1.1"))
    assert "would run: a changed" in do("explain", "data=penguins")[1]
    lock.write_text("# a comment\n" + pins.replace("sha256:0", "sha256:1"))
    assert "ingest    up to date" in do("explain", "data=penguins")[1]


def test_an_interrupt_ends_the_runs_as_killed(do, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(split.splits, "shares", interrupt)
    code, printed = do("split", "data=penguins")
    assert code == 130 and "interrupted" in printed
    assert [(run.info.status, run.data.tags["cause"]) for run in runs("split")] == [("KILLED", "interrupted")] * 2


def test_a_clean_tree_can_be_asked_for(do, monkeypatch):
    monkeypatch.setattr(provenance, "tree", lambda root: {"git.dirty": "true"})
    _, printed = do("data=penguins", *SMALL, "gate.clean_tree=true")
    assert "the work tree has changes that are in no commit" in printed and "version 1 is challenger" in printed
    monkeypatch.setattr(provenance, "tree", lambda root: {"git.dirty": "false"})
    _, printed = do("data=penguins", *SMALL, "gate.clean_tree=true")
    assert "dirty changed true -> false" in printed and "version 1 is champion" in printed


def test_lineage_names_every_step_and_file(do, outputs):
    do("split", "data=penguins")
    [run] = [run for run in runs("split") if "mlflow.parentRunId" not in run.data.tags]
    path = MlflowClient().download_artifacts(run.info.run_id, "lineage.json", str(outputs))
    lineage = json.loads(Path(path).read_text())
    assert [step["stage"] for step in lineage["transformations"]] == ["ingest", "validate", "split"]
    assert lineage["transformations"][2]["files"]["table.parquet"] == lineage["output"]["digest"]


def test_explain_names_imports_that_no_key_can_see(do, monkeypatch):
    from penguin_classifier.machinery.pipeline.code_fingerprint import CodeFingerprint

    seen = []
    monkeypatch.setattr(CodeFingerprint, "unresolved", lambda self, modules: seen.extend(modules) or ["features.py:7"])
    printed = do("explain", "data=penguins")[1]
    assert "note: features.py:7 imports a module whose name is computed" in printed
    assert "stages.train" in seen and not [name for name in seen if name.startswith("machinery.")]

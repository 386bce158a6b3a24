import json
import os
import re
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

SMALL = ("model=forest", "model.n_estimators=10", "evaluation.importance_repeats=1", "evaluation.resamples=20")


def runs(stage: str):
    """The runs in the project's experiment of the command `stage`, or of that stage, the newest first."""
    return MlflowClient().search_runs(["0"], f"tags.stage = '{stage}'")


@pytest.mark.parametrize("data", ["penguins", "penguins_mass"])
def test_a_table_becomes_a_champion_and_nothing_is_done_twice(do, outputs, data):
    name = f"<< cookiecutter.project_slug >>-{data}"
    code, printed = do(f"data={data}", *SMALL)
    assert code == 0, printed
    assert f"{name} version 1 is champion" in printed
    client = MlflowClient()
    assert client.get_experiment("0").name == "<< cookiecutter.project_slug >>"
    version = client.get_model_version_by_alias(name, "champion")
    assert version.description and version.tags["digest"]

    parent = next(run for run in runs("register") if "mlflow.parentRunId" not in run.data.tags)
    assert parent.info.status == "FINISHED"
    assert parent.data.params["model.n_estimators"] == "10" and parent.data.params["data"] == data
    assert any(name.startswith("test_") for name in parent.data.metrics)
    assert {"config.json", "lineage.json", "sample.csv", "evaluate"} <= {
        a.path for a in client.list_artifacts(parent.info.run_id)
    }

    code, printed = do(f"data={data}", *SMALL)
    assert code == 0 and re.fullmatch(
        rf"register is up to date: {name} version 1: champion \(by run \w{{8}}\)\n", printed
    )
    assert len(runs("register")) == 2, "a run was made though nothing was done"

    code, printed = do(f"data={data}", *SMALL, "gate.min_baseline_gain=0.1")  # the champion is compared as it was
    assert code == 0 and [line.split()[0] for line in printed.splitlines() if "(reused from run " in line] == [
        "ingest",
        "validate",
        "split",
        "train",
        "evaluate",
    ]
    assert "gate.min_baseline_gain changed 0.0 -> 0.1)" in printed
    assert len(client.search_model_versions(f"name = '{name}'")) == 1
    parent = next(run for run in runs("register") if "mlflow.parentRunId" not in run.data.tags)
    trained = next(run for run in runs("train"))
    assert parent.data.tags["reused.train"] == trained.info.run_id
    assert trained.info.run_id in parent.data.tags["mlflow.note.content"]


def test_a_worse_model_stays_challenger_and_a_gate_can_refuse_the_first(do):
    name = "<< cookiecutter.project_slug >>-penguins"
    do("data=penguins", *SMALL)
    code, printed = do("data=penguins", "model=dummy", "evaluation.importance_repeats=0")
    assert code == 0 and f"{name} version 2 is challenger" in printed and "gate failed" in printed
    client = MlflowClient()
    assert client.get_model_version_by_alias(name, "champion").version == 1
    assert client.get_model_version_by_alias(name, "challenger").version == 2


def test_a_champion_stays_where_nothing_is_proved(do):
    do("data=penguins", *SMALL)
    few = "rows are test rows of both this model and the champion, version 1, fewer than evaluation.min_rows=30"
    _, printed = do("data=penguins", "seed=7", *SMALL)
    assert few in printed and "version 2 is challenger" in printed
    _, printed = do("data=penguins", "columns.target=species", "task=multiclass", *SMALL)
    assert "predicts sex, not species: give this model a name of its own" in printed
    assert "version 3 is challenger" in printed


def test_a_failed_expectation_stops_the_line_and_leaves_nothing(do, outputs):
    never = "expectations=[{type: expect_column_values_to_be_between, kwargs: {column: year, max_value: 2008}}]"
    code, printed = do("data=penguins", never)
    assert code == 1
    assert "1 of 1 expectations failed" in printed and "120 of 344 values" in printed
    assert [run.info.status for run in runs("validate")] == ["FAILED"]
    assert "expectations failed" in runs("validate")[0].data.tags["cause"]
    assert not list((outputs / "outputs/validate").iterdir()) and not (outputs / "outputs/split").exists()


@pytest.mark.parametrize(
    "words, sentence, exit_code",
    [
        (["source.source=nothing.csv"], "the source is not there", 1),
        (["columns.target=wings"], "columns.target=wings: the table has no such column; it has species, island", 1),
        (["split.test=0.3", "split.train=0.8"], "shares sum to 1.1, not 1", 2),
        (["model=ridge"], "Ridge is no model for classification", 1),
        (["platform=server"], "platform=server needs MLFLOW_TRACKING_URI to name a server", 2),
        (["model=forest", "model.n_estimator=5"], "did you mean n_estimators?", 2),
        (["columns.key=[sex]"], "columns.key names sex, which is columns.target: it can be one of them", 2),
        (["split=group", "columns.group=[island]", "split.test=0.01"], "is none: it takes more rows", 1),
        (["task.threshold=f1"], "is chosen on validation rows: give them split.validation=0.15", 1),
    ],
)
def test_wrong_input_is_one_sentence(do, words, sentence, exit_code):
    code, printed = do("train", "data=penguins", *words)
    assert code == exit_code and sentence in printed and "Traceback" not in printed


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
    assert MlflowClient().get_model_version_by_alias("<< cookiecutter.project_slug >>-penguins", "champion").version == 1


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
    from << cookiecutter.package_name >>.machinery.layout import Layout

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
    from << cookiecutter.package_name >>.stages import split

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(split.splits, "shares", interrupt)
    code, printed = do("split", "data=penguins")
    assert code == 130 and "interrupted" in printed
    assert [(run.info.status, run.data.tags["cause"]) for run in runs("split")] == [("KILLED", "interrupted")] * 2


def test_a_clean_tree_can_be_asked_for(do, monkeypatch):
    from << cookiecutter.package_name >>.machinery.pipeline import provenance

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

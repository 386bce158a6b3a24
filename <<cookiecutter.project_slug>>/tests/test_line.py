"""The whole line, from a table to a champion, on a small table and with small models."""

import re

import pytest
from conftest import DATA
from mlflow import MlflowClient

NAME = f"<< cookiecutter.project_slug >>-{DATA}"
SMALL = ("model=forest", "model.n_estimators=10", "evaluation.importance_repeats=1", "evaluation.resamples=20")


def runs(stage: str):
    """The runs in the project's experiment of the command `stage`, or of that stage, the newest first."""
    return MlflowClient().search_runs(["0"], f"tags.stage = '{stage}'")


@pytest.mark.parametrize("words", [[], ["task=regression", "columns.target=body_mass_g", "gate.min_scores={}"]])
def test_a_table_becomes_a_champion_and_nothing_is_done_twice(do, words):
    words = [f"data={DATA}", *SMALL, *words]
    code, printed = do(*words)
    assert code == 0, printed
    assert f"{NAME} version 1 is champion" in printed
    client = MlflowClient()
    assert client.get_experiment("0").name == "<< cookiecutter.project_slug >>"
    version = client.get_model_version_by_alias(NAME, "champion")
    assert version.description and version.tags["digest"]

    parent = next(run for run in runs("register") if "mlflow.parentRunId" not in run.data.tags)
    assert parent.info.status == "FINISHED"
    assert parent.data.params["model.n_estimators"] == "10" and parent.data.params["data"] == DATA
    assert any(name.startswith("test_") for name in parent.data.metrics)
    assert {"config.json", "lineage.json", "sample.csv", "evaluate"} <= {
        a.path for a in client.list_artifacts(parent.info.run_id)
    }

    code, printed = do(*words)
    assert code == 0 and re.fullmatch(
        rf"register is up to date: {NAME} version 1: champion \(by run \w{{8}}\)\n", printed
    )
    assert len(runs("register")) == 2, "a run was made though nothing was done"

    code, printed = do(*words, "gate.min_baseline_gain=0.1")  # the champion is compared as it was
    assert code == 0 and [line.split()[0] for line in printed.splitlines() if "(reused from run " in line] == [
        "ingest",
        "validate",
        "split",
        "train",
        "evaluate",
    ]
    assert "gate.min_baseline_gain changed 0.0 -> 0.1)" in printed
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 1
    parent = next(run for run in runs("register") if "mlflow.parentRunId" not in run.data.tags)
    trained = next(run for run in runs("train"))
    assert parent.data.tags["reused.train"] == trained.info.run_id
    assert trained.info.run_id in parent.data.tags["mlflow.note.content"]


def test_a_worse_model_stays_challenger_and_a_gate_can_refuse_the_first(do):
    do(f"data={DATA}", *SMALL)
    code, printed = do(f"data={DATA}", "model=dummy", "evaluation.importance_repeats=0")
    assert code == 0 and f"{NAME} version 2 is challenger" in printed and "gate failed" in printed
    client = MlflowClient()
    assert client.get_model_version_by_alias(NAME, "champion").version == 1
    assert client.get_model_version_by_alias(NAME, "challenger").version == 2


def test_a_champion_stays_where_nothing_is_proved(do):
    do(f"data={DATA}", *SMALL)
    few = "rows are test rows of both this model and the champion, version 1, fewer than evaluation.min_rows=30"
    _, printed = do(f"data={DATA}", "seed=7", *SMALL)
    assert few in printed and "version 2 is challenger" in printed
    _, printed = do(f"data={DATA}", "columns.target=species", "task=multiclass", *SMALL)
    assert "predicts sex, not species: give this model a name of its own" in printed
    assert "version 3 is challenger" in printed


def test_a_failed_expectation_stops_the_line_and_leaves_nothing(do, outputs):
    never = "expectations=[{type: expect_column_values_to_be_between, kwargs: {column: year, max_value: 2008}}]"
    code, printed = do(f"data={DATA}", never)
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
        (["split.by=group", "columns.group=[island]", "split.test=0.01"], "is none: it takes more rows", 1),
        (["task.threshold=f1"], "is chosen on validation rows: give them split.validation=0.15", 1),
    ],
)
def test_wrong_input_is_one_sentence(do, words, sentence, exit_code):
    code, printed = do("train", f"data={DATA}", *words)
    assert code == exit_code and sentence in printed and "Traceback" not in printed

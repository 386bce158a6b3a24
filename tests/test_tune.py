"""A search for better settings, as users run it: killed, gone on with, at once on several cores, and taken."""

import json
import os
import signal
import time

import polars as pl
import pytest

pytestmark = pytest.mark.slow

FOREST = ["tune", "model=forest", "model.n_estimators=5", "tune.space.model.n_estimators=[5,8]", "tune.folds=3"]
RUNS = """
import json
told = lambda run: [*map(run.data.tags.get, ["stage", "mlflow.parentRunId"]), run.data.params, run.data.metrics]
print(json.dumps([[run.info.status, *told(run)] for run in client.search_runs(["0"], max_results=1000)]))
"""


def trials(project) -> pl.DataFrame:
    """The newest trials.csv, without the ids of runs."""
    code = """
run = client.search_runs(["0"], "tags.stage = 'tune' and attributes.status = 'FINISHED'")[0]
print(client.download_artifacts(run.info.run_id, "trials.csv"))
"""
    return pl.read_csv(project.ask(code).splitlines()[-1]).drop("run")


def test_a_search_that_is_killed_goes_on_and_gives_the_same(fresh):
    words = [*FOREST, "tune.trials=8", "tune.jobs=1", "tune.name=forest_tuned"]
    whole = fresh.python(*words, "platform.outputs=outputs/a")
    assert whole.code == 0 and "wrote conf/experiment/forest_tuned.yaml" in whole.printed, whole.printed
    made = trials(fresh)
    assert len(made) == 8

    process = fresh.start(*words, "platform.outputs=outputs/b")
    journals = fresh.path / "outputs/b/tune"
    while sum(file.read_text().count('"op_code":6') for file in journals.glob("*/journal.jsonl")) < 4:  # told trials
        time.sleep(0.02)
    os.kill(process, signal.SIGKILL)
    assert fresh.end(process).code == -signal.SIGKILL
    again = fresh.python(*words, "platform.outputs=outputs/b")
    assert again.code == 0, again.printed
    assert trials(fresh).equals(made), "not the same as without the kill"
    runs = json.loads(fresh.ask(RUNS))
    assert "RUNNING" not in {status for status, *_ in runs}
    ended = [(parent, params) for _, stage, parent, params, metrics in runs if stage == "trial" and metrics]
    assert len(ended) == 16 and all(parent and params for parent, params in ended)

    taken = fresh.python("train", "experiment=forest_tuned")
    assert taken.code == 0, taken.printed
    best = max(made.filter(state="complete").iter_rows(named=True), key=lambda row: (row["roc_auc"], -row["trial"]))
    runs = json.loads(fresh.ask(RUNS))
    params = next(params for _, stage, parent, params, _ in runs if stage == "train" and not parent)
    assert params["model"] == "forest" and params["model.n_estimators"] == str(best["model.n_estimators"])
    assert params.get("model.max_features", "sqrt") == str(best["model.max_features"])  # "sqrt" is the class's own


def test_trials_at_once(fresh):
    words = ["model=logistic", "tune.trials=6", "tune.folds=3", "tune.jobs=2"]
    done = fresh.mlflow("-e", "tune", *(part for word in words for part in ("-P", word)))
    assert done.code == 0 and "-P experiment=logistic_penguins" in done.printed, done.printed
    states = [status for status, stage, *_ in json.loads(fresh.ask(RUNS)) if stage == "trial"]
    assert len(states) == 6 and {*states} <= {"FINISHED", "KILLED"}
    text = (fresh.path / "conf/experiment/logistic_penguins.yaml").read_text()
    assert "override /model: logistic" in text and "override /data: penguins" in text

"""A search for better settings, as users run it: killed, gone on with, at once on several cores, and taken."""

import json
import os
import signal
import time
from collections import Counter

import numpy as np
import polars as pl
import pytest

pytestmark = pytest.mark.slow

FOREST = ["tune", "model=forest", "model.n_estimators=5", "tune.space.model.n_estimators=[5,8]", "tune.folds=3"]
RUNS = """
import json
told = lambda run: [*map(run.data.tags.get, ["stage", "mlflow.parentRunId"]), run.data.params, run.data.metrics]
print(json.dumps([[run.info.status, *told(run)] for run in client.search_runs(["0"], max_results=1000)]))
"""

WATCHED = """

from pathlib import Path  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402


class Watched(LogisticRegression):
    \"\"\"Tells after each of ten epochs how well it does, which is better the better its `quality` is.\"\"\"

    def __init__(self, *, quality: float) -> None:
        super().__init__()
        self.quality = quality

    def fit(self, X: Any, y: Any, *, progress: Any = None) -> Watched:
        for epoch in range(1, 11):
            with Path("epochs.txt").open("a") as file:
                print(self.quality, file=file)
            progress(epoch, validation_roc_auc=self.quality * epoch / 10, validation_loss=1.0)
        return super().fit(X, y)
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


def test_a_fit_that_tells_how_its_epochs_do_is_given_up_within_it(fresh):
    models = fresh.path / "penguin_classifier/models.py"
    models.write_text(models.read_text() + WATCHED)
    (fresh.path / "conf/model/watched.yaml").write_text("_target_: penguin_classifier.models.Watched\nquality: 0.9\n")
    (fresh.path / "conf/tune/watched.yaml").write_text("space: {model: {quality: {low: 0.1, high: 0.9}}}\n")
    words = ["model=watched", "tune.sampler=random"]
    done = fresh.python("tune", *words, "tune.jobs=1", "tune.folds=2", "tune.trials=16")
    assert done.code == 0 and "pruned" in done.printed, done.printed
    table, epochs = trials(fresh), Counter((fresh.path / "epochs.txt").read_text().split())
    assert len(table) == 16
    before: list[float] = []
    for row in table.iter_rows(named=True):  # from the third epoch and the sixth trial on: the worst quarter so far
        quality = row["model.quality"]
        late = len(before) >= 5 and quality < np.percentile(before, 25)
        assert (row["state"], epochs[str(quality)]) == (("pruned", 3) if late else ("complete", 20)), (row, before)
        before.append(quality)
    again = fresh.python("tune", *words, "tune.jobs=1", "tune.folds=2", "tune.trials=16")
    assert again.code == 0 and trials(fresh).equals(table), again.printed  # those that were given up are kept, too
    assert Counter((fresh.path / "epochs.txt").read_text().split()) == epochs

import shutil
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import optuna
import polars as pl
import pytest
from mlflow import MlflowClient
from penguin_classifier.machinery.config import compose
from penguin_classifier.machinery.config.schema import Columns
from penguin_classifier.machinery.data import splits
from penguin_classifier.machinery.errors import ProjectError
from penguin_classifier.machinery.jobs.tune import optuna_study
from penguin_classifier.machinery.layout import Layout

LAYOUT = Layout(Path(__file__).parents[1], "penguin_classifier")

DAYS = [date(2024, 1, 1) + timedelta(days=i // 3) for i in range(300)]
TABLE = pl.DataFrame(
    {"x": [i % 250 for i in range(300)], "group": [i % 31 for i in range(300)], "y": ["a", "b", "b"] * 100, "day": DAYS}
)
SMALL = ("model=logistic", "tune.jobs=1", "tune.folds=3", "tune.trials=3")


def folds(by: str, count: int = 5, table: pl.DataFrame = TABLE, gap: str | None = None):
    columns = Columns(target="y", key=[], group=["group"], time="day", drop=[], sensitive=[])
    return splits.folds(table, by=by, count=count, columns=columns, seed=7, gap=gap)


@pytest.mark.parametrize("by", ["hash", "stratified", "group"])
def test_every_row_is_tested_once_by_what_was_not_trained_on_it(by):
    found = folds(by)
    assert sorted(np.concatenate([test for _, test in found])) == list(range(300))
    for train, test in found:
        assert not set(train) & set(test) and len(train) + len(test) == 300
        if by == "group":
            assert not set(TABLE[train]["group"]) & set(TABLE[test]["group"])
        if by == "stratified":
            assert (TABLE[test]["y"] == "a").sum() == pytest.approx(20, abs=1)
    assert [test.tolist() for _, test in found] == [test.tolist() for _, test in folds(by)]


def test_twins_stay_together():
    twins = pl.concat([TABLE, TABLE])
    for train, test in folds("hash", table=twins):
        assert not set(twins[train].rows()) & set(twins[test].rows())


def test_by_time_each_fold_comes_after_what_it_was_trained_on():
    found = folds("time")
    tested = np.concatenate([test for _, test in found])
    assert len(set(tested)) == len(tested) and set(tested) == set(range(tested.min(), 300))
    assert all(TABLE[train]["day"].max() < TABLE[test]["day"].min() for train, test in found)
    assert [len(train) for train, _ in found] == sorted(len(train) for train, _ in found)
    for train, test in folds("time", gap="5d"):
        assert TABLE[test]["day"].min() - TABLE[train]["day"].max() > timedelta(days=5)
    with pytest.raises(ProjectError, match=r"400 folds of 300 rows by split=time: one has no rows, take fewer folds"):
        folds("time", 400)
    with pytest.raises(ProjectError, match=r"one has no rows"):
        folds("group", 32)


def test_a_space_becomes_what_optuna_draws_from():
    model = {"C": {"low": 1e-3, "high": 10, "log": True}, "steps": [[1, 2], None]}
    space = optuna_study.flatten({"model": model, "features": {"n": {"low": 1, "high": 9}}})
    drawn = optuna_study.distributions(space)
    assert list(drawn) == ["model.C", "model.steps", "features.n"]
    assert isinstance(drawn["features.n"], optuna.distributions.IntDistribution)
    assert optuna_study.from_params(space, {"model.C": 0.5, "model.steps": "[1, 2]"}) == {
        "model.C": 0.5,
        "model.steps": [1, 2],
    }


@pytest.mark.parametrize(
    "space, sentence",
    [
        ({}, "tune.space is empty"),
        ({"model": {"x": 3}}, "tune.space.model.x=3: give a range"),
        ({"model": {"x": []}}, "give a range"),
        ({"model": {"x": {"low": 3}}}, "give a range"),
        ({"model": {"x": {"low": 3, "high": 2}}}, "low=3 and high=2 have to be numbers, low below high"),
        ({"model": {"x": {"low": 0, "high": 2, "log": True}}}, "wants low above 0"),
        ({"model": {"x": {"low": 0, "high": 2, "step": 5}}}, "step=5 is a number between 0 and high - low"),
        ({"split": {"test": [0.1]}}, "tune.space.split.test: model, features, task.linear and task.transform"),
    ],
)
def test_a_space_that_is_none_is_one_sentence(space, sentence):
    with pytest.raises(ProjectError, match=r"^[^\n]+$") as refused:
        optuna_study.distributions(optuna_study.flatten(space))
    assert sentence in str(refused.value)


def test_a_journal_that_was_cut_off_is_gone_on_with(tmp_path):
    file = tmp_path / "journal.jsonl"
    among = optuna_study.distributions({"model.x": {"low": 0.0, "high": 1.0}})
    study = optuna_study.open_study(file, pruning=True)
    for number in range(2):
        trial = optuna_study.new_trial(study, among, current={"model.x": 0.5}, number=number, seed=1)
        trial.set_user_attr(optuna_study.NUMBER, number)
        trial.set_user_attr(optuna_study.SCORES, [1.0])
        if number == 0:
            study.tell(trial, 1.0)
    with file.open("ab") as stream:
        stream.write(b'{"op_code": 5, "wor')
    file.with_name("journal.jsonl.lock").symlink_to(file)
    again = optuna_study.open_study(file, pruning=True)
    assert [each.params for each in optuna_study.finished(again)] == [{"model.x": 0.5}]
    assert not again.get_trials(states=(optuna.trial.TrialState.RUNNING,))
    once_more = optuna_study.new_trial(again, among, current={}, number=1, seed=1)
    assert once_more.params == trial.params, "drawn by the seed and the number"


def test_a_grid_tries_every_combination_once():
    space = {
        "model.list": ["a", [1, 2], None],
        "model.few": {"low": 1, "high": 4},
        "model.steps": {"low": 0.0, "high": 0.3, "step": 0.1},
        "model.many": {"low": 1, "high": 1000, "log": True},
        "model.share": {"low": 0.0, "high": 1.0},
    }
    among = optuna_study.distributions(space)
    count = optuna_study.combinations(among)
    found = [optuna_study.combination(among, number, seed=7) for number in range(count)]
    assert count == 3 * 4 * 4 * 5 * 5 == len({tuple(each.values()) for each in found})
    assert {each["model.few"] for each in found} == {1, 2, 3, 4} and found[0] != found[1]
    assert {each["model.many"] for each in found} == {1, 6, 32, 178, 1000}
    assert {each["model.share"] for each in found} == {0.0, 0.25, 0.5, 0.75, 1.0}
    assert all(
        among[key]._contains(among[key].to_internal_repr(value)) for each in found for key, value in each.items()
    )


@pytest.fixture
def conf(tmp_path, monkeypatch):
    """A copy of conf/ to write to."""
    shutil.copytree(LAYOUT.conf, tmp_path / "conf")
    monkeypatch.setattr(Layout, "conf", tmp_path / "conf")
    return tmp_path / "conf"


def test_the_best_of_some_trials_is_an_experiment(do, conf):
    words = ["data=penguins", "gate.min_scores={}", "split=stratified", "columns.drop=[year,island]"]
    code, printed = do("tune", *SMALL, *words, "tune.name=mine")
    assert code == 0 and "wrote conf/experiment/mine.yaml" in printed and "-P experiment=mine\n" in printed, printed
    client = MlflowClient()
    [run] = client.search_runs(["0"], "tags.stage = 'tune'")
    trials = client.search_runs(["0"], f"tags.`mlflow.parentRunId` = '{run.info.run_id}' and tags.stage = 'trial'")
    assert [each.info.run_name for each in trials] == ["trial-2", "trial-1", "trial-0"]
    assert all(each.info.status == "FINISHED" and "cv_roc_auc" in each.data.metrics for each in trials)
    assert trials[-1].data.params["model.C"] == "1.0", "the first is what is set now"
    history = client.get_metric_history(trials[0].info.run_id, "fold_roc_auc")
    assert [each.step for each in history] == [0, 1, 2]
    assert {"trials.csv", "trials.png"} <= {each.path for each in client.list_artifacts(run.info.run_id)}
    best = max(trials, key=lambda each: each.data.metrics["cv_roc_auc"])
    assert run.data.metrics["cv_roc_auc"] == best.data.metrics["cv_roc_auc"] >= trials[-1].data.metrics["cv_roc_auc"]

    resolved, _ = compose.resolve(LAYOUT, ["experiment=mine"])
    assert (resolved.choices["model"], resolved.choices["split"]) == ("logistic", "stratified")
    assert resolved.gate.min_scores == {} and resolved.columns.drop == ["year", "island"]
    assert str(resolved.model["C"]) == best.data.params["model.C"]

    code, _ = do("tune", *SMALL, *words, "tune.name=mine")
    assert code == 0 and len(client.search_runs(["0"], "tags.stage = 'trial'")) == 3, "all trials had been made"
    (conf / "experiment/mine.yaml").write_text("# @package _global_\n")
    code, printed = do("tune", *SMALL, *words, "tune.name=mine")
    assert code == 2 and "mine.yaml is there, and tune has not written it: tune.name=... names another" in printed


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["model=dummy"], "conf/tune/ has no dummy.yaml; it has blend, boosting"),
        (["tune.space.model.max_itr=[1]"], "LogisticRegression has no such argument; did you mean max_iter?"),
        (["tune.space.features.max_categories=[a]"], "features.max_categories: value 'a' of type 'str' could not be"),
        (["tune.space.task.transform=[log]"], "tune.space.task.transform is for regression, not for classification"),
        (["tune.trials=0"], "tune.trials=0: it is 1 or more"),
        (["tune.sampler=all"], "tune.sampler=all: it is tpe, random, grid"),
        (["tune.name=a/b"], "tune.name=a/b: the file in conf/experiment/ has a name of letters"),
        (["task=anomaly", "columns.target=null", "gate.min_scores={}", "evaluation.slices=[]"], "nothing to score"),
    ],
)
def test_wrong_input_is_one_sentence_before_anything_is_run(do, conf, words, sentence):
    model = [] if words[0].startswith(("model", "task=")) else ["model=logistic"]
    code, printed = do("tune", "data=penguins", *model, *words)
    assert code == 2 and sentence in printed and "Traceback" not in printed and "ingest" not in printed


def test_settings_that_cannot_be_scored_end_it_with_their_sentence(do, conf):
    code, printed = do("tune", "data=penguins", "model=ridge", "tune.jobs=1")
    assert code == 1 and "Ridge is no model for classification" in printed and not list(conf.glob("experiment/ridge*"))
    code, printed = do("tune", *SMALL, "data=penguins", "tune.space.model.C=[1.0,-1.0]", "tune.trials=6")
    assert code == 0 and "trials failed, the last: LogisticRegression cannot be fitted" in printed
    failed = MlflowClient().search_runs(["0"], "tags.`trial.state` = 'failed'")
    assert failed and {each.info.status for each in failed} == {"FAILED"}
    assert "LogisticRegression cannot be fitted" in failed[0].data.tags["cause"]

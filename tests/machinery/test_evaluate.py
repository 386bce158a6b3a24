import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mlflow import MlflowClient
from penguin_classifier import gates
from penguin_classifier.machinery.evaluation import measurement, scoring
from penguin_classifier.machinery.evaluation.bootstrap import Bootstrap
from penguin_classifier.machinery.evaluation.result import as_errors
from sklearn.ensemble import HistGradientBoostingClassifier

SMALL = ("evaluation.importance_repeats=1", "evaluation.resamples=40", "data=penguins")
NAME = "penguin-classifier-penguins"
WEAK = ("model=forest", "model.n_estimators=3", "model.max_depth=2", "gate.min_scores={}")


def last(stage="register"):
    """The newest run of the command `stage`."""
    found = MlflowClient().search_runs(["0"], f"tags.stage = '{stage}'", order_by=["attributes.start_time DESC"])
    return next(run for run in found if "mlflow.parentRunId" not in run.data.tags)


def artifact(name, folder):
    return Path(MlflowClient().download_artifacts(last().info.run_id, name, str(folder))).read_text()


def test_a_report_says_it_all_and_needs_nothing_else(do, outputs):
    do(*SMALL, *WEAK)
    words = ["model=boosting", "model.max_iter=60", "evaluation.slices=[island,body_mass_g]", "gate.max_loss=1"]
    words.append("card.limits=[Not for other birds.]")
    assert do(*SMALL, *words)[0] == 0
    page, card = artifact("report.html", outputs), artifact("model_card.md", outputs)
    for text in (page, card):
        assert "penguin-classifier-penguins version 2" in text and "champion" in text
        assert "max_loss" in text and "Biscoe" in text and "-P run_id=models:/" in text
        assert "curl localhost:8080/invocations" in text and "flipper_length_mm" in text
        assert "not stated: card.intended_use" in text and "its gates, 20" in text and "Not for other birds." in text
        assert re.search(r"\d{4} to \d{4}", text), "a slice of numbers has no range"
    assert not re.search(r"(src|href)=[\"']?https?:|@import|url\(http", page)
    assert page.count("<svg") >= 6
    found = last().data
    assert {"gain_value", "gain_low", "gain_high", "test_roc_auc_low", "calibration_error"} <= set(found.metrics)
    assert found.tags["gate.max_loss"].startswith("passed: roc_auc ")
    assert found.metrics["test_log_loss"] == -found.metrics["test_neg_log_loss"] and "positive_share" in found.metrics
    assert found.metrics["data_quality_score"] == 1 and found.tags["parent_model"] == f"models:/{NAME}/1"
    assert json.loads(artifact("validate/expectations.json", outputs))["success"]
    assert "mlflow" in json.loads(artifact("dependencies.json", outputs))["packages"]
    client = MlflowClient()
    [best] = client.search_model_versions(f"name = '{NAME}' AND tags.`parent_model` LIKE '%/1'")
    assert best.tags["metric.roc_auc"] == f"{found.metrics['test_roc_auc']:.4f}" and "metric.log_loss" in best.tags
    about = {"project": "penguin-classifier", "dataset": "penguins", "model_name": NAME, "task": "binary"}
    about |= {"model_type": "classification", "environment": "local", "algorithm": "HistGradientBoostingClassifier"}
    assert about.items() <= best.tags.items() and about.items() <= found.tags.items()
    for line in ("**data**: penguins, 344 rows, digest ", "**features**: 6: `bill_depth", "**registered**: 20"):
        assert line in best.description
    model, experiment = client.get_registered_model(NAME), client.get_experiment("0")
    assert "Predicts sex of penguins" in model.description and model.tags["project"] == "penguin-classifier"
    assert "algorithm" not in model.tags and experiment.tags["project"] == "penguin-classifier"
    assert experiment.tags["mlflow.note.content"]
    curve = MlflowClient().get_metric_history(last().info.run_id, "curve_train_roc_auc")
    assert [point.step for point in curve][:1] == [1] and curve[-1].step == 60 and len(curve) == 40
    thresholds = artifact("evaluate/thresholds.csv", outputs).splitlines()
    assert thresholds[0] == "threshold,precision,recall,f1,flagged" and len(thresholds) == 100


def test_only_rows_that_neither_was_trained_on_are_compared(do):
    do(*SMALL, *WEAK, "split.test=0.4")
    code, printed = do(*SMALL, "model=logistic", "seed=7", "evaluation.min_rows=5", "split.test=0.4")
    told = re.search(r"compared on (\d+) of (\d+) test rows: those that neither was trained on", printed)
    assert code == 0 and told and 5 <= int(told[1]) < int(told[2]), printed


def test_some_of_the_test_rows_stand_for_all(do, outputs):
    do(*SMALL, *WEAK)
    code, printed = do(*SMALL, *WEAK, "model.max_depth=3", "evaluation.test_rows=50")
    rows = int(re.search(r"champion 0\.\d+\) on (\d+) test rows", printed)[1])
    assert code == 0 and 35 < rows < 65
    assert f"Scores rest on {rows} of 71 test rows, chosen by hash." in artifact("model_card.md", outputs)
    code, printed = do(*SMALL, *WEAK, "evaluation.test_rows=0")
    assert code == 1 and "0 of 71 rows, chosen by hash, is none: allow more of them" in printed
    code, printed = do(*SMALL, "engine.fit_rows=0")
    assert code == 2 and "engine.fit_rows=0: it is 1 or more, or null" in printed
    ranked = [*SMALL, *WEAK, "split=stratified", "registered_model=ranked"]
    do(*ranked)
    said = do(*ranked, "model.max_depth=3", "evaluation.test_rows=50")[1]
    assert "has a stratified split, which is told by all rows: evaluation.test_rows=null" in said


def test_a_metric_of_ones_own_is_a_function(do):
    own = "task.metrics=[sklearn.metrics.matthews_corrcoef,roc_auc]"
    code, printed = do("evaluate", *SMALL, "model=logistic", own, "gate.min_scores={}")
    assert code == 0 and "evaluate  matthews_corrcoef 0.8" in printed, printed
    code, printed = do("evaluate", *SMALL, "task.metrics=[sklearn.metrics.nothing]", "gate.min_scores={}")
    assert code == 1 and "task.metrics: sklearn.metrics.nothing cannot be imported" in printed
    code, printed = do(*SMALL, "model=logistic", own, "gate.min_scores={matthews_corrcoef: 0.99}")
    assert code == 0 and "is below 0.99" in printed


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["evaluation.slices=[iland]"], "evaluation.slices=iland: the table has no such column; did you mean island?"),
        (
            ["evaluation.slices=[sex]", "columns.sensitive=[sex]"],
            "evaluation.slices names sex, whose values are sensitive",
        ),
        (["gate.min_slice_scores={roc_auc: 0.5}", "evaluation.slices=[]"], "gate.min_slice_scores needs slices"),
        (
            ["task=anomaly", "columns.target=null"],
            "columns.target=null: nothing can be scored then",
        ),
        (["gate.on_fail=stop"], "gate.on_fail=stop: it is challenger or error"),
        (["promotion=yes"], "promotion=yes: it is auto or manual"),
        (["evaluation.confidence=95"], "evaluation.confidence=95: it is between 0 and 1"),
        (["evaluation.resamples=-1"], "evaluation.resamples=-1: a count is 0 or more"),
        (["platform=server", "tags.required=[owner,domain]"], "(tags.required): give one as tags.domain=..."),
    ],
)
def test_what_cannot_be_evaluated_is_one_sentence(do, words, sentence):
    code, printed = do(*SMALL, "model=logistic", *words)
    assert code == 2 and sentence in printed and "Traceback" not in printed


def test_without_resamples_the_scores_alone_decide(do):
    do(*SMALL, "model=logistic", "evaluation.resamples=0")
    _, printed = do(*SMALL, *WEAK, "evaluation.resamples=0")
    assert "confidence" not in printed and ", worse" in printed and "version 2 is challenger" in printed


@pytest.mark.parametrize(
    "words", [["data=digits", "model=logistic"], ["data=penguins", "task=anomaly", "gate.min_scores={}"]]
)
def test_every_task_has_its_report(do, outputs, words):
    code, printed = do(*SMALL[:2], "evaluation.slices=[]", *words)
    assert code == 0, printed
    assert "<svg" in artifact("report.html", outputs) and "# " in artifact("model_card.md", outputs)
    moments = {f"anomaly_score_{name}" for name in ("mean", "min", "max", "std")}
    assert moments <= last().data.metrics.keys() or "task=anomaly" not in words


def test_errors_have_their_own_names_too():
    assert as_errors({"r2": 0.9, "neg_root_mean_squared_error": -3.0, "neg_max_error": -7.0}) == {
        "rmse": 3.0,
        "max_error": 7.0,
    }
    target = np.array([2.0, -4.0])
    assert scoring.relative_error(target, np.array([1.0, -4.0])) == {"test_mape": 0.25}
    assert scoring.relative_error(np.array([0.0, 1.0]), target) == {}


def test_an_anomaly_without_a_target_has_its_report(do, outputs):
    code, printed = do(*SMALL, "task=anomaly", "gate.min_scores={}", "columns.target=null", "evaluation.slices=[]")
    assert code == 0 and "anomaly_scores" in artifact("report.html", outputs).lower().replace(" ", "_"), printed


def test_equal_scores_are_apart_by_nothing(monkeypatch):
    ours, theirs = (SimpleNamespace(scores=lambda _, score=score: {"r2": score}) for score in (0.3, 0.1 + 0.2))
    monkeypatch.setattr(measurement, "with_champion", lambda *_: ([], ours, theirs))
    monkeypatch.setattr(Bootstrap, "scores", lambda *_: 0.0)
    monkeypatch.setattr(Bootstrap, "interval", lambda *_: (None, None))
    bootstrap = Bootstrap(None, SimpleNamespace(metrics=["r2"]), None, 0)
    gain = measurement._compared(None, ours, None, bootstrap)["gain"].value
    assert f"{gain:+.4f}" == "+0.0000" and gain == 0


def test_a_score_that_is_no_number_passes_no_gate():
    nan = float("nan")
    gain = SimpleNamespace(value=nan, low=nan, high=nan)
    made = {"metric": "auc", "test": {"auc": nan}, "baseline": {"auc": 0.5}, "champion": {"auc": 0.9}, "gain": gain}
    a_slice = SimpleNamespace(scores={"auc": nan}, rows=99, column="a", value="x")
    result = SimpleNamespace(**made, slices=[a_slice], not_comparable=None, costs={"megabytes": nan})
    evidence = SimpleNamespace(evaluation=result, confidence=0.95, min_rows=30)
    for found in (
        gates.max_loss(0.0, evidence),
        gates.min_baseline_gain(-1.0, evidence),
        gates.max_megabytes(9.0, evidence),
        gates.min_gain(-1.0, evidence),
        *gates.min_scores({"auc": 0.0}, evidence),
        *gates.min_slice_scores({"auc": 0.0}, evidence),
    ):
        assert not found.passed, found


def test_a_tree_model_is_given_the_columns_of_the_table_and_asked_for_each_row_once(do, outputs, monkeypatch):
    asked, real = [], HistGradientBoostingClassifier.predict_proba

    def counting(self, rows):
        asked.append(rows.shape)
        return real(self, rows)

    monkeypatch.setattr(HistGradientBoostingClassifier, "predict_proba", counting)
    words = ["data=penguins", "model=boosting", "model.max_iter=20", "evaluation.resamples=40"]
    repeats, rows = 3, 40
    how = [f"evaluation.importance_repeats={repeats}", f"evaluation.importance_rows={rows}"]
    assert do("train", *words)[0] == 0
    trained = sum(count for count, _ in asked)
    assert trained <= 344 + 71 + 3 * 32, "the digest, the answers of test rows for the reference, and the examples"
    asked.clear()
    assert do("evaluate", *words, *how)[0] == 0
    assert {columns for _, columns in asked} == {6}, "sex of six columns, not of one for each level"
    importances = rows * (1 + repeats * 6)
    assert sum(count for count, _ in asked) == 262 + 71 + importances + 10, "sides, shuffles, ten for the latency"

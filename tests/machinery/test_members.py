import weakref
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
from mlflow import MlflowClient
from penguin_classifier import encoders, models
from penguin_classifier.machinery.errors import ProjectError
from penguin_classifier.machinery.evaluation import ensembles, estimators
from penguin_classifier.machinery.mlflow import model_format
from penguin_classifier.machinery.model import loader
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge

FRAME = pd.DataFrame({"n": np.arange(60.0) % 7, "m": np.arange(60.0) % 5})
LABELS = np.where(FRAME["n"] + FRAME["m"] > 5, "yes", "no")
SETTINGS = {"max_categories": 10, "min_frequency": 0.01, "text_components": 3, "seed": 1}
TWO = {"forest": RandomForestClassifier(5, random_state=1), "linear": LogisticRegression()}
NUMBERS = {"forest": RandomForestRegressor(5, random_state=1), "linear": Ridge()}


class Own(BaseEstimator):
    """One of whose parameters is not among its own arguments."""

    def __init__(self, *, depth=1, **more):
        self.depth = depth
        self.__dict__ |= more

    @classmethod
    def _get_param_names(cls):
        return ["depth", "width"]


def fitted(estimator, target=LABELS, kind="classification", transform=None):
    model = encoders.pipeline(estimator, kinds=dict.fromkeys(FRAME, "number"), transform=transform, **SETTINGS)
    return estimators.fit(model, FRAME, target, kind=kind)


def test_the_members_of_a_blend_make_up_its_answers():
    whole = fitted(models.blend(TWO, weights=[3, 1]))
    found = ensembles.members(whole)
    assert [(name, each.weight) for name, each in found.items()] == [("forest", 3), ("linear", 1)]
    assert found["forest"].params["n_estimators"] == "5" and "max_leaf_nodes" not in found["forest"].params
    mean = (3 * found["forest"].model.predict_proba(FRAME) + found["linear"].model.predict_proba(FRAME)) / 4
    assert np.allclose(mean, whole.predict_proba(FRAME))
    assert set(found["linear"].model.predict(FRAME)) == {"no", "yes"}


def test_the_members_of_a_stack_answer_alone_and_have_no_weights():
    stack = models.stack(TWO, LogisticRegression(), folds=3, seed=1)
    found = ensembles.members(fitted(stack))
    alone = fitted(RandomForestClassifier(5, random_state=1))
    assert (found["forest"].model.predict_proba(FRAME) == alone.predict_proba(FRAME)).all()
    assert {each.weight for each in found.values()} == {None}
    again = fitted(models.stack(TWO, LogisticRegression(), folds=3, seed=1))
    assert (again.predict_proba(FRAME) == fitted(stack).predict_proba(FRAME)).all()
    with pytest.raises(ProjectError, match=r"model.folds=1: it takes 2 at least"):
        models.stack(TWO, LogisticRegression(), folds=1, seed=1)


def test_members_answer_in_the_unit_of_the_target_and_by_the_threshold_of_the_whole():
    prices = np.exp(FRAME["n"] + FRAME["m"]).to_numpy()
    numbers = models.stack(NUMBERS, Ridge(), folds=3, seed=1)
    found = ensembles.members(fitted(numbers, prices, kind="regression", transform="log"))
    alone = fitted(RandomForestRegressor(5, random_state=1), prices, kind="regression", transform="log")
    assert (found["forest"].model.predict(FRAME) == alone.predict(FRAME)).all()
    low = estimators.decided(fitted(models.blend(TWO, [1, 1])), FRAME, LABELS, threshold=1e-9, positive="yes")
    assert set(ensembles.members(low)["linear"].model.predict(FRAME)) == {"yes"}


def test_a_model_of_one_part_has_no_members():
    assert ensembles.members(fitted(DummyClassifier())) == {} == ensembles.members(fitted(TWO["forest"]))


def test_members_are_runs_within_that_of_evaluate_and_go_with_it(do):
    small = ["model.members.forest.n_estimators=5", "model.members.boosting.max_iter=5"]
    quick = ["expectations=[]", "evaluation.importance_repeats=0", "evaluation.resamples=0"]
    assert do("evaluate", "data=penguins", "model=blend", *small, *quick)[0] == 0
    client = MlflowClient()
    [stage] = client.search_runs(["0"], "tags.stage = 'evaluate' AND tags.`stage.key` LIKE '%'")
    runs = client.search_runs(["0"], f"tags.`mlflow.parentRunId` = '{stage.info.run_id}'")
    assert {run.info.run_name for run in runs} == {"boosting", "forest", "linear"}
    scores = {run.info.run_name: run.data.metrics["test_roc_auc"] for run in runs}
    assert scores["linear"] > 0.9 and len(set(scores.values())) > 1
    [found] = [run for run in runs if run.info.run_name == "forest"]
    assert found.data.params["n_estimators"] == "5" and found.info.status == "FINISHED"
    parent = stage.data.tags["mlflow.parentRunId"]
    files = {file.path for file in client.list_artifacts(parent)}
    assert {"report.html", "model_card.md"} <= files
    assert "| forest |" in Path(client.download_artifacts(parent, "model_card.md")).read_text()
    assert do("prune", "keep=0", "dry_run=false")[0] == 0
    assert not client.search_runs(["0"], f"tags.`mlflow.parentRunId` = '{stage.info.run_id}'", run_view_type=3)


def test_estimators_are_printed_with_what_differs_from_their_defaults():
    few = RandomForestClassifier(5, random_state=1)
    assert estimators.printed(few) == "RandomForestClassifier(n_estimators=5, random_state=1)" == repr(few)
    assert estimators.printed(Own(depth=3, width=8)) == "Own(depth=3, width=8)", "what a class hands on counts, too"
    whole = estimators.printed(fitted(models.blend(TWO, weights=[3, 1]))[-1])
    assert whole.startswith("VotingClassifier(estimators=[['forest', Pipeline(steps=[") and "weights=[3, 1]" in whole
    assert "['estimator', RandomForestClassifier(n_estimators=5, " in whole and "0x" not in whole


def test_what_a_model_consists_of_is_kept_on_one_line(tmp_path):
    model = loader.Model(fitted(models.blend(TWO, weights=[3, 1])), *[dict.fromkeys(FRAME, "number")] * 2)
    model_format.save(model, tmp_path / "model", example=FRAME.head(3), package="penguin_classifier")
    with zipfile.ZipFile(tmp_path / "model/model.skops") as file:
        assert b"\n" not in file.read("schema.json")
    assert model_format.load(tmp_path / "model").predict(FRAME).equals(model.predict(FRAME))
    assert "\n" in skops.io._persist.json.dumps({"a": 1}, indent=2)


@pytest.mark.parametrize("estimator", [TWO["forest"], TWO["linear"], models.blend(TWO, weights=[3, 1])])
def test_a_large_frame_makes_the_same_model(estimator, monkeypatch):
    small = fitted(estimator)
    monkeypatch.setattr(estimators, "MANY", 10)
    large = fitted(estimator)
    assert [name for name, _ in large.steps] == [name for name, _ in small.steps]
    assert (large.predict_proba(FRAME) == small.predict_proba(FRAME)).all()


def test_a_large_frame_is_let_go_before_the_estimator_is_fitted(monkeypatch):
    held, real = [], LogisticRegression.fit

    def watched(self, *arguments, **more):
        held.append(there() is not None)
        return real(self, *arguments, **more)

    monkeypatch.setattr(LogisticRegression, "fit", watched)
    for many in (len(FRAME), 10):
        monkeypatch.setattr(estimators, "MANY", many)
        model = encoders.pipeline(LogisticRegression(), kinds=dict.fromkeys(FRAME, "number"), **SETTINGS)
        frame = [FRAME.copy()]
        there = weakref.ref(frame[0])
        estimators.fit(model, frame.pop(), LABELS, kind="classification")
    assert held == [True, False]

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import LocalOutlierFactor

from << cookiecutter.package_name >> import encoders
from << cookiecutter.package_name >>.machinery.config.schema import Task
from << cookiecutter.package_name >>.machinery.errors import ProjectError
from << cookiecutter.package_name >>.machinery.evaluation import estimators, importance, scoring
from << cookiecutter.package_name >>.machinery.mlflow import model_format
from << cookiecutter.package_name >>.machinery.model.loader import Model
from << cookiecutter.package_name >>.machinery.pipeline import seeds
from << cookiecutter.package_name >>.machinery.report import plots

KINDS = {"n": "number", "b": "boolean", "t": "category", "l": "level", "d": "date", "w": "text"}
FRAME = pd.DataFrame(
    {
        "n": [1.0, None, 3.0, 4.0] * 10,
        "b": [True, False, None, True] * 10,
        "t": ["x", None, "y", "x"] * 10,
        "l": [f"level {number % 19}" for number in range(40)],
        "d": pd.to_datetime(["2020-01-01", None, "2021-06-30", "1999-12-31"] * 10),
        "w": ["some words of many", None, "other words", ""] * 10,
    }
)
SETTINGS = {"kinds": KINDS, "max_categories": 10, "min_frequency": 0.01, "text_components": 3, "seed": 1}
LABELS = np.array(["no", "yes"] * 20)


PLAIN = KINDS | dict.fromkeys(["t", "l", "w"], "text")  # of the raw columns


def save(pipeline, folder):
    """Writes `pipeline` as a model that derives no columns."""
    package = "<< cookiecutter.package_name >>"
    model_format.save(Model(pipeline, PLAIN, KINDS), folder, example=FRAME.head(3), package=package)


def fitted(estimator, kind="classification", target=LABELS, transform=None):
    model = encoders.pipeline(estimator, transform=transform, **SETTINGS)
    return estimators.fit(model, FRAME, target, kind=kind)


def test_a_row_of_nulls_and_an_unseen_level_are_answered():
    model = fitted(LogisticRegression())
    odd = pd.DataFrame({name: [None] for name in KINDS})
    assert estimators.outputs(model, odd).shape == (1, 2)
    assert estimators.outputs(model, odd.assign(t="never seen")).shape == (1, 2)


def test_each_model_gets_the_columns_that_it_takes():
    table = FRAME[["n", "b", "t", "l"]]
    how = SETTINGS | {"kinds": {name: KINDS[name] for name in table}}
    trees, linear = RandomForestClassifier(5), LogisticRegression()
    boosting = HistGradientBoostingClassifier(max_iter=5)
    wide = {
        name: encoders.pipeline(model, **how).fit(table, LABELS)[:-1].transform(table).shape[1]
        for name, model in {"boosting": boosting, "trees": trees, "linear": linear}.items()
    }
    assert wide == {"boosting": 4, "trees": 4, "linear": 8}, "one for each; linear: three of t, and what is missing"
    codes = encoders.pipeline(boosting, **how).fit(table, LABELS)
    assert codes[-1].is_categorical_.tolist() == [True, False, False, False]
    assert np.isnan(codes[:-1].transform(table.assign(t="never seen"))[:, 0]).all()
    both = encoders.pipeline(VotingClassifier([("trees", trees), ("linear", linear)], voting="soft"), **how)
    both.fit(table, LABELS)
    assert [each[:-1].transform(table).shape[1] for each in both[-1].estimators_] == [4, 8]


def test_the_wrong_kind_one_class_and_a_bad_value_are_refused():
    with pytest.raises(ProjectError, match=r"Ridge is no model for classification"):
        fitted(Ridge())
    with pytest.raises(ProjectError, match=r"one class only"):
        fitted(LogisticRegression(), target=np.array(["no"] * 40))
    with pytest.raises(ProjectError, match=r"LogisticRegression cannot be fitted: .*'C'"):
        fitted(LogisticRegression(C=-1))


def test_the_digest_tells_models_apart():
    one, same, other = (fitted(RandomForestClassifier(5, random_state=seed)) for seed in (1, 1, 2))
    digests = [estimators.digest(model, FRAME, data="") for model in (one, same, other)]
    assert digests[0] == digests[1] != digests[2]
    assert estimators.digest(one, FRAME, data="other rows") != digests[0]


def test_a_saved_model_answers_the_same_and_holds_no_pickle(tmp_path):
    model = fitted(RandomForestClassifier(5, random_state=1))
    save(model, tmp_path / "model")
    loaded = model_format.load(tmp_path / "model")
    assert (loaded.inputs, loaded.kinds) == (PLAIN, KINDS)
    assert (estimators.outputs(loaded.pipeline, FRAME) == estimators.outputs(model, FRAME)).all()
    assert not [file for file in (tmp_path / "model").iterdir() if file.suffix in (".pkl", ".joblib")]


def test_scores_go_by_scikit_learns_names():
    model = fitted(RandomForestClassifier(5, random_state=1))
    names = ["accuracy", "roc_auc", "average_precision", "f1"]
    asked, target = estimators.as_scorer_input(model, LABELS, positive="no")
    found = scoring.score(asked, FRAME, target, names=names)
    assert list(found) == names and 0 <= found["accuracy"] <= 1
    with pytest.raises(ProjectError, match=r"task.positive=maybe is no class of the target: no, yes"):
        estimators.as_scorer_input(model, LABELS, positive="maybe")
    with pytest.raises(ProjectError, match=r"has no scorer acuracy"):
        scoring.score(model, FRAME, LABELS, names=["acuracy"])
    with pytest.raises(ProjectError, match=r"r2 cannot be had .*: name others in task.metrics"):
        scoring.score(model, FRAME, LABELS, names=["r2"])


def test_a_threshold_is_a_number_or_the_best_for_a_scorer():
    rare = np.where(np.arange(40) % 8 == 0, "yes", "no")
    model = fitted(LogisticRegression(), target=rare)
    low = estimators.decided(model, FRAME, rare, threshold=1e-9, positive="yes")
    assert low[-1].threshold == 1e-9 and set(low.predict(FRAME)) == {"yes"}
    assert (estimators.outputs(low, FRAME) == estimators.outputs(model, FRAME)).all()
    best = estimators.decided(model, FRAME, rare, threshold="balanced_accuracy", positive="yes")
    names = ["balanced_accuracy"]
    scores = [
        scoring.score(*(a, FRAME, t), names=names)
        for a, t in (estimators.as_scorer_input(m, rare, positive="yes") for m in (model, best))
    ]
    assert scores[1]["balanced_accuracy"] >= scores[0]["balanced_accuracy"]


@pytest.mark.parametrize("transform", ["log", "quantile"])
def test_a_transformed_target_is_predicted_in_its_own_unit(transform, tmp_path):
    prices = np.exp(np.linspace(0, 9, 40))
    model = fitted(RandomForestRegressor(5, random_state=1), kind="regression", target=prices, transform=transform)
    assert model.predict(FRAME).min() >= 1 and model.predict(FRAME).max() <= prices.max() * 1.01
    save(model, tmp_path / "model")
    assert (model_format.load(tmp_path / "model").pipeline.predict(FRAME) == model.predict(FRAME)).all()
    with pytest.raises(ProjectError, match=r"task.transform=root: it is null, log or quantile"):
        fitted(Ridge(), kind="regression", target=prices, transform="root")


@pytest.mark.parametrize("detector", [IsolationForest(random_state=1), LocalOutlierFactor(novelty=True)])
def test_an_outlier_detector_is_asked_for_anomalies(detector):
    frame = FRAME.assign(n=[1.0, 2.0, 3.0] * 13 + [1e3])
    model = estimators.fit(encoders.pipeline(detector, **SETTINGS), frame, None, kind="anomaly")
    truth = np.array([0] * 39 + [1])
    asked, target = estimators.as_scorer_input(model, truth, positive=None)
    found = scoring.score(asked, frame, target, names=["average_precision", "roc_auc"])
    assert found["roc_auc"] > 0.8
    rates = scoring.anomaly_rates(estimators.outputs(model, frame), model.predict(frame) == -1)
    assert 0 <= rates["anomaly_rate"] <= 1 and rates["anomaly_score_p5"] <= rates["anomaly_score_p99"]


def test_importance_finds_the_column_that_matters():
    frame = FRAME.assign(n=np.where(LABELS == "yes", 1.0, 0.0))
    kinds = {"n": "number", "t": "category"}
    model = encoders.pipeline(LogisticRegression(), **SETTINGS | {"kinds": kinds}).fit(frame[list(kinds)], LABELS)
    task = Task("classification", None, None, None, estimator="Classifier", linear={}, metrics=["accuracy"])
    with importance.Aside() as aside:
        falls = importance.falls(model, frame[list(kinds)], LABELS, task, aside, repeats=3, rows=100, seed=1)()
    assert next(iter(falls)) == "n" and falls["n"] > 0.2


def test_figures_per_task():
    probabilities = np.linspace(0, 1, 40)
    both = np.column_stack([1 - probabilities, probabilities])
    drawn = plots.classification(LABELS, both, predicted=LABELS, classes=np.array(["no", "yes"]))
    assert set(drawn) == {"confusion_matrix", "roc", "precision_recall", "calibration"}
    assert set(plots.regression(probabilities, probabilities)) == {"actual_predicted", "residuals"}


def test_seeds_set_the_global_generators():
    seeds.plant(3)
    first = np.random.rand()
    seeds.plant(3)
    assert np.random.rand() == first

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge

from << cookiecutter.package_name >> import gates, metrics, models, plots, registry, seeds
from << cookiecutter.package_name >>.errors import Refused

KINDS = {"n": "number", "b": "boolean", "t": "text"}
FRAME = pd.DataFrame(
    {"n": [1.0, None, 3.0, 4.0] * 10, "b": [True, False, None, True] * 10, "t": ["x", None, "y", "x"] * 10}
)
LABELS = np.array(["no", "yes"] * 20)


def fitted(estimator, kind="classification", target=LABELS):
    model = models.pipeline(estimator, kinds=KINDS, max_categories=10, min_frequency=0.01)
    return models.fit(model, FRAME, target, kind=kind)


def test_a_row_of_nulls_and_an_unseen_level_are_answered():
    model = fitted(LogisticRegression())
    odd = pd.DataFrame({"n": [None], "b": [None], "t": [None]})
    assert models.answers(model, odd).shape == (1, 2)
    assert models.answers(model, odd.assign(t="never seen")).shape == (1, 2)


def test_the_wrong_kind_one_class_and_a_bad_value_are_refused():
    with pytest.raises(Refused, match=r"Ridge is no model for classification"):
        fitted(Ridge())
    with pytest.raises(Refused, match=r"one class only"):
        fitted(LogisticRegression(), target=np.array(["no"] * 40))
    with pytest.raises(Refused, match=r"LogisticRegression cannot be fitted: .*'C'"):
        fitted(LogisticRegression(C=-1))


def test_the_digest_tells_models_apart():
    one, same, other = (fitted(RandomForestClassifier(5, random_state=seed)) for seed in (1, 1, 2))
    digests = [models.digest(model, FRAME, data="") for model in (one, same, other)]
    assert digests[0] == digests[1] != digests[2]
    assert models.digest(one, FRAME, data="other rows") != digests[0]


def test_a_saved_model_answers_the_same_and_holds_no_pickle(tmp_path):
    model = fitted(RandomForestClassifier(5, random_state=1))
    registry.save(model, tmp_path / "model", kinds=KINDS, example=FRAME.head(3))
    loaded, kinds = registry.load(tmp_path / "model")
    assert kinds == KINDS
    assert (models.answers(loaded, FRAME) == models.answers(model, FRAME)).all()
    assert not [file for file in (tmp_path / "model").iterdir() if file.suffix in (".pkl", ".joblib")]


def test_scores_go_by_scikit_learns_names():
    model = fitted(RandomForestClassifier(5, random_state=1))
    found = metrics.scores(model, FRAME, LABELS, names=["accuracy", "roc_auc_ovr"])
    assert list(found) == ["accuracy", "roc_auc_ovr"] and 0 <= found["accuracy"] <= 1
    with pytest.raises(Refused, match=r"has no scorer acuracy"):
        metrics.scores(model, FRAME, LABELS, names=["acuracy"])
    with pytest.raises(Refused, match=r"r2 cannot be had .*: name others in task.metrics, or"):
        metrics.scores(model, FRAME, LABELS, names=["r2"])


def test_importance_finds_the_column_that_matters():
    frame = FRAME.assign(n=np.where(LABELS == "yes", 1.0, 0.0))
    model = models.pipeline(LogisticRegression(), kinds=KINDS, max_categories=10, min_frequency=0.01).fit(frame, LABELS)
    falls = metrics.importances(model, frame, LABELS, name="accuracy", repeats=3, rows=100, seed=1)
    assert next(iter(falls)) == "n" and falls["n"] > 0.2


def test_figures_per_task():
    probabilities = np.linspace(0, 1, 40)
    both = np.column_stack([1 - probabilities, probabilities])
    drawn = plots.classification(LABELS, both, classes=np.array(["no", "yes"]))
    assert set(drawn) == {"confusion_matrix", "roc", "precision_recall", "calibration"}
    assert set(plots.regression(probabilities, probabilities)) == {"actual_predicted", "residuals"}


def verdicts(accuracy, *, baseline=0.5, compared=None, hindrance=None, floor=None):
    return gates.verdicts(
        {"accuracy": accuracy},
        metric="accuracy",
        baseline=baseline,
        compared=compared,
        hindrance=hindrance,
        min_gain=0.0,
        max_loss=0.0,
        min_scores={} if floor is None else {"accuracy": floor},
    )


@pytest.mark.parametrize(
    "given, passed",
    [
        ({"accuracy": 0.9}, True),
        ({"accuracy": 0.5}, False),  # as good as the dummy is not good
        ({"accuracy": 0.9, "floor": 0.9}, True),
        ({"accuracy": 0.9, "floor": 0.91}, False),
        ({"accuracy": 0.9, "compared": (0.8, 0.8)}, True),
        ({"accuracy": 0.9, "compared": (0.79, 0.8)}, False),  # the rows of the comparison decide, not the others
        ({"accuracy": 0.9, "hindrance": "no row is shared"}, False),
    ],
)
def test_gates(given, passed):
    assert all(verdict.passed for verdict in verdicts(**given)) is passed


def test_a_floor_for_a_metric_that_is_not_computed_is_refused():
    with pytest.raises(Refused, match=r"gate.min_scores names f1"):
        gates.verdicts(
            {"accuracy": 1.0},
            metric="accuracy",
            baseline=0.5,
            compared=None,
            hindrance=None,
            min_gain=0.0,
            max_loss=0.0,
            min_scores={"f1": 0.5},
        )


def test_seeds_set_the_global_generators():
    seeds.plant(3)
    first = np.random.rand()
    seeds.plant(3)
    assert np.random.rand() == first

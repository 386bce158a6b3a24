import numpy as np
import polars as pl
import pytest
from penguin_classifier.machinery.evaluation import bootstrap, calibration, curves, scored_model, slices
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

RANDOM = np.random.default_rng(1)
FRAME = RANDOM.normal(size=(300, 3))
LABELS = np.where(FRAME[:, 0] + RANDOM.normal(size=300) > 0, "yes", "no")


@pytest.mark.parametrize("name", ["accuracy", "neg_log_loss", "roc_auc", "f1_macro"])
def test_kept_answers_are_scored_as_the_model_is(name):
    model = LogisticRegression().fit(FRAME, LABELS)
    rows, scorer = np.array([5, 1, 1, 200, 7, 8, 9, 250]), get_scorer(name)
    scored = scored_model.ScoredModel(kept := scored_model.record_answers(model, FRAME), kept, LABELS)
    assert scorer(kept, rows, LABELS[rows]) == pytest.approx(scorer(model, FRAME[rows], LABELS[rows]), abs=1e-12)
    assert scorer(scored.part(rows).view, np.arange(8), LABELS[rows]) == scorer(kept, rows, LABELS[rows])


@pytest.mark.parametrize("threshold", [None, 0.3])
def test_a_classifier_is_asked_once_and_for_its_probabilities_alone(threshold, monkeypatch):
    model, asked = RandomForestClassifier(5, random_state=1).fit(FRAME, LABELS), []
    if threshold:
        how = {"threshold": threshold, "pos_label": "no", "response_method": "predict_proba"}
        model = FixedThresholdClassifier(FrozenEstimator(model), **how).fit(FRAME, LABELS)
    right = model.predict(FRAME)

    def counting(method, real):
        def answer(self, rows):
            asked.append(method)
            return real(self, rows)

        return answer

    for method in ("predict", "predict_proba"):
        monkeypatch.setattr(type(model), method, counting(method, getattr(type(model), method)))
    kept = scored_model.record_answers(model, FRAME)
    for _ in range(2):
        assert (kept.predict(np.arange(300)) == right).all() and kept.predict_proba(np.arange(300)).shape == (300, 2)
    assert asked == ["predict_proba"]


def means(values, **how):
    """The interval of the mean of `values`."""
    settings = {"rows": len(values), "most": len(values), "count": 1000, "seed": 3} | how
    drawn = np.array([values[at].mean() for at in bootstrap.draws(**settings)])
    size = {name: settings[name] for name in ("rows", "most")}
    return bootstrap.interval(values.mean(), drawn, confidence=0.95, **size)


def test_an_interval_is_as_wide_as_theory_says():
    values = RANDOM.normal(size=900)
    low, high = means(values)
    assert (high - low) / 2 == pytest.approx(1.96 / 30, rel=0.15)
    low, high = means(values, most=100)  # fewer rows a draw: as wide all the same
    assert (high - low) / 2 == pytest.approx(1.96 / 30, rel=0.15)


def test_rows_that_belong_together_are_drawn_together():
    groups = np.repeat(np.arange(30), 30)
    values = np.repeat(RANDOM.normal(size=30), 30)
    low, high = means(values, groups=groups)
    assert (high - low) / 2 == pytest.approx(1.96 / np.sqrt(30), rel=0.25), "as if each row told something new"


def test_every_class_is_in_every_draw():
    classes = np.array(["a"] * 97 + ["b"] * 3)
    for at in bootstrap.draws(100, count=50, most=20, seed=1, classes=classes):
        assert set(classes[at]) == {"a", "b"}


def test_what_is_undefined_for_most_draws_has_no_interval():
    size = {"confidence": 0.95, "rows": 10, "most": 10}
    assert bootstrap.interval(0.5, np.array([np.nan] * 6 + [0.5] * 4), **size) == (None, None)
    assert bootstrap.interval(0.5, np.array([]), **size) == (None, None)


def test_probabilities_that_are_right_have_no_error_and_others_theirs():
    told = RANDOM.uniform(size=20_000)
    right = (RANDOM.uniform(size=20_000) < told).astype(int)
    both = np.column_stack([1 - told, told])
    assert calibration.calibration_error(right, both, classes=np.array([0, 1])) < 0.02
    sure = np.column_stack([np.zeros(20_000), np.ones(20_000)])
    assert calibration.calibration_error(right, sure, classes=np.array([0, 1])) == pytest.approx(0.5, abs=0.02)


def test_each_threshold_is_told_as_scikit_learn_scores_it():
    told = RANDOM.uniform(size=50)
    right = (RANDOM.uniform(size=50) < told).astype(int)
    answers = scored_model.RecordedAnswers(
        LogisticRegression().fit(FRAME, LABELS), {"predict_proba": lambda: np.column_stack([1 - told, told])}, 50
    )
    table = calibration.threshold_table(scored_model.ScoredModel(answers, answers, right))
    row = table.filter(pl.col("threshold").round(2) == 0.4).row(0, named=True)
    flagged = told >= 0.4
    assert row["precision"] == pytest.approx(right[flagged].mean()) and row["flagged"] == pytest.approx(flagged.mean())
    assert row["recall"] == pytest.approx(flagged[right == 1].mean())


@pytest.mark.parametrize(
    "values, expected",
    [
        (["a", "b", None, "a"], {"a": 2, "b": 1, "missing": 1}),
        ([True, False, True], {"true": 2, "false": 1}),
        ([1, 2, 1], {"1": 2, "2": 1}),
        ([float(each) for each in range(100)], {"0 to 25": 26, "25 to 50": 25, "50 to 74": 24, "74 to 99": 25}),
        ([1.0] * 90 + [float(each) for each in range(2, 12)], {"1 to 1": 90, "1 to 11": 10}),
        ([*"abcdefghij", "a"], {"a": 2, **dict.fromkeys("bcdefg", 1), "other": 3}),
    ],
)
def test_slices_in_words(values, expected):
    labels = slices.labels(pl.Series("rows", values))  # a name that is taken where they are counted
    assert dict(labels.alias("slice").value_counts().iter_rows()) == expected


def test_curves_are_of_models_that_are_built_step_by_step():
    model = make_pipeline(StandardScaler(), HistGradientBoostingRegressor(max_iter=60)).fit(FRAME, FRAME[:, 0])
    steps = list(curves.answers_by_iteration(model, model[-1], FRAME))
    assert steps[0][0] == 1 and steps[-1][0] == 60 and len(steps) == curves.MOST
    assert (steps[-1][1]["predict"]() == model.predict(FRAME)).all()
    linear = make_pipeline(StandardScaler(), LogisticRegression()).fit(FRAME, LABELS)
    assert list(curves.answers_by_iteration(linear, linear[-1], FRAME)) == []

import zipfile

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from penguin_classifier.machinery.errors import ProjectError
from penguin_classifier.machinery.evaluation import curves, estimators
from penguin_classifier.machinery.mlflow import model_format
from penguin_classifier.machinery.model import loader
from test_models import FRAME, LABELS, fitted, save

TREES = {"n_estimators": 20, "random_state": 1, "n_jobs": 1}
LEAVES = TREES | {"min_child_samples": 2, "verbose": -1}
EXTRAS = [  # of libraries that may be missing
    *(("lightgbm", name, LEAVES) for name in ("LGBMClassifier", "LGBMRegressor")),
    *(("xgboost", name, TREES) for name in ("XGBClassifier", "XGBRegressor")),
]


@pytest.mark.parametrize("library, name, how", EXTRAS)
def test_a_boosted_model_is_saved_without_pickle_and_answers_a_row_alone_as_among_others(library, name, how, tmp_path):
    estimator = getattr(pytest.importorskip(library), name)(**how)
    kind = "classification" if name.endswith("Classifier") else "regression"
    model = fitted(estimator, kind=kind, target=LABELS if kind == "classification" else np.arange(40.0))
    assert type(estimators.inner(model[-1])).__name__ == name
    save(model, tmp_path / "model")
    loaded = model_format.load(tmp_path / "model").pipeline
    told = loader.answers(model, FRAME, positive=None)
    pd.testing.assert_frame_equal(loader.answers(loaded, FRAME, positive=None), told, check_exact=True)
    alone = pd.concat([loader.answers(loaded, FRAME.iloc[[at]], positive=None) for at in range(40)])
    pd.testing.assert_frame_equal(alone.reset_index(drop=True), told, check_exact=True)
    assert kind == "regression" or set(told["prediction"]) == {"no", "yes"}
    assert f"\n{library}==" in (tmp_path / "model/requirements.txt").read_text()
    [file] = (tmp_path / "model").glob("*.skops")
    with zipfile.ZipFile(file) as parts:
        for part in parts.namelist():  # a pickle of protocol 2 or later begins so and ends so
            content = parts.read(part)
            assert not (content.startswith(b"\x80") and content.endswith(b".")), part


def test_a_threshold_is_found_for_probabilities_of_single_precision():
    model = fitted(pytest.importorskip("xgboost").XGBClassifier(**TREES))
    best = estimators.decided(model, FRAME, LABELS, threshold="f1", positive="yes")
    told = loader.answers(best, FRAME, positive="yes")
    assert type(best[-1].threshold) is float and set(told.dtypes[1:]) == {np.dtype("float64")}
    assert ((told["probability"] >= told["threshold"]) == (told["prediction"] == "yes")).all()


@pytest.mark.parametrize("library, name, how", EXTRAS)
def test_a_boosted_model_is_told_tree_by_tree(library, name, how):
    estimator = getattr(pytest.importorskip(library), name)(**how)
    kind = "classification" if name.endswith("Classifier") else "regression"
    model = fitted(estimator, kind=kind, target=LABELS if kind == "classification" else np.arange(40.0))
    found = dict(curves.answers_by_iteration(model, estimators.inner(model[-1]), FRAME))
    assert list(found) == list(range(1, 21))
    assert (found[20]["predict"]() == model.predict(FRAME)).all()


def test_an_argument_that_a_library_does_not_heed_is_refused():
    xgboost = pytest.importorskip("xgboost")
    with pytest.raises(ProjectError, match=r'XGBClassifier was not fitted as asked: .*"colsample"'):
        fitted(xgboost.XGBClassifier(n_estimators=2, colsample=4))
    lightgbm = pytest.importorskip("lightgbm")
    with pytest.raises(ProjectError, match=r"LGBMClassifier cannot be fitted: "):
        fitted(lightgbm.LGBMClassifier(num_leaves=1, verbose=-1))


LOGGED = [
    ("boosting", {"estimator_name": "Pipeline", "estimator__max_iter": "300"}, {"estimator.html"}),
    ("xgboost", {"num_boost_round": "300"}, {"feature_importance_weight.json"}),
    ("lightgbm", {"num_boost_round": "300"}, {"feature_importance_gain.json"}),
]


@pytest.mark.parametrize("model, shown, files", LOGGED)
def test_mlflows_autologging_is_of_the_candidates_fit_alone_and_of_its_library(do, model, shown, files):
    if model != "boosting":
        pytest.importorskip(model)
    quick = ["evaluation.importance_repeats=0", "evaluation.resamples=0"]
    code, printed = do("evaluate", "data=penguins", f"model={model}", "tracking.autolog=true", *quick)
    assert code == 0, printed
    client, stages = MlflowClient(), []
    for run in client.search_runs(["0"]):
        about, logged = run.data.params | run.data.tags, {each.path for each in client.list_artifacts(run.info.run_id)}
        stages.append(run.data.tags["stage"])
        if run.info.run_name.startswith("train-"):
            assert shown.items() <= about.items() and files <= logged, (about, logged)
            assert not run.inputs.dataset_inputs and not run.outputs.model_outputs  # the command's run has them, once
        else:  # those of a baseline, of a guard against leakage
            assert not {*shown} & {*about} and not files & logged, (about, logged)
    assert {"split", "train", "evaluate"} <= {*stages}

"""Every option of conf/ can be chosen, and what it names can be built: new files are tested without a line here."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from << cookiecutter.package_name >>.machinery.config import binding, compose
from << cookiecutter.package_name >>.machinery.config.overrides import overrides
from << cookiecutter.package_name >>.machinery.layout import Layout

LAYOUT = Layout(Path(__file__).parents[1], "<< cookiecutter.package_name >>")
# Models of libraries that may be missing: tested where they are installed.
EXTRAS = {name: name for name in ("lightgbm", "xgboost", "lightning", "keras")} | {"torch_mlp": "torch"}
DATASETS = [name for name in ("penguins", "penguins_mass") if name in compose.groups(LAYOUT)["data"]]
ONLY = {"logistic": "binary", "ridge": "regression", "isolation_forest": "anomaly", "local_outlier": "anomaly"}


def resolve(*words: str, job: str | None = None) -> Any:
    return compose.resolve(LAYOUT, overrides(LAYOUT, list(words), Path.cwd(), job), job)[0]


def skip_without_library(model: str) -> None:
    if model in EXTRAS and not find_spec(EXTRAS[model]):
        pytest.skip(f"{EXTRAS[model]} is not installed")


@pytest.mark.parametrize(
    "group, option", [(group, option) for group, options in compose.groups(LAYOUT).items() for option in options]
)
def test_every_option_composes_and_builds(group, option, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    skip_without_library(option)
    words = [f"task={ONLY[option]}"] if option in ONLY else []
    words += ["gate.min_scores={}"] if words or group == "task" else []
    resolved = resolve(*words, f"{group}={option}", job=group if group in LAYOUT.jobs else None)
    assert resolved.choices[group] == option
    assert callable(binding.bound(resolved.source, name="source"))
    estimator = binding.bound(resolved.model, name="model")()
    assert hasattr(estimator, "fit")


@pytest.mark.parametrize("model", [model for model in compose.groups(LAYOUT)["model"] if model not in ONLY])
@pytest.mark.parametrize("data", DATASETS)
def test_one_model_file_serves_both_tasks(model, data):
    skip_without_library(model)
    resolved = resolve(f"model={model}", f"data={data}")
    suffix = {"classification": "Classifier", "regression": "Regressor"}[resolved.task.kind]
    assert resolved.model["_target_"].endswith((suffix, "blend", "stack"))

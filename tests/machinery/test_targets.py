"""What the configuration may name as code, and what a model's file may hold."""

import itertools
import shutil
import sys

import pytest
from penguin_classifier import encoders
from penguin_classifier.machinery.config import binding, compose, targets
from penguin_classifier.machinery.errors import ConfigError
from penguin_classifier.machinery.evaluation import estimators
from penguin_classifier.machinery.layout import Layout
from penguin_classifier.machinery.mlflow import model_format
from test_config import LAYOUT, ONLY, resolve, skip_without_library

PACKAGE = "penguin_classifier"
BAD = [
    *(
        "pandas.read_pickle",
        "joblib.load",
        "psutil.Popen",
        "os.system",
        "subprocess.run",
        "builtins.eval",
        "pickle.loads",
    ),
    *("hydra.utils.instantiate", "antigravity.x", "polars.LazyFrame.deserialize", "sklearn._x.load", "sklearn..x"),
    *(f"{PACKAGE}.machinery.jobs.reproduce.worktrees.do", f"{PACKAGE}.machinery", "sklearnx.load", "sklearn_evil.x"),
]


WORDS = [
    "source._target_={}",
    "model.members.forest._target_={}",
    "model.x=[[a, {{_target_: {}}}]]",
    "features.derive.x={{_target_: {}}}",
    "task.metrics=[roc_auc, {}]",
    "expectations=[{{type: a, kwargs: {{x: {{_target_: {}}}}}}}]",
]


@pytest.mark.parametrize("word, name", list(zip(itertools.cycle(WORDS), BAD, strict=False)))
def test_what_nothing_trusts_is_refused_before_it_is_imported(word, name):
    before = set(sys.modules)
    with pytest.raises(ConfigError, match=f"={name} is not trusted: state it in a file of conf/"):
        resolve("data=penguins", word.format(name))
    assert {"antigravity", "psutil"}.isdisjoint(set(sys.modules) - before)


def test_relative_names_and_spaces_are_held_to_the_same():
    with pytest.raises(ConfigError, match=r"worktrees.do is not trusted"):
        resolve("data=penguins", "features.derive.x={_target_: .machinery.jobs.reproduce.worktrees.do}")
    with pytest.raises(ConfigError, match=r"os.system is not trusted"):
        resolve("data=penguins", "model=forest", "tune.space.model._target_=[os.system]", job="tune")
    for value in ("5", "{a: b}", "[polars.scan_csv]"):
        with pytest.raises(ConfigError, match="it is the name of a callable, such as polars"):
            resolve("data=penguins", f"model.x={{_target_: {value}}}")


@pytest.mark.parametrize(
    "name",
    [
        *("sklearn.utils.parallel.joblib.load", "sklearn.datasets.os.remove", "polars.os.system"),
        *(
            f"{PACKAGE}.{name}"
            for name in ("training.Path.unlink", "gates.sys.exit", "training.derivation.import_module")
        ),
    ],
)
def test_what_a_trusted_module_imports_is_not_trusted_with_it(name):
    with pytest.raises(ConfigError, match=f"model._target_={name} cannot be imported: "):
        binding.bound({"_target_": name}, name="model")


def test_what_conf_names_is_trusted_and_what_trusted_names(tmp_path, monkeypatch):
    shutil.copytree(LAYOUT.conf, tmp_path / "conf")
    monkeypatch.setattr(Layout, "conf", tmp_path / "conf")
    (tmp_path / "conf/model/mine.yaml").write_text(
        'members: [{_target_: "catboost.CatBoost${task.estimator}"}]\n_target_: a.b\n'
    )
    (tmp_path / "conf/split/broken.yaml").write_text("a: [\n")
    resolve("data=penguins", "model=mine")
    resolve("data=penguins", "model._target_=catboost.CatBoostRegressor")
    for name in ("catboost.load", "catboost.CatBoostRegressor.x", "a.c"):
        with pytest.raises(ConfigError, match=f"model._target_={name} is not trusted"):
            resolve("data=penguins", f"model._target_={name}")
    text = (tmp_path / "conf/config.yaml").read_text().replace("trusted: []", "trusted: [joblib, pandas.read_csv]")
    (tmp_path / "conf/config.yaml").write_text(text)
    resolve("data=penguins", "model._target_=joblib.load", "source._target_=pandas.read_csv")
    with pytest.raises(ConfigError, match=r"source._target_=pandas.read_csvs is not trusted"):
        resolve("data=penguins", "source._target_=pandas.read_csvs")


def test_the_readers_of_the_machinery_may_be_named():
    resolve("data=penguins", f"source._target_={PACKAGE}.machinery.data.readers.parts")


@pytest.mark.parametrize("word", ["trusted=[os]", "+trusted=[os]", "++trusted=[os]", "~trusted", "--trusted=[os]"])
def test_a_command_line_does_not_say_what_is_trusted(word):
    with pytest.raises(ConfigError, match=r"^trusted decides what code may run: it is set in conf/"):
        resolve("data=penguins", word)


def test_a_model_may_not_name_its_own_trusted_types(tmp_path, monkeypatch):
    from pathlib import Path

    def trusts(name):
        return targets.is_trusted_type(name, package=PACKAGE, conf=LAYOUT.conf, trusted=["mine.models"])

    for name in (
        "sklearn.tree._tree.Tree",
        "numpy.dtype",
        "operator.methodcaller",
        "mine.models.Net",
        f"{PACKAGE}.models.M",
    ):
        assert trusts(name), name
    for name in ("os.system", "builtins.eval", "joblib.load", "mine.other", "operator.attrgetter", "sklearnx.y"):
        assert not trusts(name), name
    monkeypatch.setattr(model_format, "_trusts", trusts)
    Path(tmp_path, "MLmodel").write_text(
        "flavors:\n  python_function: {loader_module: mlflow.sklearn}\n"
        "  sklearn: {serialization_format: skops, skops_trusted_types: [numpy.dtype, os.system]}\n"
    )
    with pytest.raises(ConfigError, match=r"holds objects of os.system, .* trusted: \[os\] in conf/config.yaml"):
        model_format.load(tmp_path)


@pytest.mark.parametrize("model", [each for each in compose.groups(LAYOUT)["model"] if each not in ("blend", "stack")])
def test_the_models_of_conf_hold_nothing_that_is_not_trusted(model):
    import numpy as np
    import pandas as pd
    from skops.io import dumps, get_untrusted_types

    skip_without_library(model)
    draw, n = np.random.default_rng(0), 120
    texts = draw.choice(["a fine red house", "one more green boat to sail", "blue is it", "go on with it now"], n)
    frame = pd.DataFrame({"number": draw.normal(size=n), "category": draw.choice(["a", "b"], n), "text": texts})
    frame = frame.assign(level=draw.choice(list("pqrstu"), n), date=pd.Timestamp("2026-11-30"), secret=frame["number"])
    kinds = {name: "number" if name == "secret" else name for name in frame}
    tasks = [ONLY[model]] if model in ONLY else ["binary", "regression"]
    for task in tasks:
        words = [f"task={task}", "gate.min_scores={}", f"model={model}", "evaluation.slices=[]"]
        estimator = binding.bound(resolve("data=penguins", *words).model, name="model")()
        how = {"max_categories": 3, "min_frequency": 0.1, "text_components": 2, "seed": 0, "sensitive": ["secret"]}
        made = encoders.pipeline(estimator, kinds=kinds, transform="log" if task == "regression" else None, **how)
        target = frame["number"] ** 2 if task == "regression" else frame["category"]
        kind = {"binary": "classification"}.get(task, task)
        fitted = estimators.fit(made, frame, None if task == "anomaly" else target.to_numpy(), kind=kind)
        for name in get_untrusted_types(data=dumps(fitted)):
            assert targets.is_trusted_type(name, package=PACKAGE, conf=LAYOUT.conf / "nowhere", trusted=[]), name

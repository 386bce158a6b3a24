import shutil
from pathlib import Path

import pytest
from penguin_classifier.machinery.config import binding, compose, validation
from penguin_classifier.machinery.config.overrides import overrides
from penguin_classifier.machinery.errors import ProjectError
from penguin_classifier.machinery.layout import Layout
from test_config import LAYOUT, resolve


def test_a_model_of_a_library_that_is_not_there_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(validation.importlib.util, "find_spec", lambda name: None)
    get = "`uv sync --extra lightgbm` installs it here, `uv add lightgbm` and `make lock` for every environment"
    with pytest.raises(ProjectError, match=f"^model=lightgbm needs lightgbm: {get}$"):
        resolve("model=lightgbm")
    get = "`uv sync --extra torch` installs it here, `uv add torch` and `make lock` for every environment"
    with pytest.raises(ProjectError, match=f"^model=torch_mlp needs torch: {get}$"):
        resolve("model=torch_mlp")
    with pytest.raises(ProjectError, match=r"^model=blend needs xgboost: "):
        resolve("model=blend", "model.members.linear={_target_: xgboost.XGBClassifier}")
    resolve("model=forest")  # scikit-learn is no extra: what else is missing is said where it is imported


@pytest.mark.parametrize(
    "value",
    ["Data (final).csv", "price_€", "Größe", "O'Neil", "a=b.csv", "Amount, EUR", "1e10", "", "-3", "a\\", "[x"],
)
def test_text_arrives_as_typed(value):
    assert resolve("--columns.target", value).columns.target == value
    assert resolve(f"columns.target={value}").columns.target == value
    assert resolve(f"columns.drop={value}").columns.drop == ([value] if value else [])


def test_nothing_is_null_where_it_may_be():
    anomaly = ["task=anomaly", "gate.min_scores={}"]
    assert resolve(*anomaly, "columns.target=null", "evaluation.slices=[]").columns.target is None
    assert resolve("columns.drop=null").columns.drop == ["null"]
    assert resolve("columns.target='null'").columns.target == "null"


def test_lists_numbers_and_home_arrive_as_meant():
    assert resolve("columns.drop=[a, 'b, c', 1e10]").columns.drop == ["a", "b, c", "1e10"]
    assert resolve("--gate.max_loss", "-0.5").gate.max_loss == -0.5
    assert resolve("model=forest", "--model.n_estimators", "7").model["n_estimators"] == 7
    assert resolve("--source.source", "~/a b.csv").source["source"] == str(Path.home() / "a b.csv")


def test_a_mapping_is_replaced_and_not_merged():
    assert resolve("data=penguins", "gate.min_scores={}").gate.min_scores == {}
    assert resolve("data=penguins", "gate.min_scores={f1: 0.9}").gate.min_scores == {"f1": 0.9}
    assert "balanced_accuracy" in resolve("data=penguins", "gate.min_scores.f1=0.9").gate.min_scores


def test_a_typed_path_is_looked_for_where_the_command_was_typed(tmp_path):
    (tmp_path / "mine.csv").touch()
    assert resolve("++source.source=../mine.csv").source["source"] == "../mine.csv"
    found = compose.resolve(LAYOUT, overrides(LAYOUT, ["source.source=mine.csv"], tmp_path))[0]
    assert found.source["source"] == str(tmp_path / "mine.csv")


@pytest.mark.parametrize(
    "word, sentence",
    [
        ("registered_model=a/b", "registered_model=a/b: a name has 1 to 200 characters, and none of / : @"),
        ("model=forrest", "model=forrest: conf/model/ has no forrest.yaml; it has blend, boosting, dummy"),
        ("task.metrics=[accurcy]", "task.metrics: scikit-learn has no scorer accurcy; it has accuracy"),
        ("gate.min_scores.r2=1", "gate.min_scores.r2: task.metrics does not compute it; it has roc_auc, "),
        ("split.gap=30d", "split.gap=30d is for split=time, not for split=hash: split.gap=null"),
        ("task.transform=log", "task.transform=log is for regression, not for classification: task.transform=null"),
        ("columns.target=null", "columns.target=null is for task=anomaly; classification needs a column to predict"),
        ("path=a.csv", "path: there is no such key"),
        ("split.tset=0.3", "split.tset: there is no such key; did you mean test?"),
        ("columns=penguins", "columns has no options to choose from, conf/columns/ is not there"),
        ("sed=1", "sed: there is no such key; did you mean seed?"),
        ("seed=one", "seed: value 'one' of type 'str' could not be converted to Integer"),
        ("task.metrics=[]", "task.metrics is empty: name at least one scorer"),
        ("tracking.sample_rows=-4", "tracking.sample_rows=-4: a count is 0 or more"),
        ("seed=-1", "seed=-1: random generators take 0 to 4294967295"),
        ("reuse", "'reuse' is neither key=value nor --key value"),
        ("--multirun", "--multirun: one command is one run; "),
        ("gate.max_loss=nan", "gate.max_loss=nan: it is a finite number"),
        ("gate.min_baseline_gain=-inf", "gate.min_baseline_gain=-inf: it is a finite number"),
        ("gate.min_scores={roc_auc: 1e999}", "gate.min_scores.roc_auc=inf: it is a finite number"),
        ("leakage.threshold=nan", "leakage.threshold=nan: it is a finite number"),
        ("leakage.threshold=1.5", "leakage.threshold=1.5: it is above 0 and at most 1"),
        ("drift.min_distance=7", "drift.min_distance=7: it is a share of rows, 0 to less than 1"),
        ("expectations=[{type: x, kwargs: {max_value: inf}}]", "expectations.0.kwargs.max_value=inf: it is a finite"),
        ("split.test=nan", "split.test=nan: it is a finite number"),
        ("task.threshold=nan", "task.threshold=nan: a probability is between 0 and 1"),
        ("data=2024", "data=2024: conf/data/ has no 2024.yaml; it has "),
        ("task=true", "task=true: conf/task/ has no true.yaml; it has "),
        ("model=1e999", "model=1e999: conf/model/ has no 1e999.yaml; it has "),
        ("data=../../elsewhere", "data=../../elsewhere: conf/data/ has no "),
        ("+data=../../elsewhere", "'+data=../../elsewhere' is no key=value that can be typed"),
        ("+model@source=../x", "'+model@source=../x' is no key=value that can be typed"),
        ("hydra.searchpath=[/tmp]", "hydra.searchpath decides what code may run: it is set in conf/, not on a command"),
        ("++hydra.searchpath=[/tmp]", "hydra.searchpath decides what code may run: "),
        ("seed=${model}", "seed: "),
        ("columns.drop.a.b=1", "columns.drop.a.b: columns.drop is a list, which is given whole: [a, b], or as {low: 2"),
        ("a." * 300 + "b=1", "'a.a.a."),
        ("features.kinds.größe=category", "'features.kinds.größe' is no key that can be typed"),
    ],
)
def test_a_wrong_word_is_one_sentence(word, sentence):
    with pytest.raises(ProjectError, match=r"^[^\n]+$") as refused:
        resolve("data=penguins", word)
    assert str(refused.value).startswith(sentence)


def test_an_open_section_is_held_to_its_signature():
    assert binding.bound(resolve("model=forest", "model.max_depth=3").model, name="model")().max_depth == 3
    with pytest.raises(ProjectError, match=r"model.n_estimator: .* did you mean n_estimators?"):
        binding.bound(resolve("model=forest", "model.n_estimator=5").model, name="model")
    with pytest.raises(ProjectError, match=r"model.members.forest.n_estimator: .* did you mean n_estimators?"):
        binding.bound(resolve("model=blend", "model.members.forest.n_estimator=5").model, name="model")
    with pytest.raises(ProjectError, match=r"source.source is missing"):
        binding.bound({"_target_": "polars.scan_csv"}, name="source")
    with pytest.raises(ProjectError, match=r"model._target_=sklearn.Nothing cannot be imported"):
        binding.bound({"_target_": "sklearn.Nothing"}, name="model")


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_what_a_library_takes_as_it_comes_is_held_to_what_it_names(library):
    pytest.importorskip(library)
    with pytest.raises(ProjectError, match=r"model.n_estimator: .* did you mean n_estimators?"):
        binding.bound(resolve(f"model={library}", "model.n_estimator=5").model, name="model")
    assert binding.bound(resolve(f"model={library}", "model.reg_lambda=5").model, name="model")().reg_lambda == 5


def test_a_task_and_a_dataset_may_bring_a_model_and_the_command_line_decides():
    anomaly = ["task=anomaly", "gate.min_scores={}"]
    assert resolve(*anomaly).choices["model"] == "isolation_forest"
    assert resolve(*anomaly, "model=local_outlier").choices["model"] == "local_outlier"
    assert resolve("data=digits").choices["model"] == "forest"
    assert resolve("data=digits", "experiment=stronger").choices["model"] == "boosting"


def test_a_platform_and_an_experiment_decide_over_the_main_file():
    assert resolve("platform=ci").reuse is False and resolve().reuse is True
    assert resolve("experiment=stronger").model["max_iter"] == 1000


BROKEN = {
    "columns:\n\ttarget: x\n": "a file in conf/ is no YAML: ",
    "columns: {target: a}\n": "conf/data/: the chosen file is empty, or its first line is not",
    "# @package _global_\nsource: {_target_: x}\ncolumns: {target: a}\n": "task has no value",
    "# @package _global_\ndefaults:\n  - /task: regression\nsource: {_target_: x}\n": "columns.target has no value",
    "# @package _global_\ncolumns: {target: a, key: id}\n": "columns.key is a list",
}


def test_what_windows_and_editors_leave_in_conf(tmp_path, monkeypatch):
    shutil.copytree(LAYOUT.conf, tmp_path / "conf")
    monkeypatch.setattr(Layout, "conf", tmp_path / "conf")
    (tmp_path / "conf/data/.#mine.yaml").symlink_to("ana@laptop.4711:1700000000")
    (tmp_path / "conf/data/gone.yaml").symlink_to("nowhere.yaml")
    assert {".#mine", "gone"}.isdisjoint(compose.groups(LAYOUT)["data"])
    text = (tmp_path / "conf/data/penguins.yaml").read_text()
    for encoding, sentence in (
        ("utf-8-sig", "conf/data/mine.yaml begins with a byte order mark, as Windows writes one: save it as UTF-8"),
        ("utf-16", "conf/data/mine.yaml is not UTF-8: save it as UTF-8"),
    ):
        (tmp_path / "conf/data/mine.yaml").write_text(text, encoding=encoding)
        with pytest.raises(ProjectError, match=f"^{sentence}"):
            resolve("data=mine")


@pytest.mark.parametrize("text, sentence", BROKEN.items())
def test_a_broken_file_is_one_sentence(text, sentence, tmp_path, monkeypatch):
    shutil.copytree(LAYOUT.conf, tmp_path / "conf")
    (tmp_path / "conf/data/mine.yaml").write_text(text)
    monkeypatch.setattr(Layout, "conf", tmp_path / "conf")
    with pytest.raises(ProjectError, match=r"^[^\n]+$") as refused:
        resolve("data=mine")
    assert str(refused.value).startswith(sentence)


def test_a_secret_stays_an_interpolation_in_what_is_logged(monkeypatch):
    monkeypatch.setenv("PASSWORD", "hunter2")
    resolved, raw_config = compose.resolve(LAYOUT, ["+source.storage_options={key: '${oc.env:PASSWORD}'}"])
    assert resolved.source["storage_options"] == {"key": "hunter2"}
    assert "hunter2" not in str(raw_config)


@pytest.mark.parametrize("data, kind", [("penguins", "classification"), ("penguins_mass", "regression")])
def test_a_dataset_brings_its_task_whatever_the_model(data, kind):
    for model in ("blend", "forest", "dummy"):
        assert resolve(f"data={data}", f"model={model}").task.kind == kind


def test_a_misspelt_stage_is_named_by_the_nearest(do):
    code, printed = do("trian", "data=penguins")
    assert code == 2 and "trian is no stage and no job; did you mean train?" in printed

"""A stage's key holds the code that the stage executes, and the values that it reads: no less, and no more."""

import json
from pathlib import Path

import pytest
from conftest import Project, bake

pytestmark = pytest.mark.slow

STAGES = ("ingest", "validate", "split", "train", "evaluate", "register")
QUICK = [
    "evaluation.importance_repeats=1",
    "evaluation.resamples=20",
    "gate.min_scores={}",
    "gate.max_latency_ms=1000",
    "gate.max_megabytes=100",
]
FOREST = ["model=forest", "model.n_estimators=10"]
MEMBERS = ["model.members.boosting.max_iter=10", "model.members.forest.n_estimators=10"]
# Lanes are run at the same time. They have the options of conf/ that decide which code runs (models, tasks, splits,
# data sets), and names in conf: derived columns, an own metric that chooses the threshold.
OPTIONS = {
    "stages": [[stage, *FOREST] for stage in STAGES],  # each in a process of its own
    "models": [
        [
            *FOREST,
            "features.derive.ratio=bill_length_mm / bill_depth_mm",
            "features.derive.mean={_target_: penguin_classifier.features.group_mean, of: body_mass_g, by: island}",
        ],
        [
            "model=logistic",
            "task.threshold=penguin_classifier.metrics.profit",
            "split.validation=0.15",
            "split=stratified",
        ],
        ["model=blend", *MEMBERS, "split=group", "columns.group=[species]", "leakage.allow=[rows]"],
        [
            "model=boosting",
            "model.max_iter=10",
            "split=time",
            "columns.time=year",
            "columns.drop=[]",
            "leakage.allow=[time]",
        ],
        ["model=dummy", "columns.sensitive=[island]", "expectations=[]", "evaluation.slices=[]"],
        ["tune", *FOREST, "tune.trials=2", "tune.folds=2", "tune.jobs=1", "tune.name=traced"],
    ],
    "data": [
        ["data=penguins_mass", "model=ridge"],
        ["data=diabetes", "model=stack", "model.folds=2", *MEMBERS, "task.transform=log"],
        ["data=digits", "model=xgboost", "model.n_estimators=5"],
        ["data=breast_cancer", "model=lightgbm", "model.n_estimators=5"],
        ["task=anomaly", "registered_model=odd"],
        ["task=anomaly", "model=local_outlier", "registered_model=odd", "columns.target=null", "evaluation.slices=[]"],
    ],
}


@pytest.fixture(scope="module")
def project(wider: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(bake(tmp_path_factory.mktemp("keys")), wider)


@pytest.fixture(scope="module")
def lines(project: Project) -> list[dict]:
    """What every line of OPTIONS executes, see traced_stages.py; run once for all tests."""
    given, written = project.path / "lines.json", project.path / "traced.json"
    lanes = {name: [{"words": [*words, *QUICK]} for words in each] for name, each in OPTIONS.items()}
    lanes["stages"][-1]["touch"] = True
    given.write_text(json.dumps(lanes))
    script = str(Path(__file__).with_name("traced_stages.py"))
    done = project.run("python", "-W", "ignore", script, str(given), str(written), project.package)
    assert done.code == 0, done.printed
    lines = json.loads(written.read_text())
    assert [line["printed"] for line in lines if line["code"]] == []
    return lines


def test_every_module_that_a_stage_executes_is_in_its_key(lines: list[dict]) -> None:
    """Functions, generators and the bodies of imported modules."""
    count = 0
    for line in lines:
        for stage, executed in line["executed"].items():
            assert not {*executed} - {*line["key"][stage]}, (stage, line["words"], {*executed} - {*line["key"][stage]})
            count += bool(executed)
    assert count >= 60, "hardly a stage was looked at"


def test_what_calls_a_stage_and_keeps_its_files_is_in_every_key(lines: list[dict]) -> None:
    always = {"config.binding", "pipeline.execution", "pipeline.seeds", "pipeline.store"}
    for line in lines:
        for stage, key in line["key"].items():
            assert {f"machinery.{name}" for name in always} <= {*key}, stage


def test_a_changed_constant_is_seen_by_every_stage_that_executes_the_module(lines: list[dict]) -> None:
    [touched] = [line["touched"] for line in lines if "touched" in line]
    executed = {stage: {*names} for line in lines[: len(STAGES)] for stage, names in line["executed"].items() if names}
    assert set(executed) == set(STAGES)
    for module, explained in touched.items():
        for stage in STAGES:
            if module in executed[stage]:
                assert explained[stage].startswith("would run: "), (module, stage, explained[stage])
        first = next((text for text in explained.values() if not text.startswith("up to date")), "")
        assert not first or ".py" in first, (module, first)  # it is said which file


def test_what_a_stage_cannot_reach_does_not_make_it_run(lines: list[dict]) -> None:
    [touched] = [line["touched"] for line in lines if "touched" in line]
    first = {  # a module, and the first stage that runs again after a change of it
        "machinery.cli": None,
        "machinery.config.compose": None,
        "machinery.config.overrides": None,
        "machinery.pipeline.plan": None,
        "machinery.pipeline.runner": None,
        "machinery.mlflow.tracking": None,
        "machinery.jobs.predict.job": None,
        "machinery.jobs.tune.job": None,
        "machinery.serving.inputs": None,
        "machinery.jobs.monitor.drift": None,
        "sources": None,
        "machinery.serving.server_check": "register",
        "gates": "register",
        "machinery.mlflow.aliases": "register",
        "machinery.report.figures": "evaluate",
        "machinery.evaluation.bootstrap": "evaluate",
        "machinery.evaluation.curves": "evaluate",
        "encoders": "train",
        "machinery.jobs.monitor.column_counts": "train",
        "training": "train",
        "machinery.data.splits": "split",
        "machinery.data.leakage": "split",
        "machinery.data.expectations": "validate",
        "machinery.data.parsing": "ingest",
    }
    for module, stage in first.items():
        ran = [name for name in STAGES if touched[module][name].startswith("would run")]
        assert (ran or [None])[0] == stage, (module, touched[module])


PROMISES = {  # the words, and the stages that they make run again
    "task.metrics=[roc_auc,f1]": ["evaluate", "register"],
    "evaluation.slices=[island]": ["evaluate", "register"],
    "evaluation.confidence=0.9": ["evaluate", "register"],
    "gate.max_loss=0.01": ["register"],
    "gate.max_megabytes=50": ["register"],
    "promotion=manual": ["register"],
    "tags.use_case=test": ["register"],
    "card.contact=ana": ["register"],
    "experiment_name=trials": [],
    "task.threshold=0.4": ["train", "evaluate", "register"],
    "model.max_depth=3": ["train", "evaluate", "register"],
    "leakage.threshold=0.98": ["split", "train", "evaluate", "register"],
    "drift.alarm_rate=0.02": [],
    "tracking.sample_rows=5": [],
}


@pytest.mark.parametrize("words", PROMISES)
def test_a_changed_value_runs_the_stages_that_read_it(project: Project, lines: list[dict], words: str) -> None:
    [line] = [line["words"] for line in lines if "touched" in line]
    outputs = line[-1].partition("=")[2]
    where = {"MLFLOW_TRACKING_URI": f"sqlite:///{outputs}/mlflow.db"}
    done = project.python("explain", *line[1:], words, **where)
    assert [each.split()[0] for each in done.lines if " would run: " in each] == PROMISES[words], done.printed
    for each in done.lines:
        if each.split()[0] in PROMISES[words][:1]:
            assert words.partition("=")[0] in each, each


def test_sensitive_columns_are_no_part_of_the_split(project: Project) -> None:
    """It rests on `validate`, which withholds their values and so runs; of its own, the split does not read them."""
    text = (project.path / project.package / "stages/split.py").read_text()
    assert "columns: Roles" in text and "task: Problem" in text

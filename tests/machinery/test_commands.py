"""What a command leaves behind for programs: its exit code, outputs/last.json, the tags of its run."""

import json
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from penguin_classifier.machinery import errors
from penguin_classifier.machinery.pipeline.plan import Plan

SMALL = (
    "data=penguins",
    "model=forest",
    "model.n_estimators=10",
    "evaluation.importance_repeats=0",
    "evaluation.resamples=0",
)
STAGES = ["ingest", "validate", "split", "train", "evaluate", "register"]


def read(outputs: Path, name: str = "outputs/last.json") -> dict:
    return json.loads((outputs / name).read_text())


def test_last_json_says_what_a_command_did(do, outputs):
    do(*SMALL)
    last = read(outputs)
    assert (last["command"], last["status"], last["exit_code"], last["cause"]) == ("register", "finished", 0, None)
    assert [step["stage"] for step in last["stages"]] == STAGES
    assert all(
        step["reason"] == "first run" and not step["reused"] and len(step["key"]) == 32 for step in last["stages"]
    )
    assert last["registered"]["alias"] == "champion" and last["registered"]["verdict"] == "passed"
    assert last["registered"]["reasons"][0].startswith("roc_auc ") and last["scores"]["test_roc_auc"] > 0.9
    assert Path(last["files"]["model_card.md"]).is_file() and last["model_id"].startswith("m-")
    run = MlflowClient().get_run(last["run_id"])
    assert run.info.experiment_id == last["experiment_id"] and run.info.status == "FINISHED"
    assert any("is champion" in line for line in last["summary"]) and last["look"].startswith("uv run mlflow ui")

    model, seconds = MlflowClient().get_logged_model(last["model_id"]), [f"seconds_{stage}" for stage in STAGES]
    costs = {each.key: each.value for each in model.metrics}
    assert costs["test_roc_auc"] == last["scores"]["test_roc_auc"] and costs["latency_ms"] > 0  # Models ranks by these
    assert {"megabytes", *seconds} <= run.data.metrics.keys() and not {*seconds, "latency_ms"} & last["scores"].keys()

    do(*SMALL)
    again = read(outputs)
    assert again["status"] == "up to date" and all(step["reused"] for step in again["stages"])
    assert [step["run"] for step in again["stages"]] == [step["run"] for step in last["stages"]]
    assert again["registered"] == last["registered"] and again["files"] == last["files"]
    assert "validate  would run: first run of penguins_mass" in do("explain", "data=penguins_mass")[1]


def test_a_failure_is_written_down_as_well(do, outputs):
    code, printed = do("data=penguins", "model=forest", "model.n_estimator=5")
    last = read(outputs)
    assert code == last["exit_code"] == 2 and last["status"] == "failed" and last["cause"] in printed
    run = MlflowClient().get_run(last["run_id"]).data.tags
    assert run["exit_code"] == "2" and run["cause"] == last["cause"]
    code, _ = do("data=penguins", "seed=many")
    assert (code, read(outputs)["cause"][:5], read(outputs)["run_id"]) == (2, "seed:", None)
    assert do("nothing")[0] == 2 and read(outputs)["command"] == "nothing"
    assert do("ingest", "data=penguins", "source.source=nothing.csv")[0] == read(outputs)["exit_code"] == 1


def test_a_failed_gate_says_which_version_it_was(do, outputs):
    code, _ = do(*SMALL, "gate.on_fail=error", "gate.max_megabytes=0.001")
    last = read(outputs)
    assert code == last["exit_code"] == errors.GateFailed.code == 4
    assert last["registered"]["alias"] == "challenger" and last["registered"]["verdict"] == "failed"
    assert MlflowClient().get_run(last["run_id"]).data.tags["exit_code"] == "4"


def test_the_result_may_go_elsewhere_and_is_no_part_of_a_key(do, outputs):
    do("split", "data=penguins", f"result={outputs}/a/b.json")
    assert not (outputs / "outputs/last.json").exists() and read(outputs, "a/b.json")["command"] == "split"
    do("explain", "data=penguins", "--result", f"{outputs}/why.json")
    why = read(outputs, "why.json")
    assert [step["reason"] for step in why["stages"]] == [None] * 3 + ["first run"] * 3
    assert not (outputs / "outputs/last.json").exists(), "explain does nothing"
    (outputs / "file").touch()
    code, printed = do("split", "data=penguins", f"result={outputs}/file/b.json")
    assert code == 1 and "cannot be written" in printed


def test_runs_go_to_the_experiment_that_is_named_and_the_page_that_shows_them_is_printed(do):
    code, printed = do("split", "data=penguins", "experiment_name=trials", "tags.release=1.10")
    trials = MlflowClient().get_experiment_by_name("trials")
    assert code == 0 and len(MlflowClient().search_runs([trials.experiment_id], "tags.release = '1.10'")) == 1
    assert printed.endswith(f":5000/#/experiments/{trials.experiment_id}/runs?workflowType=machine_learning\n")


def test_an_interrupt_is_130(do, outputs, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Plan, "step", interrupt)
    assert do("split", "data=penguins")[0] == 130
    assert (read(outputs)["status"], read(outputs)["exit_code"]) == ("interrupted", 130)


def test_under_mlflow_run_the_code_is_a_tag(do, outputs, monkeypatch):
    run_id = MlflowClient().create_run("0").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    assert do("split", "seed=many")[0] == 2
    tags = MlflowClient().get_run(run_id).data.tags
    assert tags["exit_code"] == "2" and tags["cause"].startswith("seed: ")
    assert read(outputs)["run_id"] == run_id


def test_credentials_do_not_get_into_it(do, outputs, monkeypatch):
    monkeypatch.setenv("SOURCE_PASSWORD", "hemmelig7f3a91")
    do("split", "data=penguins", "source.source=${oc.env:SOURCE_PASSWORD}.csv")
    assert "hemmelig" not in (outputs / "outputs/last.json").read_text()
    do("split", "data=penguins", "+source.password=hunter22")
    assert "hunter22" not in (outputs / "outputs/last.json").read_text()


def test_every_kind_of_error_has_its_code():
    kinds = {each.__name__: each.code for each in (errors.ProjectError, *errors.ProjectError.__subclasses__())}
    assert kinds["ConfigError"] == 2 and kinds["GateFailed"] == 4 and kinds["Unavailable"] == 75
    assert kinds["ProjectError"] == kinds["DataError"] == 1
    for code in {*kinds.values(), errors.INTERRUPTED, 0, 3}:
        assert f" {code}  " in (errors.__doc__ or ""), code


def test_a_stage_that_takes_now_runs_each_time(do, monkeypatch):
    from penguin_classifier.machinery.pipeline.code_fingerprint import CodeFingerprint
    from penguin_classifier.stages import validate

    def fresh(store, *, now, **more):
        assert abs(time.time() - now) < 60
        return original(store, **more)

    original, arguments = validate.validate, CodeFingerprint.arguments
    monkeypatch.setattr(validate, "validate", fresh)
    monkeypatch.setattr(
        CodeFingerprint,
        "arguments",
        lambda self, module: arguments(self, module) | ({"now": "float"} if module == "stages.validate" else {}),
    )
    do("split", "data=penguins")
    _, printed = do("split", "data=penguins")
    assert "ingest    344 rows x 8 columns (reused" in printed and ", now changed 1" in printed
    assert "validate changed" in printed


@pytest.mark.parametrize("word", ["--help", "--cfg"])
def test_hydras_own_flags_run_nothing(do, outputs, word, monkeypatch):
    before = sorted(outputs.rglob("*"))
    monkeypatch.setattr("sys.argv", ["penguin_classifier"])
    try:
        code, _ = do(*([word, "job"] if word == "--cfg" else [word]))
    except SystemExit as end:
        code = end.code
    assert not code and sorted(outputs.rglob("*")) == before

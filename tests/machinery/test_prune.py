import time

from mlflow import MlflowClient

QUICK = ("evaluation.importance_repeats=0", "evaluation.resamples=0")
SMALL = (
    "data=penguins",
    "model=forest",
    "model.n_estimators=5",
    "evaluation.importance_repeats=0",
    "evaluation.resamples=0",
)
NAME = "penguin-classifier-penguins"


def test_only_what_nobody_needs_is_deleted(do, outputs):
    client = MlflowClient()
    for words in (["seed=1"], ["seed=2", "columns.drop=[year,bill_length_mm]"], ["seed=3"], []):
        do(*SMALL, *words)
    held = client.get_model_version_by_alias(NAME, "champion")
    made = len(list((outputs / "outputs").glob("*/*/outcome.json")))
    code, printed = do("prune", "keep=1")
    assert code == 0 and "would delete 2 runs" in printed and "nothing was deleted: -P dry_run=false" in printed
    assert len(list((outputs / "outputs").glob("*/*/outcome.json"))) == made

    code, printed = do("prune", "keep=1", "dry_run=false")
    assert code == 0 and printed.startswith("deleted 2 runs, "), printed
    left = [run for run in client.search_runs(["0"]) if "mlflow.parentRunId" not in run.data.tags]
    assert sorted(run.data.tags["stage"] for run in left) == ["prune", "prune", "register", "register"]
    assert not client.search_runs(["0"], run_view_type=2), "they are still in the bin"
    assert client.get_model_version_by_alias(NAME, "champion").version == held.version
    numbers = {int(version.version) for version in client.search_model_versions(f"name = '{NAME}'")}
    assert int(held.version) in numbers and len(numbers) == 2
    assert len(list((outputs / "outputs").glob("*/*/outcome.json"))) < made
    assert do(*SMALL)[1].startswith("register is up to date"), "what the last run rests on is gone"
    code, printed = do(*SMALL, "gate.min_baseline_gain=0.2")  # the champion still answers
    assert code == 0, printed


def test_nothing_is_deleted_from_under_a_run(do):
    client = MlflowClient()
    run = client.create_run("0", tags={"stage": "train"})
    code, printed = do("prune", "dry_run=false")
    assert code == 75 and f"run {run.info.run_id} is under way" in printed
    client.set_terminated(run.info.run_id)
    assert do("prune", "dry_run=false")[1].startswith("deleted 0 runs"), "there are fewer than are to be kept"
    assert ": keep=-1: a count is 0 or more" in do("prune", "keep=-1")[1]
    assert ": older_than=90 days: a number with h, d or w" in do("prune", "older_than=90 days")[1]


def test_runs_are_deleted_by_age(do):
    old = int(1000 * (time.time() - 100 * 24 * 3600))
    for start in (old, None):
        run = MlflowClient().create_run("0", start_time=start, tags={"stage": "register"})
        MlflowClient().set_terminated(run.info.run_id)
    for words, count in ((["older_than=15w"], 0), (["older_than=90d", "keep=2"], 0), (["older_than=90d"], 1)):
        code, printed = do("prune", *words)
        assert code == 0 and f"would delete {count} runs" in printed and "younger than" in printed, printed


def test_drafts_that_were_left_go_too(do, outputs):
    (outputs / "outputs/train/.dead").mkdir(parents=True)
    do("prune", "dry_run=false")
    assert not (outputs / "outputs/train/.dead").exists()

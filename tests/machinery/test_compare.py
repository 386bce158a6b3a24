"""Runs side by side: by id, name or address, and those that are like another."""

import csv
from pathlib import Path

import pytest
from mlflow import MlflowClient

A = {"data": "a", "target": "y", "seed": "1"}
RUNS = {  # by name: parameters, scores
    "ridge": (A | {"model": "ridge"}, {"test_r2": 0.8, "test_neg_max_error": -3.0}),
    "forest": (A | {"model": "forest"}, {"test_r2": 0.9, "test_neg_max_error": -5.0}),
    "other": (A | {"model": "stack", "seed": "2"}, {"test_r2": 0.7}),
    "apart": (A | {"model": "ridge", "data": "b"}, {"test_r2": 0.99}),
}


@pytest.fixture
def runs(outputs):
    """The ids of finished runs."""
    client, ids = MlflowClient(), {}
    for name, (params, scores) in RUNS.items():
        run = ids[name] = client.create_run("0", run_name=name).info.run_id
        for key, value in params.items():
            client.log_param(run, key, value)
        for key, value in scores.items():
            client.log_metric(run, key, value)
            if "neg_" in key:
                client.log_metric(run, key.replace("neg_", ""), -value)
        client.set_terminated(run)
    return ids


def shown() -> tuple[list[dict[str, str]], str]:
    """The table and the page of the newest comparison."""
    [run, *_] = MlflowClient().search_runs(["0"], "tags.stage = 'compare'", order_by=["attributes.start_time DESC"])
    names = ("comparison.csv", "compare.html")
    table, page = (Path(MlflowClient().download_artifacts(run.info.run_id, name)) for name in names)
    return list(csv.DictReader(table.open())), page.read_text()


def test_what_differs_and_the_scores_stand_side_by_side(do, runs):
    code, printed = do("compare", f"runs=[{runs['ridge'][:8]},forest]")
    assert code == 0 and "compare   2 runs, 1 parameters differ" in printed, printed
    lines = [line.split() for line in printed.splitlines()]
    assert ["model", "ridge", "forest"] in lines and ["test_r2", "0.8000", "0.9000"] in lines
    table, page = shown()
    assert {"model", "test_r2", "test_neg_max_error", "test_max_error", "started"} <= {row["name"] for row in table}
    assert "<b>0.9000</b>" in page and "<b>3.0000</b>" in page and "<b>-3.0000</b>" in page


def test_the_runs_most_like_another_are_of_its_dataset(do, runs):
    code, printed = do("compare", "like=ridge", "most=1")
    assert code == 0 and "forest" in printed and "other" not in printed and "apart" not in printed, printed
    assert "compare   3 runs, 2 parameters differ" in do("compare", f"like={runs['ridge']}")[1]


@pytest.mark.parametrize(
    "words, code, sentence",
    [
        ([], 2, "compare takes two runs or more as runs=[...], or one as like=..."),
        (["runs=[ridge]"], 2, "compare takes two runs or more"),
        (
            ["runs=[ridge,nothing]"],
            1,
            "there is no finished run nothing in this experiment; the newest are apart, other",
        ),
        (["like=apart"], 1, "like=apart: it is the only one of data=b: nothing is like it"),
        (["like=models:/none@champion"], 1, "models:/none@champion is not in the registry"),
        (["like=ridge", "most=0"], 2, "most=0: a count is 1 or more"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(do, runs, words, code, sentence):
    done, printed = do("compare", *words)
    assert done == code and sentence in printed and "Traceback" not in printed, printed

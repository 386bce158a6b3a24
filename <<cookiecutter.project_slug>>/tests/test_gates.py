from dataclasses import make_dataclass
from pathlib import Path
from types import ModuleType

import pytest

from << cookiecutter.package_name >> import gates
from << cookiecutter.package_name >>.config import Gate
from << cookiecutter.package_name >>.machinery.config import compose
from << cookiecutter.package_name >>.machinery.errors import ProjectError
from << cookiecutter.package_name >>.machinery.evaluation import gate_results
from << cookiecutter.package_name >>.machinery.evaluation import result as evaluated
from << cookiecutter.package_name >>.machinery.evaluation.gate_results import Evidence
from << cookiecutter.package_name >>.machinery.layout import Layout

PACKAGE = "<< cookiecutter.package_name >>"
DEFAULTS = compose.resolve(Layout(Path(__file__).parents[1], PACKAGE), [])[0].gate
NONE = {"min_scores": {}, "min_slice_scores": {}}


def verdicts(
    accuracy=0.9,
    *,
    against=None,
    not_comparable=None,
    slices=(),
    error=None,
    dirty="true",
    back="",
    wrong="",
    **limits,
):
    """By name, what is said of a candidate; `against`: the champion's score, and the interval of the gain."""
    champion, low, high = against or (None, None, None)
    result = evaluated.EvaluationResult(
        rows=100,
        model=evaluated.ModelFacts("Dummy", "Dummy()", {}, None, ""),
        costs={"megabytes": 3.0, "latency_ms": 20.0},
        test={"accuracy": accuracy},
        baseline={"accuracy": 0.5},
        champion={"accuracy": champion} if against else {},
        gain=evaluated.Gain(accuracy - champion, low, high) if against else None,
        not_comparable=not_comparable,
        slices=list(slices),
        numbers={} if error is None else {"calibration_error": error},
    )
    evidence = Evidence(result, 0.95, 30, 0, dirty=dirty, rolled_back=back, served=lambda: (20, wrong))
    found = gate_results.results(gates, Gate(**{**vars(DEFAULTS), **NONE, **limits}), evidence)
    return {each.name: each for each in found}


@pytest.mark.parametrize(
    "given, name, passed",
    [
        ({}, "min_baseline_gain", True),
        ({"accuracy": 0.5}, "min_baseline_gain", False),  # as good as the dummy is not good
        ({"min_baseline_gain": 0.4}, "min_baseline_gain", False),
        ({"min_scores": {"accuracy": 0.9}}, "min_scores.accuracy", True),
        ({"min_scores": {"accuracy": 0.91}}, "min_scores.accuracy", False),
        ({"against": (0.91, -0.03, 0.01)}, "max_loss", True),  # chance may have done it
        ({"against": (0.95, -0.08, -0.01)}, "max_loss", False),
        ({"against": (0.95, -0.08, -0.01), "max_loss": 0.02}, "max_loss", True),
        ({"against": (0.95, None, None)}, "max_loss", False),  # without intervals the scores decide
        ({"against": (0.9, None, None)}, "max_loss", True),
        ({"not_comparable": "no row is shared"}, "max_loss", False),
        ({"against": (0.85, -0.01, 0.11), "min_gain": 0.0}, "min_gain", False),  # better, but not beyond chance
        ({"against": (0.85, 0.01, 0.09), "min_gain": 0.0}, "min_gain", True),
        ({"error": 0.05, "max_calibration_error": 0.05}, "max_calibration_error", True),
        ({"error": 0.06, "max_calibration_error": 0.05}, "max_calibration_error", False),
        ({"max_calibration_error": 0.05}, "max_calibration_error", False),  # no probabilities
        ({"max_megabytes": 3.0}, "max_megabytes", True),
        ({"max_megabytes": 2.9}, "max_megabytes", False),
        ({"max_latency_ms": 10.0}, "max_latency_ms", False),
        ({"validated": True}, "validated", False),
        ({"clean_tree": True}, "clean_tree", False),
        ({"clean_tree": True, "dirty": "false"}, "clean_tree", True),
        ({"serving": True}, "serving", True),
        ({"serving": True, "wrong": "the prediction of row 1 is 1 when it is served, and 0 here"}, "serving", False),
        ({"back": "on 2026-11-02 by ana: wrong prices"}, "rolled_back", False),
    ],
)
def test_a_gate_decides_and_says_why(given, name, passed):
    found = verdicts(**given)
    assert found[name].passed is passed and found[name].sentence
    assert all(each.passed for other, each in found.items() if other != name)


def test_a_slice_below_its_floor_is_named_and_a_small_one_does_not_count():
    slices = [
        evaluated.SliceScore("region", "north", 50, scores={"accuracy": 0.7}),
        evaluated.SliceScore("region", "south", 50, scores={"accuracy": 0.9}),
        evaluated.SliceScore("region", "west", 3, scores={"accuracy": 0.0}),
        evaluated.SliceScore("region", "east", 50, note="one class only"),
    ]
    found = verdicts(slices=slices, min_slice_scores={"accuracy": 0.8})["min_slice_scores.accuracy"]
    assert not found.passed and found.sentence == "accuracy is below 0.8 for region north (0.7000)"
    assert verdicts(slices=slices, min_slice_scores={"accuracy": 0.6})["min_slice_scores.accuracy"].passed
    few = verdicts(slices=slices[2:], min_slice_scores={"accuracy": 0.0})["min_slice_scores.accuracy"]
    assert not few.passed and "evaluation.min_rows" in few.sentence


def test_the_sentence_of_a_comparison_has_all_that_decides():
    told = verdicts(against=(0.95, -0.08, -0.01))["max_loss"].sentence
    assert "0.9000 against the champion's 0.9500" in told and "-0.0500 (-0.0800 to -0.0100 with 95% confidence)" in told


def test_a_model_is_not_served_where_another_gate_has_failed():
    assert "serving" not in verdicts(accuracy=0.4, serving=True)


def test_a_gate_is_a_function_and_a_key_of_the_same_name():
    own = ModuleType("own")
    exec("def max_rows(limit, evidence): ...", vars(own))
    own.max_rows.__module__ = "own"
    gate_results.refuse_unmatched(gates, DEFAULTS)
    with pytest.raises(ProjectError, match=r"gates.max_rows is called by nobody: give it a field `max_rows`"):
        gate_results.refuse_unmatched(own, make_dataclass("Gate", ["on_fail"])("error"))
    with pytest.raises(ProjectError, match=r"gate.max_cost: gates.py has no function max_cost\(limit, evidence\)"):
        gate_results.refuse_unmatched(own, make_dataclass("Gate", ["max_rows", "max_cost"])(1, 2))

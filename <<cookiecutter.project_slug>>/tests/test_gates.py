import pytest

from << cookiecutter.package_name >> import gates
from << cookiecutter.package_name >>.machinery.config import compose

DEFAULTS = compose.resolve([])[0].gate
NONE = {"min_scores": {}, "min_slice_scores": {}}


def verdicts(accuracy=0.9, *, against=None, hindrance=None, slices=(), error=None, dirty="true", back=None, **asked):
    """By name, what is said of a candidate; `against`: the champion's score, and the interval of the gain."""
    told = {"test": {"accuracy": accuracy}, "baseline": {"accuracy": 0.5}, "slices": slices, "numbers": {}}
    told["costs"] = {"megabytes": 3.0, "latency_ms": 20.0}
    if error is not None:
        told["numbers"]["calibration_error"] = error
    if hindrance:
        told["hindrance"] = hindrance
    if against:
        champion, low, high = against
        told |= {"champion": {"accuracy": champion}, "gain": {"value": accuracy - champion, "low": low, "high": high}}
    gate = compose.Gate(**{**vars(DEFAULTS), **NONE, **asked})
    limits = {"metric": "accuracy", "confidence": 0.95, "min_rows": 30, "expectations": 0}
    found = gates.verdicts(told, gate=gate, dirty=dirty, rolled_back=back, **limits)
    return {verdict.name: verdict for verdict in found}


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
        ({"hindrance": "no row is shared"}, "max_loss", False),
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
        ({"back": "on 2026-11-02 by ana: wrong prices"}, "rolled_back", False),
    ],
)
def test_a_gate_decides_and_says_why(given, name, passed):
    found = verdicts(**given)
    assert found[name].passed is passed and found[name].sentence
    assert all(each.passed for other, each in found.items() if other != name)


def test_a_slice_below_its_floor_is_named_and_a_small_one_does_not_count():
    slices = [
        {"column": "region", "value": "north", "rows": 50, "accuracy": 0.7},
        {"column": "region", "value": "south", "rows": 50, "accuracy": 0.9},
        {"column": "region", "value": "west", "rows": 3, "accuracy": 0.0},
        {"column": "region", "value": "east", "rows": 50},  # one class only: not to be scored
    ]
    found = verdicts(slices=slices, min_slice_scores={"accuracy": 0.8})["min_slice_scores.accuracy"]
    assert not found.passed and found.sentence == "accuracy is below 0.8 for region north (0.7000)"
    assert verdicts(slices=slices, min_slice_scores={"accuracy": 0.6})["min_slice_scores.accuracy"].passed
    few = verdicts(slices=slices[2:], min_slice_scores={"accuracy": 0.0})["min_slice_scores.accuracy"]
    assert not few.passed and "evaluation.min_rows" in few.sentence


def test_the_sentence_of_a_comparison_has_all_that_decides():
    told = verdicts(against=(0.95, -0.08, -0.01))["max_loss"].sentence
    assert "0.9000 against the champion's 0.9500" in told and "-0.0500 (-0.0800 to -0.0100 with 95% confidence)" in told

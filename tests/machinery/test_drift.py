import json
import re

import numpy as np
import pandas as pd
import pytest
from penguin_classifier.machinery.errors import inert
from penguin_classifier.machinery.jobs.monitor import column_counts, drift

KINDS = {"n": "number", "c": "category", "l": "level", "b": "boolean", "d": "date", "t": "text"}
WORDS = np.array(["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"])


def table(seed, rows=400):
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "n": draw.normal(size=rows),
            "c": draw.choice(["x", "y", "z"], rows, p=[0.6, 0.3, 0.1]),
            "l": [f"level {number}" for number in draw.zipf(1.6, rows)],
            "b": pd.Series(draw.choice([True, False], rows), dtype=object),
            "d": pd.to_datetime(draw.integers(0, 10**9, rows), unit="s"),
            "t": [" ".join(draw.choice(WORDS, draw.integers(2, 9))) for _ in range(rows)],
        }
    )
    frame.loc[draw.random(rows) < 0.05, ["n", "c"]] = None
    return frame


def found(was, now, **how):
    kept = json.loads(json.dumps(column_counts.summary(was, KINDS, **how)))  # as it is stored with a model
    return drift.findings(kept, column_counts.count_like(kept, now), units=(len(was), len(now)))


def alarms(findings, rate=0.01):
    return {(each.name, each.what) for each in drift.alarms(findings, rate=rate, min_distance=0.05)[0]}


def test_rows_of_the_same_kind_raise_no_alarm():
    assert alarms(found(table(1), table(2))) == set()


@pytest.mark.parametrize(
    ("column", "change", "what"),
    [
        ("n", lambda values: values + 0.5, "values"),
        ("n", lambda values: values * 3, "values"),
        ("n", lambda values: values.where(values.index % 4 > 0), "missing"),
        ("c", lambda values: values.replace("x", "y"), "values"),
        ("c", lambda values: values.replace("y", "never"), "unseen"),
        ("l", lambda values: values.str.replace("level", "step"), "values"),
        ("b", lambda values: values.where(values.index % 2 > 0, True), "values"),
        ("d", lambda values: values + pd.Timedelta(days=3000), "values"),
        ("t", lambda values: values + " and some more words", "length"),
        ("t", lambda values: values.str.replace("e", "a"), "words"),
    ],
)
def test_a_shift_of_one_column_is_found_and_no_other(column, change, what):
    now = table(2)
    now[column] = change(now[column])
    seen = alarms(found(table(1), now))
    assert (column, what) in seen and {name for name, _ in seen} == {column}


def test_counts_add_up_whatever_the_parts():
    kept, rows = column_counts.summary(table(1), KINDS), table(3)
    whole = column_counts.count_like(kept, rows)
    parts = [column_counts.count_like(kept, part) for part in (rows[:150], rows[150:151], rows[151:])]
    sum_ = column_counts.add(column_counts.add(parts[0], parts[1]), parts[2])
    assert sum_["rows"] == whole["rows"]
    for name, column in whole["columns"].items():
        assert sum_["columns"][name]["missing"] == column["missing"]
        for what, view in column["views"].items():
            other = sum_["columns"][name]["views"][what]
            assert (other["counts"], other["new"]) == (view["counts"], view["new"])


def test_nothing_is_kept_of_sensitive_columns_but_how_much_is_missing():
    kept = column_counts.summary(table(1), KINDS, sensitive=["n", "t", "c"])
    assert all(kept["columns"][name]["views"] == {} for name in "ntc") and kept["columns"]["n"]["missing"] > 0
    now = table(2).assign(n=None)
    now["c"] = now["c"].where(now["c"].isna(), "x")
    assert {name for name, what in alarms(found(table(1), now, sensitive=["n", "t", "c"]))} == {"n"}


def test_an_empty_column_a_constant_and_odd_tables_are_no_error():
    odd = table(1).assign(n=None, c=None, l="same", d=pd.NaT, t="")
    for was, now in ((odd, table(2)), (table(2), odd), (odd, odd), (table(1), table(2)[:1])):
        kept = column_counts.summary(was, KINDS)
        seen = drift.findings(kept, column_counts.count_like(kept, now), units=(len(was), len(now)))
        assert all(0 <= each.p <= 1.0000001 and 0 <= each.distance <= 1 for each in seen)
    assert alarms(found(odd, odd)) == set()


def test_rows_of_few_groups_prove_less():
    was, now = table(1), table(2)
    now["n"] += 0.5
    kept = column_counts.summary(was, KINDS)
    few = drift.findings(kept, column_counts.count_like(kept, now), units=(20, 20))
    assert ("n", "values") not in alarms(few)


@pytest.mark.parametrize(
    ("was", "now", "is_sure"),
    [
        ((0.9, 0.85, 0.95), (0.7, 0.6, 0.8), True),
        ((0.9, 0.85, 0.95), (0.86, 0.8, 0.92), False),
        ((0.9, 0.85, 0.95), (0.95, 0.9, 0.99), False),
        ((0.9, 0.9, 0.9), (0.9, 0.9, 0.9), False),
        ((0.9, 0.9, 0.9), (0.8, 0.8, 0.8), True),
    ],
)
def test_a_score_falls_beyond_chance(was, now, is_sure):
    how = {"name": "accuracy", "sentence": "accuracy fell", "confidence": 0.95, "rate": 0.01}
    fall = drift.score_fall(was, now, max_loss=0.0, **how)
    assert (fall.p < 0.01) == is_sure
    low, high = (float(end) for end in re.search(r"\((\S+) to (\S+) with 98% confidence\)", fall.sentence).groups())
    assert (high < 0) == is_sure and low - 1e-4 <= now[0] - was[0] <= high + 1e-4
    assert drift.score_fall(was, now, max_loss=0.5, **how).p > 0.5


def test_p_values_are_corrected_for_their_number():
    tests = [
        drift.Finding("features", "a", "values", 0.5, 0.004, ""),
        *[drift.Finding("features", "b", "values", 0.5, 0.5, "")] * 9,
    ]
    sure, adjusted = drift.alarms(tests, rate=0.01, min_distance=0.05)
    assert not sure and adjusted[0] == pytest.approx(0.04)
    assert drift.alarms(tests[:2], rate=0.01, min_distance=0.05)[0] == tests[:1]
    assert drift.alarms(tests[:2], rate=0.01, min_distance=0.6)[0] == []


def test_a_value_stays_a_value_in_what_is_said():
    """In a log, in a block of code of a pull request, in a chat: no line of its own, no mark that they know."""
    level = "```\n::add-mask::x\r\u2028@org/team ##[group] `rm`\x1b[2J"
    was = pd.DataFrame({level: ["a", "b"] * 100})
    now = pd.DataFrame({level: [level, "b"] * 100})
    kept = column_counts.summary(was, {level: "category"})
    results = drift.findings(kept, column_counts.count_like(kept, now), units=(200, 200))
    [unseen] = [each for each in results if each.what == "unseen"]
    for said in (unseen.label, unseen.sentence, inert(level)):
        assert r"\x60\x60\x60\n:\x3aadd-mask:\x3ax\r\u2028@org/team #\x23[group] \x60rm\x60\x1b[2J" in said
    assert inert("Straße 5 : a::b") == r"Straße 5 : a:\x3ab"

import json
import re
import sys

import pandas as pd
import polars as pl
import pytest
from penguin_classifier.machinery import second_process
from penguin_classifier.machinery.data import expectations, validator
from penguin_classifier.machinery.errors import ProjectError
from penguin_classifier.machinery.pipeline.store import Store

FRAME = pd.DataFrame({"size": [1.0, 2.0, 99.0], "kind": ["a", "b", "c"]})
SUITE = [
    {"type": "expect_column_values_to_be_between", "kwargs": {"column": "size", "max_value": 10}},
    {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "kind", "value_set": ["a", "b", "c"]}},
    {"type": "expect_column_to_exist", "kwargs": {"column": "colour"}},
    {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "shape"}},
    {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 10}},
]


def test_each_failure_says_what_how_many_and_which():
    result = expectations.validate(FRAME, expectations.suite(SUITE))
    lines = "\n".join(expectations.failures(result))
    assert "size: expect_column_values_to_be_between {'max_value': 10.0}: 1 of 3 values, such as 99.0" in lines
    assert "colour: expect_column_to_exist" in lines
    assert 'The column "shape" in BatchData does not exist' in lines
    assert "table: expect_table_row_count_to_be_between {'min_value': 10}: found 3" in lines
    assert len(lines.splitlines()) == 4


def test_the_page_loads_nothing_from_elsewhere():
    page = expectations.page(expectations.validate(FRAME, expectations.suite(SUITE)))
    assert "expect" in page.lower() and "size" in page
    assert not re.findall(r'(?:src|<link[^>]*href)="?http', page)


def test_the_result_is_json_that_is_the_same_each_time():
    one, two = (expectations.as_json(expectations.validate(FRAME, expectations.suite(SUITE))) for _ in range(2))
    whole = json.loads(one)
    assert one == two and not whole["success"] and [each["success"] for each in whole["results"]].count(True) == 1
    [size] = [each for each in whole["results"] if each["kwargs"].get("column") == "size"]
    assert size["result"]["unexpected_count"] == 1 and whole["statistics"]["evaluated_expectations"] == 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "expect_magic", "kwargs": {}},
        {"type": "expect_column_to_exist", "kwargs": {"colum": "size"}},
        {"kwargs": {"column": "size"}},
        {"type": "expect_column_to_exist", "kwarg": {}},
    ],
)
def test_an_unknown_expectation_is_one_sentence(wrong):
    with pytest.raises(ProjectError, match=r"^expectations: [^\n]+$"):
        expectations.suite([wrong])


def test_a_second_process_says_the_same_and_its_end_is_one_sentence(tmp_path):
    store = Store(tmp_path)
    store.keys["ingest"] = "key"
    pl.from_pandas(FRAME).write_parquet(store.file("ingest"), mkdir=True)
    for sensitive in ([], ["size"]):
        result = expectations.masked(expectations.validate(FRAME, expectations.suite(SUITE)), sensitive)
        checked = validator.held_to(store, "ingest", SUITE, sensitive=sensitive)
        assert sorted(checked.failures) == sorted(expectations.failures(result)) and len(checked.failures) == 4
        assert checked.texts["expectations.json"] == expectations.as_json(result)
        assert checked.notes == expectations.left_out(result) and ("such as" in str(checked)) != bool(sensitive)
    with pytest.raises(ProjectError, match=r"^expectations: expect_magic: [^\n]+$"):
        validator.held_to(store, "ingest", [{"type": "expect_magic", "kwargs": {}}], sensitive=[])
    second_process.companion().kill()
    with pytest.raises(ProjectError, match="the process that checks expectations and draws ended, with code -9"):
        validator.held_to(store, "ingest", SUITE, sensitive=[])
    assert not validator.held_to(store, "ingest", SUITE[1:2], sensitive=[]).failures, "the next one is checked again"


def test_it_begins_only_with_what_a_stage_that_will_run_imports(do, monkeypatch):
    begun, submit = [], second_process.submit
    monkeypatch.setattr(second_process, "submit", lambda *words, **more: begun.append(words) or submit(*words, **more))
    plots = "penguin_classifier.machinery.report.plots"
    monkeypatch.delitem(sys.modules, plots, raising=False)
    line = ["split", "data=penguins"]
    assert do("explain", *line[1:])[0] == 0 and not begun
    assert do(*line)[0] == 0 and len(begun) == 2, "before the first stage, and by the stage that needs it"
    assert begun[0][1:] == (".data.expectations",)
    assert do(*line, "seed=5")[0] == do(*line)[0] == 0 and len(begun) == 2, "a table that was checked is not again"
    assert do("evaluate", line[1], "model=dummy")[0] == 0
    assert begun[2][1:] == (".report.plots",), begun
    assert plots not in sys.modules, "what draws is imported there"


def test_what_goes_wrong_in_it_is_raised_here_and_the_next_is_answered():
    failed, next_one = (second_process.submit(divmod, 7, divisor) for divisor in (0, 2))
    assert next_one.result() == (3, 1)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        failed.result()

"""columns.sensitive: no value of such a column in any byte that a model and its runs leave."""

import datetime
import io
import json
import re
import struct
import zipfile

import numpy as np
import polars as pl
import pytest
from penguin_classifier import encoders
from penguin_classifier.machinery.config import privacy
from penguin_classifier.machinery.data import expectations
from penguin_classifier.machinery.evaluation import estimators
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, LocalOutlierFactor

ROWS = 301  # an odd number: the median is one row's value
INCOME = [20_000 + 137.0390625 * ((7919 * at) % ROWS) + at / 64 for at in range(ROWS)]
BORN = [
    datetime.date(1941, 3, 2) + datetime.timedelta(days=61 * ((31 * at) % ROWS) + at * at % 53) for at in range(ROWS)
]
CITY = [f"Quagmire{'abcdefghij'[at % 10]}ton" for at in range(ROWS)]
TABLE = pl.DataFrame(
    {
        "income": [None if at % 50 == 49 else value for at, value in enumerate(INCOME)],
        "born": BORN,
        "city": CITY,
        "size": [float(at % 17) for at in range(ROWS)],
        "label": ["yes" if (at * 7) % 10 < 4 + (at % 17) / 6 else "no" for at in range(ROWS)],
    }
)
SENSITIVE = ["income", "born", "city"]
EXPECTATIONS = [
    {"type": "expect_column_values_to_be_between", "kwargs": {"column": "income", "min_value": min(INCOME)}},
    {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "city", "value_set": sorted(set(CITY))}},
    {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "born", "mostly": 0.5}},
    {"type": "expect_column_values_to_be_between", "kwargs": {"column": "size", "min_value": 0, "max_value": 16}},
]


def contents(folder):
    """Every file below `folder` but tables and pictures, those in archives one by one."""
    for file in folder.rglob("*"):
        if file.is_file() and file.suffix not in (".parquet", ".png") and file.parent != folder:
            yield file, file.read_bytes()
            if zipfile.is_zipfile(file):
                with zipfile.ZipFile(io.BytesIO(file.read_bytes())) as archive:
                    yield from ((f"{file}!{name}", archive.read(name)) for name in archive.namelist())
    yield "mlflow.db", (folder / "mlflow.db").read_bytes()


def leaks(folder) -> list[str]:
    texts = [*CITY[:10], *(str(day) for day in BORN), *(repr(value) for value in INCOME)]
    marks = {text: text.encode() for text in texts} | {str(value): struct.pack("<d", value) for value in INCOME}
    return [f"{what} in {where}" for where, data in contents(folder) for what, mark in marks.items() if mark in data]


def test_no_byte_of_a_model_and_its_runs_is_a_sensitive_value(do, outputs, tmp_path):
    table = tmp_path / "people.csv"
    TABLE.write_csv(table)
    stated = re.sub(r'"(\w+)": ', r"\1: ", json.dumps(EXPECTATIONS)).replace('"', "'")
    words = [
        *("data=penguins", f"source.source={table}", "columns.target=label", "columns.drop=[]", "gate.min_scores={}"),
        *(f"columns.sensitive=[{','.join(SENSITIVE)}]", "evaluation.slices=[]", "source.try_parse_dates=true"),
        *("model=boosting", "model.max_iter=5", "evaluation.resamples=20", "evaluation.importance_repeats=1"),
    ]
    code, printed = do(*words, f"expectations={stated}")
    assert code == 0 and "what 2 of the expectations say of values of city, income is left out" in printed, printed
    assert "penguins version 1 is champion" in printed, printed
    code, printed = do("monitor", f"input={table}", *words, f"expectations={stated}")
    assert code in (0, 3), printed
    assert leaks(outputs) == []
    code, printed = do("validate", *words, f"expectations={stated.replace('abton', 'x').replace('Quagmireaton', 'x')}")
    assert code == 1 and "city: expect_column_values_to_be_in_set {'value_set': 'withheld: " in printed, printed
    assert not any(city in printed for city in CITY) and leaks(outputs) == []


def arrays(value, seen):
    """All numbers that a fitted object holds."""
    if id(value) in seen or isinstance(value, str | bytes | type) or value is None:
        return
    seen[id(value)] = value  # which keeps it, and so its id
    if isinstance(value, np.ndarray) and value.dtype.names:
        yield from (number for name in value.dtype.names for number in value[name].ravel().tolist())
    elif isinstance(value, np.ndarray) and value.dtype != object:
        yield from value.ravel().tolist()
    elif isinstance(value, int | float | np.number):
        yield value
    elif isinstance(value, dict | list | tuple | set | np.ndarray):
        for each in value.values() if isinstance(value, dict) else value:
            yield from arrays(each, seen)
    else:
        state = value.__getstate__() if hasattr(value, "__getstate__") else vars(value)
        yield from arrays(state, seen)


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(),
        HistGradientBoostingClassifier(max_iter=3, early_stopping=False),
        RandomForestClassifier(3),
        KNeighborsClassifier(),
        LocalOutlierFactor(novelty=True),
        VotingClassifier(
            [("a", LogisticRegression()), ("b", HistGradientBoostingClassifier(max_iter=3))], voting="soft"
        ),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_nothing_that_is_fitted_is_the_value_of_a_person(estimator):
    rows = TABLE.select(pl.col("income"), pl.col("born").cast(pl.Datetime("us")), pl.col("size")).to_pandas()
    how = {"max_categories": 9, "min_frequency": 0.1, "text_components": 2, "seed": 0}
    kinds = {"income": "number", "born": "date", "size": "number"}
    kind = "anomaly" if isinstance(estimator, LocalOutlierFactor) else "classification"
    labels = TABLE["label"].to_numpy()
    model = encoders.pipeline(clone(estimator), kinds=kinds, sensitive=["income", "born"], **how)
    held = set(arrays(estimators.fit(model, rows, labels, kind=kind), {}))
    assert not held & set(INCOME)
    days = {float((day - datetime.date(1970, 1, 1)).days) for day in BORN}
    assert not {value for value in held if abs(value) > 400} & days  # smaller ones are counts
    open_ = encoders.pipeline(clone(estimator), kinds=kinds, **how)
    if kind == "classification":  # what is learned is nearly the same
        again = estimators.fit(open_, rows, labels, kind=kind)
        assert abs(model.score(rows, labels) - again.score(rows, labels)) < 0.1
        medians = isinstance(estimator, LogisticRegression | KNeighborsClassifier)
        assert not medians or set(arrays(again, {})) & set(INCOME)


def test_what_expectations_say_of_sensitive_columns_is_withheld():
    conditional = {"type": "x", "kwargs": {"column": "size", "row_condition": "income > 7", "min_value": 1}}
    raw = {"seed": 1, "expectations": [*EXPECTATIONS, conditional]}
    shown = privacy.withheld(raw, SENSITIVE)
    assert privacy.withheld(raw, []) == raw
    assert [each["kwargs"] for each in shown["expectations"]] == [
        {"column": "income", "min_value": privacy.WITHHELD},
        {"column": "city", "value_set": privacy.WITHHELD},
        EXPECTATIONS[2]["kwargs"],
        EXPECTATIONS[3]["kwargs"],
        {"column": "size", "row_condition": privacy.WITHHELD, "min_value": privacy.WITHHELD},
    ]
    assert privacy.stands_in("a: [Quagmireaton, b]", EXPECTATIONS, SENSITIVE)
    assert not privacy.stands_in("a: [Quagmireatons, b]\n16", EXPECTATIONS, SENSITIVE)
    words = ["seed=1", "++expectations=[{a: b}]", "columns.drop=[expectations]"]
    assert privacy.words_withheld(words, ["a"])[1] == f"expectations={privacy.WITHHELD}"
    assert privacy.words_withheld(words, ["a"])[::2] == words[::2] and privacy.words_withheld(words, []) == words


def test_the_page_has_the_rest_and_says_what_is_left_out():
    frame = TABLE.to_pandas()
    whole = expectations.validate(frame, expectations.suite(EXPECTATIONS))
    result = expectations.masked(whole, SENSITIVE)
    page = expectations.page(result)
    assert "Values left out" in page and "city: expect_column_values_to_be_in_set" in page and "size" in page
    assert "Quagmire" not in page and "Values left out" not in expectations.page(whole)
    assert "Quagmire" not in expectations.as_json(result)
    assert expectations.left_out(expectations.masked(whole, [])) == []

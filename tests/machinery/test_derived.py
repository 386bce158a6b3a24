"""Derived columns: what is refused before a stage runs, what is learned, and that a row alone gets what it got."""

import ast
import importlib
import json
import random
import sys
import types
from collections.abc import Callable
from dataclasses import asdict
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from penguin_classifier import features
from penguin_classifier.machinery.data import derivation
from penguin_classifier.machinery.model import derived
from penguin_classifier.machinery.model.derived import Column, DeriveError
from polars.testing import assert_frame_equal

PACKAGE = "penguin_classifier"
ROWS = pl.DataFrame(
    {
        "island": pl.Series(["Biscoe", "Dream", None, "Biscoe", "Dream", "Torgersen"], dtype=pl.Categorical),
        "mass": [5000, 3700, 3500, None, 3800, 3200],
        "length": [50.0, 39.0, float("nan"), 48.0, float("inf"), 37.5],
        "Bill Depth (mm)": [15, 18, 19, 0, 17, 18],
        "ringed": [True, False, None, True, True, False],
        "born": pl.Series(
            [date(2001, 3, 4), date(2003, 1, 1), date(2000, 2, 29), None, date(2002, 6, 1), date(2005, 7, 9)]
        ),
        "seen": [datetime(2007, 11, 11, 12)] * 5 + [None],
        "sex": ["female", "male", "male", "female", None, "male"],
    }
)


def resolve(dotted: str) -> Callable[..., Any]:
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module, PACKAGE), name)


@pytest.fixture
def own(monkeypatch):
    """A module of one's own, `own`, and what puts functions into it."""
    module = types.ModuleType(f"{PACKAGE}.own")
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def put(function):
        setattr(module, function.__name__, function)
        return f"{module.__name__}.{function.__name__}"

    return put


def plain(rows: pl.DataFrame = ROWS) -> pl.DataFrame:
    return rows.select(derived.plain(column) for column in rows)


def parse(**derive: Any) -> list[Column]:
    return derivation.parse(derive, package=PACKAGE, resolve=resolve)


def inputs(*, target: str | None = "sex", sensitive: Any = (), **derive: Any) -> dict[str, list[str]]:
    table = [*ROWS.columns, "split"]
    return derivation.inputs(parse(**derive), table=table, target=target, sensitive=sensitive, resolve=resolve)


def learn(rows: pl.DataFrame = ROWS, **derive: Any) -> list[Column]:
    return derivation.learn(parse(**derive), plain(rows), resolve=resolve)


def values(rows: pl.DataFrame = ROWS, **derive: Any) -> list:
    fitted = learn(rows, **derive)
    return derived.apply(fitted, plain(rows), resolve=resolve)[fitted[-1].name].to_list()


def refused(what: Callable[..., Any], *arguments: Any, **derive: Any) -> str:
    with pytest.raises(DeriveError) as caught:
        what(*arguments, **derive)
    sentence = str(caught.value)
    assert sentence.startswith("features.derive.") and "\n" not in sentence
    return sentence.removeprefix("features.derive.")


def function(name: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": f"{PACKAGE}.features.{name}", **arguments}


MANY = {
    "ratio": 'length / "Bill Depth (mm)"',
    "age": function("age_at", born="born", at="seen"),
    "island_mass": function("group_mean", of="mass", by="island"),
    "relative_mass": "mass / island_mass",
    "days": "seen - born",
    "heavy": "relative_mass > 1",
    "name": "LOWER(island)",
    "next_day": "seen + INTERVAL '1 day'",
}


# SQL
@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        ("mass / 2", [2500.0, 1850.0, 1750.0, None, 1900.0, 1600.0]),
        ('mass / "Bill Depth (mm)" * 0', [0.0, 0.0, 0.0, None, 0.0, 0.0]),
        ("COALESCE(mass, 0)", [5000.0, 3700.0, 3500.0, 0.0, 3800.0, 3200.0]),
        ("CASE WHEN island = 'Biscoe' THEN 1 ELSE 0 END", [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]),
        ("CASE WHEN island IN ('Biscoe') THEN 'big' END", ["big", None, None, "big", None, None]),
        ("NULLIF(mass, 3700)", [5000.0, None, 3500.0, None, 3800.0, 3200.0]),
        ("LN(mass / mass)", [0.0, 0.0, 0.0, None, 0.0, 0.0]),
        ("LOWER(island)", ["biscoe", "dream", None, "biscoe", "dream", "torgersen"]),
        ("mass >= 3700", [True, True, False, None, True, False]),
        ("NOT ringed", [False, True, None, False, False, True]),
        ("ringed AND mass > 4000", [True, False, False, None, False, False]),
        ("length", [50.0, 39.0, None, 48.0, None, 37.5]),
        ("length > 40", [True, False, None, True, None, False]),  # not "NaN is greater than all"
        ("EXTRACT(year FROM born)", [2001.0, 2003.0, 2000.0, None, 2002.0, 2005.0]),
        ("ROUND(length, 0)", [50.0, 39.0, None, 48.0, None, 38.0]),
        ("mass BETWEEN 3600 AND 3800", [False, True, False, None, True, False]),
        ("seen > DATE '2007-01-01'", [True] * 5 + [None]),
        ("CAST(seen AS DATE)", [datetime(2007, 11, 11)] * 5 + [None]),
        ("seen - seen", [0.0] * 5 + [None]),
    ],
)
def test_sql(sql, wanted):
    assert values(x=sql) == wanted


def test_division_by_zero_and_the_like_are_missing():
    assert values(x='mass / ("Bill Depth (mm)" - "Bill Depth (mm)")') == [None] * 6  # infinite
    assert values(x="LN(mass - 5000)")[0] is None  # minus infinity
    assert values(x="LN(mass - 5000)")[1] is None  # not a number


def test_whole_numbers_count_as_fractions_do():
    small = pl.DataFrame({"a": [1, 7, 3], "b": [2, 2, 2]}, schema=dict.fromkeys("ab", pl.UInt8))
    assert small.select(pl.sql_expr("a * 40")).to_series().to_list() == [40, 24, 120]  # before columns are plain
    for rows in (small, small.cast(pl.Int64), small.cast(pl.Float64), small.cast({"b": pl.Decimal(9, 2)})):
        assert values(rows, x="a / b") == [0.5, 3.5, 1.5]
        assert values(rows, x="a * 40 - b * 50") == [-60.0, 180.0, 20.0]
        assert values(rows, x="CAST(a AS VARCHAR)") == ["1.0", "7.0", "3.0"]


def test_a_duration_is_days():
    assert values(x="seen - born")[0] == (datetime(2007, 11, 11, 12) - datetime(2001, 3, 4)) / timedelta(days=1)
    for unit in ("ms", "us", "ns"):
        rows = pl.DataFrame({"d": pl.Series([timedelta(hours=36), None], dtype=pl.Duration(unit))})
        assert plain(rows)["d"].to_list() == [1.5, None]


def test_plain_columns():
    moment = (
        pl.Series("zoned", [datetime(2026, 11, 25, 1)]).dt.replace_time_zone("Europe/Berlin").dt.cast_time_unit("ns")
    )
    rows = pl.DataFrame({"zoned": moment, "f": pl.Series([1.5], dtype=pl.Float32), "nothing": [None], "list": [[1]]})
    made = plain(rows)
    assert made["zoned"].to_list() == [datetime(2026, 11, 25, 0)]
    assert made.dtypes == [pl.Datetime("us"), pl.Float64, pl.Null, pl.List(pl.Int64)]


@pytest.mark.parametrize(
    "sql", ["mass /", "mass, length", "mass FROM t", "mass; SELECT 1", "", "*", "FOO(mass)", "(mass"]
)
def test_what_does_not_parse_is_refused(sql):
    assert refused(parse, x=sql).startswith(f"x: {sql} is no SQL expression that polars knows: ")


@pytest.mark.parametrize(
    "sql",
    [
        "AVG(mass)",
        "SUM(mass)",
        "COUNT(*)",
        "COUNT(DISTINCT island)",
        "mass - AVG(mass)",
        "mass / SUM(mass)",
        "(mass - MIN(mass)) / (MAX(mass) - MIN(mass))",
        "COALESCE(mass, MEDIAN(mass))",
        "CASE WHEN island = 'Biscoe' THEN AVG(mass) ELSE mass END",
        "ROUND(AVG(mass), 1)",
        "AVG(mass) IN (1, 2)",
        "mass - LAG(mass) OVER (ORDER BY seen)",
        "ROW_NUMBER() OVER (ORDER BY mass)",
        "RANK() OVER (ORDER BY mass)",
        "AVG(mass) OVER (PARTITION BY island)",
        "FIRST(mass)",
        "FIRST_VALUE(mass) OVER (ORDER BY seen)",
        "STDDEV(mass)",
        "QUANTILE_CONT(mass, 0.5)",
        "ARRAY_AGG(mass)",
        "STRING_AGG(island, ',')",
        "CORR(mass, length)",
    ],
)
def test_what_computes_across_rows_is_refused(sql):
    sentence = refused(parse, x=sql)
    assert sentence.startswith(f"x: {sql} computes across rows") and "features.py" in sentence


@pytest.mark.parametrize("sql", ["CURRENT_DATE - born", "now() - born", "EXTRACT(year FROM CURRENT_TIMESTAMP)"])
def test_what_reads_the_clock_is_refused(sql):
    sentence = refused(parse, x=sql)
    assert "reads the clock" in sentence or "is no SQL expression" in sentence  # of a polars that does not have it


def test_a_word_for_the_clock_may_be_a_name_or_a_text():
    assert parse(x='"current_date" - born + now', y="CASE WHEN island = 'it''s now()' THEN 1 END")


@pytest.mark.parametrize("how", [3, True, ["a"], {"of": "mass"}, {"_target_": 3}])
def test_what_is_neither_sql_nor_a_function_is_refused(how):
    assert "is an SQL expression, or names a function" in refused(parse, x=how)


def test_split_is_no_name_and_null_takes_a_column_out():
    assert "split" in refused(parse, split="mass / 2")
    assert [column.name for column in parse(a="mass / 2", b=None, c="a / 2")] == ["a", "c"]


# Names
def test_inputs_are_raw_columns():
    assert inputs(**MANY) == {
        "ratio": ["length", "Bill Depth (mm)"],
        "age": ["born", "seen"],
        "island_mass": ["mass", "island"],
        "relative_mass": ["mass", "island"],
        "days": ["seen", "born"],
        "heavy": ["mass", "island"],
        "name": ["island"],
        "next_day": ["seen"],
    }


def test_a_column_that_is_missing_is_refused_with_what_was_meant():
    assert refused(inputs, x="lenght / 2") == "x: it reads lenght, which the table does not have; did you mean length?"
    assert refused(inputs, x="zzzzzz / 2") == "x: it reads zzzzzz, which the table does not have"
    assert refused(inputs, x="split + 1") == "x: it reads split, which the table does not have"


def test_a_missing_column_of_a_function_is_refused_before_there_are_rows():
    for name, arguments in {
        "age_at": {"born": "bron", "at": "seen"},
        "days_between": {"start": "seen", "end": "bron"},
        "group_mean": {"of": "mass", "by": "bron"},
    }.items():
        sentence = refused(inputs, x=function(name, **arguments))
        assert sentence == "x: it reads bron, which the table does not have; did you mean born?"


def test_a_name_that_is_taken_is_refused():
    assert "has a column of this name" in refused(inputs, mass="length / 2")
    assert "has a column of this name" in refused(inputs, sex="length / 2")


def test_reading_the_target_is_refused_through_others_too():
    assert "reads the target sex" in refused(inputs, x="LOWER(sex)")
    assert "reads the target mass" in refused(inputs, target="mass", x=MANY["island_mass"])
    derive = {"a": "mass / 2", "b": "length / a"}
    assert refused(inputs, target="mass", **derive).startswith("a: it reads the target mass")
    assert inputs(target=None, **derive) == {"a": ["mass"], "b": ["length", "mass"]}


def test_a_column_that_is_derived_later_is_refused():
    assert (
        refused(inputs, b="a / 2", a="mass / 2") == "b: it reads a, which is derived after it; a has to stand above it"
    )
    assert "derived after it" in refused(inputs, a="a / 2")


def test_a_column_that_reads_nothing_is_refused():
    assert "double quotes" in refused(inputs, x="'Bill Depth (mm)'")
    assert "it reads no column" in refused(inputs, x="1 + 1")
    assert "it reads no column" in refused(inputs, x=function("weekday", of=3))


def test_learning_from_sensitive_columns_is_refused():
    assert inputs(sensitive=["island"], x="LOWER(island)") == {"x": ["island"]}
    assert "columns.sensitive" in refused(inputs, sensitive=["island"], x=MANY["island_mass"])


# Functions
def test_functions_are_held_to_their_arguments():
    assert "missing a required argument: 'at'" in refused(parse, x=function("age_at", born="born"))
    sentence = refused(parse, x=function("age_at", born="born", att="seen"))
    assert "'att'" in sentence or "'at'" in sentence
    assert sentence.endswith("; it takes born, at")
    assert "cannot be imported" in refused(parse, x=function("age", born="born"))
    assert "cannot be imported" in refused(parse, x={"_target_": "nowhere.age"})
    assert "'learned'" in refused(parse, x=function("group_mean", of="mass", by="island", learned={}))


def test_a_function_of_the_package_is_kept_by_its_relative_name(own):
    assert parse(x=MANY["age"])[0].function == ".features.age_at"
    assert parse(x={"_target_": "builtins.len"})[0].function == "builtins.len"


def test_a_learned_feature_without_its_learner_is_refused(own):
    def lonely(rows: pl.DataFrame, *, of: str, learned: dict) -> pl.Expr:
        return pl.col(of)

    assert "learn_lonely" in refused(parse, x={"_target_": own(lonely), "of": "mass"})


def test_a_function_sees_only_the_columns_that_its_arguments_name(own):
    seen = []

    def nosy(rows: pl.DataFrame, *, of: str, more: list[Any], unit: str = "") -> pl.Expr:
        seen.append(rows.columns)
        return pl.col(of) / 2

    learn(x={"_target_": own(nosy), "of": "mass", "more": [{"length": 2}, ["seen", "nothing"], 3], "unit": "days"})
    assert {tuple(columns) for columns in seen} == {("mass", "length", "seen")}

    def greedy(rows: pl.DataFrame, *, of: str) -> pl.Expr:
        return pl.col(of) / pl.col("length")

    how = {"_target_": own(greedy), "of": "mass"}
    assert "is given only the columns that its arguments name; name length there" in refused(inputs, x=how)
    assert "ColumnNotFoundError" in refused(learn, x=how)


def test_what_fails_in_a_function_is_one_sentence(own):
    def broken(rows: pl.DataFrame, *, of: str) -> pl.Series:
        raise KeyError("first line\nsecond line")

    how = {"_target_": own(broken), "of": "mass"}
    with pytest.raises(DeriveError) as caught:
        learn(x=how)
    assert str(caught.value).startswith("features.derive.x: broken failed: KeyError: ")
    assert isinstance(caught.value.__cause__, KeyError)
    assert inputs(x=how) == {"x": ["mass"]}  # without rows a failure means nothing


@pytest.mark.parametrize(
    ("gives", "sentence"),
    [
        (lambda rows: pl.Series([1.0]), "gives 1 values for 6 rows"),
        (lambda rows: [1.0] * len(rows), "gives a list; it has to give a pl.Series or a pl.Expr"),
        (lambda rows: pl.concat_list("mass"), "gives List(Float64)"),
        (lambda rows: pl.struct("mass"), "gives Struct"),
        (lambda rows: pl.Series([{1}] * len(rows), dtype=pl.Object), "gives Object"),
        (lambda rows: pl.col("mass").filter(pl.col("mass") > 4000).append(1.0), "failed: ShapeError"),
        (lambda rows: pl.Series([None] * len(rows)), "has no value in any of the 6 training rows"),
    ],
)
def test_what_is_no_column_is_refused(own, gives, sentence):
    def odd(rows: pl.DataFrame, *, of: str) -> Any:
        return gives(rows)

    assert sentence in refused(learn, x={"_target_": own(odd), "of": "mass"})


@pytest.mark.parametrize(
    "look",
    [
        lambda rows: pl.col("mass").fill_null(pl.col("mass").mean()),  # differs in one row
        lambda rows: pl.col("mass").fill_null(strategy="forward"),
        lambda rows: pl.col("mass").mean(),
        lambda rows: pl.col("mass") / pl.col("mass").max(),
        lambda rows: pl.col("mass").rank(),
        lambda rows: pl.col("mass").shift(),
        lambda rows: pl.col("mass").cum_sum(),
        lambda rows: pl.col("mass").mean().over("island"),
        lambda rows: pl.len().over("island"),
        lambda rows: pl.col("mass").rank("dense") / pl.col("mass").count(),
        lambda rows: rows["mass"] - rows["mass"].min(),
        lambda rows: pl.Series(range(len(rows))),
        lambda rows: pl.Series(random.random() for _ in range(len(rows))),
    ],
)
def test_a_function_that_looks_at_other_rows_is_refused(own, look):
    def across(rows: pl.DataFrame, *, of: str, by: str) -> Any:
        return look(rows)

    sentence = refused(learn, x={"_target_": own(across), "of": "mass", "by": "island"})
    assert "a served row would get another value" in sentence or "for a few rows alone" in sentence


def test_outliers_cut_by_a_quantile_of_the_table_are_refused(own):
    def winsorized(rows: pl.DataFrame, *, of: str) -> pl.Expr:
        return pl.col(of).clip(pl.col(of).quantile(0.01), pl.col(of).quantile(0.99))

    rows = pl.DataFrame({"a": [float(i * i % 7919) for i in range(5000)]})
    assert "a served row would get" in refused(learn, rows, x={"_target_": own(winsorized), "of": "a"})


# Learned, kept, served
def test_a_model_keeps_what_it_learned_as_json():
    fitted = learn(**MANY)
    kept = json.loads(json.dumps([asdict(column) for column in fitted]))
    assert [Column(**each) for each in kept] == fitted
    assert kept[2]["learned"]["means"].keys() == {"Biscoe", "Dream", "Torgersen"}
    assert [each["kind"] for each in kept] == ["number"] * 5 + ["boolean", "text", "date"]


def test_rows_alone_get_what_they_got_in_the_table():
    rows = pl.concat([ROWS] * 50)
    fitted = learn(rows, **MANY)
    whole = derived.apply(fitted, plain(rows), resolve=resolve)
    assert whole.columns == [*ROWS.columns, *MANY]
    for at in range(len(ROWS)):  # of a row with a null, too
        assert_frame_equal(derived.apply(fitted, plain(rows)[[at]], resolve=resolve), whole[[at]], check_exact=True)
    assert_frame_equal(derived.apply(fitted, plain(rows).head(0), resolve=resolve), whole.head(0))


def test_learning_takes_the_training_rows_alone():
    fitted = learn(ROWS.head(2), **MANY)
    served = derived.apply(fitted, plain(), resolve=resolve)
    assert fitted[2].learned["overall"] == 4350.0
    assert served["island_mass"][5] == 4350.0  # an island that is not among the training rows
    assert served["relative_mass"][5] == 3200 / 4350


def test_what_is_learned_does_not_depend_on_how_the_table_was_read():
    masses = [random.Random(at).gauss() * 10 ** (at % 9) for at in range(9_000)]
    rows = pl.DataFrame({"mass": masses, "island": ["Biscoe", "Dream", "Dream"] * 3_000})
    pieces = pl.concat([rows[:3001], rows[3001:]], rechunk=False)
    assert rows["mass"].mean() != pieces["mass"].mean()
    assert learn(rows, x=MANY["island_mass"]) == learn(pieces, x=MANY["island_mass"])


def test_a_column_is_of_the_kind_that_it_was_in_training(own):
    def listed(rows: pl.DataFrame, *, of: str) -> pl.Series:
        return pl.Series([None if value is None else value * 2 for value in rows[of]])

    fitted = learn(x={"_target_": own(listed), "of": "mass"})
    made = derived.apply(fitted, plain()[[3]], resolve=resolve)["x"]  # of [None] polars makes the type Null
    assert (made.dtype, made.to_list()) == (pl.Float64, [None])
    texts = plain().with_columns(mass=pl.lit("many"))
    assert "gives String; it has to give a number" in refused(derived.apply, fitted, texts, resolve=resolve)


@pytest.mark.parametrize("gives", [{1: 2.0}, (1, 2), None, float("nan"), pl.Series([1])])
def test_what_json_would_change_is_refused(own, gives):
    def same(rows: pl.DataFrame, *, of: str, learned: Any) -> pl.Expr:
        return pl.col(of)

    def learn_same(rows: pl.DataFrame, *, of: str) -> Any:
        return gives

    own(learn_same)
    assert "learn_same" in refused(learn, x={"_target_": own(same), "of": "mass"})


def test_how_functions_are_resolved_is_handed_in():
    """A served model has its features.py under another name."""
    fitted, names = learn(**MANY), []

    def elsewhere(dotted: str) -> Callable[..., Any]:
        names.append(dotted)
        return resolve(dotted)

    derived.apply(fitted, plain(), resolve=elsewhere)
    assert names == [".features.age_at", ".features.group_mean"]  # nothing is learned while serving


@pytest.mark.parametrize("module", [derived, features])
def test_what_travels_imports_polars_and_the_standard_library_alone(module):
    imported = set()
    for node in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add("the package" if node.level else str(node.module).partition(".")[0])
    assert imported <= {"polars", *sys.stdlib_module_names}


def test_a_name_that_sql_would_split_is_suggested_in_quotes():
    columns = derivation.parse({"ratio": "age / ph_karno"}, package=PACKAGE, resolve=derivation.resolver(PACKAGE))
    with pytest.raises(DeriveError, match=r'did you mean "ph\.karno"'):
        derivation.inputs(columns, table=["age", "ph.karno"], target=None, resolve=derivation.resolver(PACKAGE))

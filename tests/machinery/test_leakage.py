import numpy as np
import polars as pl
import pytest
from penguin_classifier.machinery.data import frames, leakage

ROWS = 400
DRAWN = np.random.default_rng(1)
TABLE = pl.DataFrame(
    {
        "id": range(ROWS),
        "age": DRAWN.integers(18, 90, ROWS),
        "amount": DRAWN.lognormal(4, 1, ROWS),
        "plan": DRAWN.choice(["basic", "pro", None], ROWS),
    }
).with_columns(price=pl.col("amount") * 3 + pl.col("age"), left=pl.Series(DRAWN.random(ROWS) < 0.1))


def told(name, column, *, kind):
    table = TABLE.with_columns(column.alias("asked"))
    return leakage.tell_all(table, target=name, kind=kind, names=["asked", "age", "plan"])


@pytest.mark.parametrize(
    "column",
    [
        pl.col("left").cast(pl.Int8),
        pl.when("left").then(pl.lit("moved away")),  # written down only afterwards
        pl.when("left").then(pl.col("age") + 100).otherwise(pl.col("age")),
    ],
)
def test_a_column_that_gives_a_class_away_is_found(column):
    found = told("left", column, kind="binary")
    assert next(iter(found)) == "asked" and found["asked"] > 0.99 and found["age"] < 0.5


@pytest.mark.parametrize(
    "column",
    [
        pl.col("price").log(),
        -3 * pl.col("price") + 7,
        pl.col("price").cut([100, 200, 400]).cast(pl.String),  # a function of the target
    ],
)
def test_a_column_that_gives_a_number_away_is_found(column):
    found = told("price", column, kind="regression")
    assert found["asked"] > 0.99 and found["age"] < 0.9


def test_a_column_that_helps_is_no_leak():
    noisy = pl.when(pl.Series(DRAWN.random(ROWS) < 0.05)).then(~pl.col("left")).otherwise(pl.col("left"))
    assert told("left", noisy, kind="binary")["asked"] < 0.9
    assert told("price", pl.col("amount").log().round(), kind="regression")["asked"] < 0.95
    assert leakage.tell_all(TABLE.head(20), target="left", kind="binary", names=["age"]) == {}  # too few to tell


def split(table):
    return table.with_columns(
        split=pl.when(pl.col("id") % 5 == 0).then(pl.lit("test")).otherwise(pl.lit("train"))
    ).lazy()


def test_repeated_rows_are_found_and_rows_that_meet_by_chance_are_not():
    names = ["age", "amount", "plan"]
    again = pl.concat([TABLE, TABLE.with_columns(id=pl.col("id") + 1 + ROWS)])
    assert leakage.twins(split(again), names=names, rows=160) == pytest.approx(1, abs=0.01)
    assert leakage.twins(split(TABLE), names=names, rows=80) == 0
    few = pl.concat([TABLE.with_columns(amount=1.0, age=pl.col("age") % 3)] * 2).with_row_index("id2")
    assert leakage.twins(split(few), names=names, rows=160) == 0


def test_groups_and_times_on_both_sides_are_counted():
    table = TABLE.with_columns(patient=pl.col("id") // 4)
    assert leakage.straddling(split(table), group=["patient"])[0] > 50
    assert leakage.straddling(split(table), group=["id"]) == (0, ROWS)
    assert leakage.late(split(table), time="id") == 320
    later = table.with_columns(
        split=pl.when(pl.col("id") >= 300).then(pl.lit("test")).otherwise(pl.lit("train"))
    ).lazy()
    assert leakage.late(later, time="id") == 0


@pytest.mark.parametrize(("rows", "most"), [(7, 10), (10, 10), (11, 10), (799_932, 200_000), (1_000_003, 4_000)])
def test_a_sample_is_as_large_as_it_may_be_and_evenly_spread(rows, most):
    at = frames.sample(pl.LazyFrame({"at": pl.int_range(rows, eager=True)}), rows=rows, most=most)["at"].to_numpy()
    assert len(at) == min(rows, most) and at[0] == 0
    steps = np.diff(at)
    assert steps.max() <= -(-rows // min(rows, most)) and steps.min() >= rows // min(rows, most)

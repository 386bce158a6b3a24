"""What each function of features.py gives for a few rows."""

from datetime import datetime

import polars as pl
from polars.testing import assert_series_equal

from << cookiecutter.package_name >> import features


def values(rows: pl.DataFrame, made: pl.Series | pl.Expr) -> list:
    return rows.select(made).to_series().to_list()


def test_days_between_counts_days_and_their_fraction():
    rows = pl.DataFrame({"ordered": [datetime(2026, 11, 2), None], "sent": [datetime(2026, 11, 3, 12), datetime.max]})
    assert values(rows, features.days_between(rows, start="ordered", end="sent")) == [1.5, None]
    assert values(rows, features.days_between(rows, start="sent", end="ordered")) == [-1.5, None]


def test_weekday_is_1_on_mondays_and_7_on_sundays():
    rows = pl.DataFrame({"sold": [datetime(2026, 11, 2), datetime(2026, 11, 8), None]})
    assert values(rows, features.weekday(rows, of="sold")) == [1, 7, None]


def test_age_at_grows_on_the_birthday():
    rows = pl.DataFrame(
        {
            "born": [datetime(2000, 2, 29), datetime(2000, 2, 29), datetime(1990, 12, 31), None],
            "seen": [datetime(2023, 2, 28), datetime(2023, 3, 1), datetime(1991, 1, 1), datetime(2020, 1, 1)],
        }
    )
    assert values(rows, features.age_at(rows, born="born", at="seen")) == [22, 23, 0, None]


def test_group_mean_learns_the_mean_of_each_group():
    rows = pl.DataFrame({"island": ["Biscoe", "Biscoe", "Dream"], "mass": [5.0, 4.0, 3.0]})
    learned = features.learn_group_mean(rows, of="mass", by="island", weight=0)
    assert learned == {"overall": 4.0, "means": {"Biscoe": 4.5, "Dream": 3.0}}
    served = pl.DataFrame({"island": ["Dream", "Torgersen", None], "mass": [None, 9.0, 1.0]})
    given = features.group_mean(served, of="mass", by="island", learned=learned)
    assert given.to_list() == [3.0, 4.0, 4.0]  # of an island that was not there, and of none: the mean of all


def test_group_mean_moves_a_small_group_towards_the_mean_of_all():
    rows = pl.DataFrame({"island": ["Biscoe"] * 3 + ["Dream"] + [None], "mass": [5.0, 5.0, None, 2.0, 4.0]})
    learned = features.learn_group_mean(rows, of="mass", by="island", weight=2)
    assert learned == {"overall": 4.0, "means": {"Biscoe": (10 + 8) / 4, "Dream": (2 + 8) / 3}}


def test_group_mean_takes_any_column_as_groups():
    rows = pl.DataFrame({"year": [2007.0, 2008.0], "mass": [1.0, 3.0]})
    learned = features.learn_group_mean(rows, of="mass", by="year", weight=0)
    given = features.group_mean(rows, of="mass", by="year", learned=learned)
    assert_series_equal(given, rows["mass"], check_names=False)


def test_group_mean_of_nothing_but_missing_values_is_missing():
    rows = pl.DataFrame({"island": ["Biscoe"], "mass": [None]}, schema={"island": pl.String, "mass": pl.Float64})
    learned = features.learn_group_mean(rows, of="mass", by="island")
    assert learned == {"overall": None, "means": {}}
    assert features.group_mean(rows, of="mass", by="island", learned=learned).to_list() == [None]

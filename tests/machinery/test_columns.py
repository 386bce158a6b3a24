"""What `profile` takes columns for: by their names, their texts, their types, and how rows repeat."""

import datetime
import random

import polars as pl
import pytest
import yaml
from penguin_classifier.machinery.config.schema import Leakage, Type
from penguin_classifier.machinery.data import parsing
from penguin_classifier.machinery.errors import ProjectError
from penguin_classifier.machinery.jobs.profile import (
    column_names,
    column_types,
    dataset_file,
    job,
    model_choice,
    profiles,
)

ROWS = 160
DRAW = random.Random(1)
DAYS = [datetime.date(2023, 1, 1) + datetime.timedelta(days=7 * at) for at in range(ROWS)]
PLAIN = {
    "size": [round(DRAW.gauss(0, 9), 2) for _ in range(ROWS)],
    "y": [DRAW.choice(["no", "yes"]) for _ in range(ROWS)],
}


def decided(columns, *, target="y", odd=None):
    """What profile makes of a table of these columns: what it is, and its columns by name."""
    rows = pl.DataFrame({**columns, **{name: values for name, values in PLAIN.items() if name not in columns}})
    opened = (rows.lazy(), rows, len(rows))
    table = job._typed({"_target_": "polars.scan_parquet"}, opened, "table.parquet", target=target, odd=odd)
    made, kind = job._decided(table, target, Leakage(threshold=0.99, allow=[]))
    return table, kind, {each.name: each for each in made}


def texts(values):
    return [str(each) for each in values]


@pytest.mark.parametrize(
    "name",
    [
        *("customer_id", "Customer ID", "Customer No.", "customer-id", "KundenNr", "Kunden-Nr.", "customerId"),
        *("CUSTOMERID", "Patient #", "id_client", "Member Number", "MitgliedsID", "anon_user_id"),
    ],
)
@pytest.mark.parametrize("times", [1.4, 4])
def test_a_person_who_comes_again_is_a_group_whatever_the_column_is_called(name, times):
    ids = [DRAW.randrange(10**6) for _ in range(int(ROWS / times))]
    _, _, columns = decided({name: [ids[at % len(ids)] for at in range(ROWS)]})
    again = 1 - len(ids) / ROWS
    assert columns[name].role == "group" and columns[name].reason.endswith(f"comes again in {again:.0%} of rows")


@pytest.mark.parametrize("name", ["customer_age", "Account Type", "number of customers", "paid", "user agent"])
def test_a_measure_of_a_person_is_no_group(name):
    assert not column_names.GROUPS.search(column_names.words(name)) and not column_names.is_id(name)


@pytest.mark.parametrize("name", ["E-Mail", "firstName", "Geburtsdatum", "customer name", "Telefon-Nr.", "dateOfBirth"])
def test_a_person_is_known_by_any_spelling(name):
    assert column_names.PERSONAL_NAMES.search(column_names.words(name))


@pytest.mark.parametrize("order", [["Row", "contract id"], ["contract id", "Row"]])
@pytest.mark.parametrize("copied", [True, False])  # with their row number, or before rows were numbered
def test_an_id_beats_a_row_number_and_repeated_rows_are_counted(order, copied):
    ids = [DRAW.randrange(10**9) for _ in range(ROWS)]
    twice = [*range(ROWS), 5, 6]
    table = {"contract id": [ids[at] for at in twice], "Row": twice if copied else list(range(ROWS + 2))}
    columns = {name: table[name] for name in order} | {name: [PLAIN[name][at] for at in twice] for name in PLAIN}
    table, _, columns = decided(columns)
    assert (columns["contract id"].role, columns["Row"].role) == ("key", "drop")
    assert job._notes([*columns.values()], table, None)[0].startswith("2 of 162 rows repeat another one")


@pytest.mark.parametrize(
    ("kind", "values", "wanted"),
    [
        (Type("number"), ["−5.2", "5.00-", "1,00,000", "US$ 5", "₹ 12,34,567.5", "(5)", "5 Kč", "5.-"], None),
        (Type("number", decimal=","), ["5,-", "1.000,50", "–5,2", "5,00-", "5 zł", "12,5 €"], None),
        (Type("number", unit="kg"), ["5 kg", "5kg", "5"], [5, 5, 5]),
        (Type("date", "%Y-%m-%d|%d/%m/%Y"), ["2024-01-02", "13/02/2024"], [datetime.date(2024, 1, 2)]),
        (Type("boolean"), ["Ja", "nein", "OUI", "non", "sí", "wahr", "FALSCH", "Y", "N"], [True, False, True]),
    ],
)
def test_what_stands_for_a_number_a_date_or_a_truth_is_read(kind, values, wanted):
    wanted = (
        wanted
        or {
            ".": [-5.2, -5, 100000, 5, 1234567.5, -5, 5, 5],
            ",": [5, 1000.5, -5.2, -5, 5, 12.5],
        }[kind.decimal]
    )
    table = parsing.read(pl.LazyFrame({"x": values}), {"x": kind}, missing=[])
    assert table.collect()["x"].to_list()[: len(wanted)] == wanted


def test_what_looks_like_a_code_is_no_number():
    for codes in (["DM12", "DM13"], ["FR75", "FR10"], ["0815", "4711"]):
        assert not parsing.fits(pl.Series(codes), Type("integer")) or column_types._is_code(pl.Series(codes))


ODD = {  # the texts of a column, what most are, and what is said of the others
    "comment": (["# units", *texts(range(ROWS - 1))], "integer", "159 of 160 values are numbers, row 1 is not"),
    "total": ([*texts(range(ROWS - 1)), "Total: 9"], "integer", "159 of 160 values are numbers, row 160 is not"),
    "strange": (
        [f"{'~' * (at in (3, 9))}{at}.5" for at in range(ROWS)],
        "number",
        "158 of 160 values are numbers, 2 are not, the first in row 4",
    ),
    "date": (["(day)", *texts(DAYS[1:])], "date", "159 of 160 values are dates, row 1 is not"),
}


@pytest.mark.parametrize("name", ODD)
def test_one_odd_value_is_said_and_one_word_takes_the_others(name):
    values, kind, sentence = ODD[name]
    table, _, columns = decided({"given": values})
    assert (columns["given"].role, table.reading.types["given"]["kind"]) == ("feature", "text")
    assert columns["given"].reason == sentence
    assert f"given: {sentence}: mend the source, or odd=missing" in job._notes([*columns.values()], table, None)[0]
    table, _, columns = decided({"given": values}, odd="missing")
    assert table.reading.types["given"]["kind"] == kind and table.reading.types["given"]["odd"] == "missing"
    assert columns["given"].doubt == sentence and table.sample["given"].null_count() in (1, 2)


def test_a_line_of_units_leaves_its_label_out():
    columns = {"given": ["(m)", *texts(range(ROWS - 1))], "y": ["[label]", *PLAIN["y"][1:]]}
    table, kind, _ = decided(columns, odd="missing")
    assert kind == "binary" and "[label]" in table.reading.missing and table.answers.null_count() == 1
    with pytest.raises(ProjectError, match=r"target=given: 159 of 160 values are numbers, row 1 is not: mend it in"):
        decided(columns, target="given")


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        ([f"{day:%Y-%m-%d}" if day.day % 2 else f"{day:%d/%m/%Y}" for day in DAYS], "%Y-%m-%d|%d/%m/%Y"),
        ([f"{day:%Y-%m-%d}" if day.day % 2 else f"{day:%Y-%m-%d} 10:30" for day in DAYS], "%Y-%m-%d|%Y-%m-%d %H:%M"),
        ([f"{at * 1.5} kg" for at in range(ROWS)], "kg"),
        ([["1", "2", "3", "4+"][at % 4] for at in range(ROWS)], None),  # levels
        ([f"C-{at:05}" for at in range(ROWS)], None),
        ([f"{at}{'abcd'[at % 4]}" for at in range(ROWS)], None),
    ],
)
def test_units_and_two_formats_of_dates_are_read_and_levels_and_codes_are_not(values, type_):
    table, _, columns = decided({"given": values})
    found = table.reading.types["given"]
    assert (found.get("unit") or "|".join(sorted(found.get("format", "").split("|"), key=len)) or None) == type_
    assert not columns["given"].doubt
    if type_ and "|" in type_:
        assert job._notes([*columns.values()], table, None)[0].startswith("given: its dates have two formats, %Y")


def test_types_that_no_text_has_are_taken_as_features_take_them():
    days = pl.Series(DAYS)
    columns = {
        "took": pl.Series([datetime.timedelta(seconds=DRAW.randint(1, 9000)) for _ in range(ROWS)]),
        "few": pl.Series([datetime.timedelta(seconds=at % 3) for at in range(ROWS)]),
        "at": pl.Series([datetime.time(DRAW.randint(0, 23), DRAW.randint(0, 59)) for _ in range(ROWS)]),
        "day": days.cast(pl.Datetime).dt.replace_time_zone("Europe/Berlin").sample(ROWS, shuffle=True, seed=0),
        "price": pl.Series([DRAW.randint(1, 999) for _ in range(ROWS)]).cast(pl.Decimal(10, 2)) / 100,
        "plan": pl.Series([DRAW.choice("ab") for _ in range(ROWS)], dtype=pl.Categorical),
        "size": pl.Series([float("nan") if at % 4 else at * 1.5 for at in range(ROWS)]),
        "wide": pl.Series(PLAIN["size"]).cast(pl.Int128),
        "raw": pl.Series([b"%d" % at for at in range(ROWS)]),
        "parts": pl.Series([[at, 1] for at in range(ROWS)]),
    }
    for target in ("y", "size"):
        table, kind, made = decided(columns, target=target)
        assert kind == ("binary" if target == "y" else "regression")
        dropped = {name: each.reason for name, each in made.items() if each.role == "drop"}
        assert dropped == {"raw": "holds Binary", "parts": "holds List(Int64)"}
        assert round(made["size"].missing, 2) == 0.75
        assert all(profiles.bars(table.sample[name]) for name, each in made.items() if each.role != "drop")


def test_decimals_become_doubles():
    prices = pl.LazyFrame({"price": pl.Series(["1.10", None]).cast(pl.Decimal(10, 2))})
    read = parsing.read(prices, {}, missing=[]).collect()["price"]
    assert read.dtype == pl.Float64 and read.to_list() == [1.1, None]


def test_nan_is_no_class_and_a_category_is_its_text():
    labels = [float("nan") if at % 9 == 0 else float(at % 2) for at in range(ROWS)]
    table, kind, _ = decided({"y": labels})
    assert kind == "binary" and set(profiles.classes(table.answers)) == {0.0, 1.0}
    _, kind, _ = decided({"y": pl.Series(PLAIN["y"], dtype=pl.Categorical)})
    assert kind == "binary"
    with pytest.raises(ProjectError, match=r"target=y holds infinite values: leave such rows out"):
        decided({"y": [float("inf"), *PLAIN["size"][1:]]})


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ([100001, 100002, 100050], ("100001", "100050")),
        ([0.1, 0.2, 99.97], ("0.1", "99.97")),
        ([1e-7, 2e-7, 5e-7], ("1e-07", "5e-07")),
        ([float("-inf"), 1.5, 2.5, float("inf")], ("1.5", "2.5")),
        ([1e12, 1e12 + 1], ("1000000000000", "1000000000001")),
        ([datetime.date(2024, 1, 1), datetime.date(2024, 5, 1)], ("2024-01-01", "2024-05-01")),
    ],
)
def test_the_ends_of_a_distribution_are_written_as_they_are(values, ends):
    labels = [label for label, _ in profiles.bars(pl.Series("x", values))]
    assert (labels[0], labels[-1]) == ends and len(set(labels)) == len(labels)


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("{root}/data/raw/x.csv", "data/raw/x.csv"),
        ("{root}/data/../data/x.csv", "data/x.csv"),
        ("{root}/../shared/x.csv", "../shared/x.csv"),  # within the repository
        ("{root}/../../x.csv", "{root}/../../x.csv"),
        ("s3://bucket/x.csv", "s3://bucket/x.csv"),
    ],
)
def test_a_path_is_written_so_that_it_serves_others(path, written, tmp_path):
    root = tmp_path / "repository/project"
    (tmp_path / "repository/.git").mkdir(parents=True)
    path, written = path.format(root=root), written.format(root=root)
    assert job._written({"url": path}, path, path, root) == {"url": written}


@pytest.mark.parametrize("name", ["spend\n(EUR)", "a\r\nb", "x\u2028y", "\ttab", "nbsp\xa0"])
def test_a_name_with_line_ends_is_one_line_of_yaml(name):
    written = dataset_file._with_comment(dataset_file._flow({name: [name]}), name)
    assert len(written.splitlines()) == 1 and yaml.safe_load(written) == {name: [name]}


@pytest.mark.parametrize(
    ("scores", "model"),
    [
        ({"logistic": [0.7, 0.8, 0.75, 0.72], "boosting": [0.71, 0.79, 0.77, 0.71]}, "logistic"),
        ({"logistic": [0.7, 0.8, 0.75], "boosting": [0.8, 0.9, 0.84], "blend": [0.81, 0.89, 0.84]}, "boosting"),
        ({"logistic": [0.7, 0.8, 0.75], "boosting": [0.6, 0.7, 0.6], "blend": [0.8, 0.9, 0.85]}, "blend"),
        ({"ridge": [-5.0, 0.1, 0.2], "boosting": [0.1, 0.3, 0.25]}, "boosting"),
    ],
)
def test_a_model_is_better_if_more_than_chance_says_so(scores, model):
    assert model_choice.chosen(scores) == model


@pytest.mark.parametrize(
    ("values", "remark"),
    [
        ([f"~{at}.5" for at in range(ROWS)], column_types.NOT_UNDERSTOOD),
        ([f"{'<' * (at % 2)}{at}.5" for at in range(ROWS)], column_types.NOT_UNDERSTOOD),
        ([f"{at}.5{'kM'[at % 2]}" for at in range(ROWS)], column_types.NOT_UNDERSTOOD),
        ([f"{['USD', 'EUR'][at % 2]} {at}.5" for at in range(ROWS)], "its numbers have several currencies, which are"),
        ([f"{'$€'[at % 2]}{at}.5" for at in range(ROWS)], "its numbers have several currencies, which are"),
    ],
)
def test_signs_that_are_not_understood_are_said_and_nothing_is_dropped(values, remark):
    for odd in (None, "missing"):  # which changes nothing here
        table, _, columns = decided({"given": values}, odd=odd)
        assert columns["given"].role == "feature" and table.reading.remarks["given"].startswith(remark)
    [note] = job._notes([*columns.values()], table, None)
    assert note.startswith(f"given: {remark}")

from datetime import date, timedelta

import polars as pl
import pytest
import sqlalchemy
from penguin_classifier import sources as user_sources
from penguin_classifier.machinery.config.schema import Columns, Type
from penguin_classifier.machinery.data import drivers, frames, parsing, splits
from penguin_classifier.machinery.errors import ProjectError
from penguin_classifier.machinery.model.derived import typed
from penguin_classifier.machinery.pipeline.source_fingerprint import fingerprint as contents
from penguin_classifier.machinery.pipeline.store import Store

SHARES = {"test": 0.2, "validation": 0.1, "train": 0.7}
TABLE = pl.DataFrame({"id": range(1000), "x": [i / 7 for i in range(1000)], "y": ["a", "b", "b", "b"] * 250})


def roles(**names):
    return Columns(**{"target": "y", "key": [], "group": [], "time": None, "drop": [], "sensitive": []} | names)


def sides(table, by="hash", key=("id",), seed=7, shares=SHARES, gap=None, **names):
    columns = roles(key=list(key), **names)
    return splits.assign(table.lazy(), by=by, shares=shares, columns=columns, seed=seed, gap=gap).collect()


def test_shares_sum_to_one():
    assert splits.shares(test=0.2, validation=0.1, train=None)["train"] == pytest.approx(0.7)
    with pytest.raises(
        ProjectError, match=r"split.test=0.3, split.validation=0, split.train=0.8: shares sum to 1.1, not 1"
    ):
        splits.shares(test=0.3, validation=0, train=0.8)
    with pytest.raises(ProjectError, match=r"shares sum to 1.3, not 1"):
        splits.shares(test=0.7, validation=0.6, train=None)
    with pytest.raises(ProjectError, match=r"more than 0"):
        splits.shares(test=0.0, validation=0.0, train=None)


def test_the_hash_of_a_row_never_changes():
    rows = pl.DataFrame({"n": [1, None], "f": [1.5, 2.0], "t": ["é", ""], "b": [True, None]})
    golden = splits.position(rows.lazy(), key=[], seed=42).collect()["split"].to_list()
    assert golden == [0.9070973946521056, 0.9901409227265686]


def test_a_row_keeps_its_side_as_the_table_grows_and_is_reordered():
    small = dict(sides(TABLE.head(500)).select("id", "split").iter_rows())
    large = dict(sides(TABLE.reverse()).select("id", "split").iter_rows())
    assert small == {row: large[row] for row in small}


def test_numbers_hash_alike_whatever_their_type():
    floats = sides(TABLE.with_columns(pl.col("id").cast(pl.Float64)))
    assert floats["split"].equals(sides(TABLE)["split"])


def test_shares_are_met_and_the_seed_decides():
    counts = dict(sides(TABLE)["split"].value_counts().iter_rows())
    assert counts["test"] == pytest.approx(200, abs=40) and counts["validation"] == pytest.approx(100, abs=30)
    assert not sides(TABLE, seed=2)["split"].equals(sides(TABLE)["split"])


def test_stratified_gives_each_class_the_same_shares():
    counts = sides(TABLE, by="stratified").group_by("y", "split").len()
    assert sorted(counts.filter(split="test")["len"].to_list()) == [50, 150]
    with pytest.raises(ProjectError, match=r"stratified needs classes"):
        sides(TABLE, by="stratified", target="x")
    with pytest.raises(ProjectError, match=r"it is one of hash, stratified, group, time"):
        sides(TABLE, by="random")


def test_a_group_stands_on_one_side():
    table = TABLE.with_columns(patient=pl.col("id") // 4)
    found = sides(table, by="group", group=["patient"])
    assert found.group_by("patient").agg(pl.col("split").n_unique())["split"].max() == 1
    assert set(found["split"]) == {"train", "validation", "test"}
    with pytest.raises(ProjectError, match=r"split=group needs columns.group"):
        sides(table, by="group")


def test_time_puts_the_latest_rows_to_the_test():
    days = pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 1, 1) + pl.duration(days=999), eager=True)
    table = TABLE.with_columns(day=days.shuffle(seed=1))
    found = sides(table, by="time", time="day").group_by("split").agg(pl.col("day").min(), last=pl.col("day").max())
    first, last = dict(found.select("split", "day").iter_rows()), dict(found.select("split", "last").iter_rows())
    assert last["train"] < first["validation"] and last["validation"] < first["test"]
    gapped = sides(table, by="time", time="day", gap="30d")
    assert gapped.filter(split="train")["day"].max() <= first["validation"] - timedelta(days=30)
    assert gapped.filter(split="gap").height == 60
    assert sides(table, by="time", time="x", gap="3").filter(split="gap").height > 0
    with pytest.raises(ProjectError, match=r"split.gap=soon: give a duration"):
        sides(table, by="time", time="day", gap="soon")
    with pytest.raises(ProjectError, match=r"columns.time=y holds String"):
        sides(table, by="time", time="y")
    with pytest.raises(ProjectError, match=r"missing in 1 rows"):
        sides(table.with_columns(day=pl.when(pl.col("id") > 0).then("day")), by="time", time="day")


def kinds(table, out=(), sensitive=()):
    rows = table.drop("y", "split", *out, strict=False)
    return frames.kinds(rows, sensitive=list(sensitive), max_categories=50, stated={})


def test_features_are_all_columns_but_the_named():
    table = TABLE.with_columns(
        split=pl.lit("train"),
        day=pl.lit(None, pl.Date),
        plan=pl.lit("Pro"),
        code=pl.format("k{}", "id"),
        note=pl.format("what they said {} was long", "id"),
        tags=pl.lit([1, 2]),
    )
    found = kinds(table, out=["id", "tags"], sensitive=["plan"])
    expected = {"x": "number", "day": "date", "plan": "text", "code": "level", "note": "text"}
    assert found == expected
    with pytest.raises(ProjectError, match=r"column tags holds List.*: columns.drop=\[tags\]"):
        kinds(table, out=["id"])


def test_the_frame_holds_what_a_model_takes():
    table = pl.DataFrame(
        {"n": [1.5, float("inf")], "i": [2**40, None], "d": [date(2020, 1, 1), None], "t": ["a", None]}
    )
    frame = typed(table, {"n": "number", "i": "number", "d": "date", "t": "category"}).to_pandas()
    assert [frame[name].dtype.kind for name in ("n", "i", "d")] == ["f", "f", "M"] and frame["n"].isna().tolist() == [
        False,
        True,
    ]
    masked = frames.masked(frame, ["n", "d", "t"])
    assert masked["n"].tolist() == [0.0, 0.0] and set(masked["t"]) == {"..."} and masked["i"].equals(frame["i"])


TEXTS = pl.DataFrame(
    {
        "dollars": [" $1,234.50", "(3)", "n/a", "1e3"],
        "euros": ["1.234,5 €", "-3,2", "", "7"],
        "day": ["31.12.2021", "n/a", "01.02.2020", ""],
        "yes": ["Yes", "no", "TRUE", "f"],
    }
)
TYPES = {
    "dollars": Type("number"),
    "euros": Type("number", decimal=","),
    "day": Type("date", "%d.%m.%Y"),
    "yes": Type("boolean"),
}


def test_texts_are_read_as_what_they_say():
    found = parsing.read(TEXTS.lazy(), TYPES, missing=["", "n/a"]).collect()
    assert found["dollars"].to_list() == [1234.5, -3, None, 1000]
    assert found["euros"].to_list() == [1234.5, -3.2, None, 7]
    assert found["day"].to_list() == [date(2021, 12, 31), None, date(2020, 2, 1), None]
    assert found["yes"].to_list() == [True, False, True, False]


def test_a_value_that_cannot_be_read_is_counted_and_never_guessed():
    types = TYPES | {"euros": Type("number"), "yes": Type("integer")}
    assert parsing.unreadable(TEXTS.lazy(), types, missing=["", "n/a"]) == {"euros": (2, 1), "yes": (4, 1)}
    with pytest.raises(pl.exceptions.InvalidOperationError):
        parsing.read(TEXTS.lazy(), types, missing=["", "n/a"]).collect()
    with pytest.raises(ProjectError, match=r"types.wings: the table has no such column"):
        parsing.read(TEXTS.lazy(), {"wings": Type("text")}, missing=[])
    with pytest.raises(ProjectError, match=r"types.day: kind is one of text, number"):
        parsing.read(TEXTS.lazy(), {"day": Type("days")}, missing=[])


def test_a_target_that_does_not_fit_the_task_is_refused():
    with pytest.raises(ProjectError, match=r"columns.target=y holds String"):
        frames.target(TABLE, "y", kind="regression")
    with pytest.raises(ProjectError, match=r"columns.target=x holds fractions"):
        frames.target(TABLE, "x", kind="classification")


def test_the_fingerprint_is_that_of_the_content(tmp_path):
    def fingerprint(source: str) -> str | None:
        return contents({"source": source}, digest=Store(tmp_path).digest)

    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text("a\n1\n")
    two.write_text("a\n1\n")
    found = fingerprint(str(one))
    assert found and found == fingerprint(str(two))
    two.write_text("a\n2\n")
    assert found != fingerprint(str(two))
    assert fingerprint("s3://bucket/table.parquet") is None and fingerprint(str(tmp_path / "*.csv")) is None
    (tmp_path / "a*[1].csv").write_text("a\n2\n")
    assert fingerprint(str(tmp_path / "a*[1].csv")) == fingerprint(str(two)), "a file that is called so"
    named = {"source": str(two), "new_columns": ["*", "n" * 300, str(one)]}
    assert contents(named, digest=Store(tmp_path).digest) == fingerprint(str(two)), "names of columns are no paths"


def test_in_a_folder_names_count_too(tmp_path):
    def fingerprint() -> str | None:
        return contents({"source": str(tmp_path / "parts")}, digest=Store(tmp_path).digest)

    (tmp_path / "parts/year=2025").mkdir(parents=True)
    (tmp_path / "parts/year=2025/a.csv").write_text("a\n1\n")
    before = fingerprint()
    (tmp_path / "parts/year=2025").rename(tmp_path / "parts/year=2026")
    assert before and before != fingerprint()


def test_bundled_tables_have_a_target():
    for name in user_sources.BUNDLED:
        assert "target" in user_sources.bundled(name).collect_schema()
    with pytest.raises(ValueError, match=r"bundles no table 'titanic'"):
        user_sources.bundled("titanic")


@pytest.mark.parametrize("address", ["postgresql://me@host/base", "mysql://me@host/base"])
def test_the_driver_that_is_installed_serves_an_address_that_names_none(monkeypatch, address):
    monkeypatch.setattr(sqlalchemy.dialects.registry, "impls", {})
    for installed in drivers.DRIVERS[address.partition(":")[0]]:
        module = drivers.MODULES.get(installed, installed)
        monkeypatch.setattr(drivers, "find_spec", lambda name, there=module: name == there or None)
        drivers.prefer_installed()
        assert sqlalchemy.make_url(address).get_dialect().driver == installed

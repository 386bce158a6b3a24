import polars as pl
import pytest

from << cookiecutter.package_name >> import features, sources, splits
from << cookiecutter.package_name >>.errors import Refused

SHARES = {"test": 0.2, "validation": 0.1, "train": 0.7}
TABLE = pl.DataFrame({"id": range(1000), "x": [i / 7 for i in range(1000)], "y": ["a", "b", "b", "b"] * 250})


def sides(table, by="hash", key=("id",), seed=7, shares=SHARES):
    return splits.assign(table.lazy(), by=by, shares=shares, key=list(key), target="y", seed=seed).collect()


def test_shares_sum_to_one():
    assert splits.shares(test=0.2, validation=0.1, train=None)["train"] == pytest.approx(0.7)
    with pytest.raises(Refused, match=r"split.test=0.3, split.validation=0, split.train=0.8: shares sum to 1.1, not 1"):
        splits.shares(test=0.3, validation=0, train=0.8)
    with pytest.raises(Refused, match=r"shares sum to 1.3, not 1"):
        splits.shares(test=0.7, validation=0.6, train=None)
    with pytest.raises(Refused, match=r"more than 0"):
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
    with pytest.raises(Refused, match=r"stratified needs classes"):
        splits.assign(TABLE.lazy(), by="stratified", shares=SHARES, key=[], target="x", seed=1)


def test_features_are_all_columns_but_the_named():
    schema = TABLE.with_columns(split=pl.lit("train"), when=pl.lit(None, pl.Date)).schema
    assert features.kinds(schema, target="y", key=["id"], drop=["when"]) == {"x": "number"}
    with pytest.raises(Refused, match=r"column when holds Date"):
        features.kinds(schema, target="y", key=["id"], drop=[])
    with pytest.raises(Refused, match=r"no column is left"):
        features.kinds(schema, target="y", key=["id"], drop=["when", "x"])


def test_a_target_that_does_not_fit_the_task_is_refused():
    with pytest.raises(Refused, match=r"columns.target=y holds String"):
        features.target(TABLE, "y", kind="regression")
    with pytest.raises(Refused, match=r"columns.target=x holds fractions"):
        features.target(TABLE, "x", kind="classification")


def test_the_fingerprint_is_that_of_the_content(tmp_path):
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text("a\n1\n")
    two.write_text("a\n1\n")
    fingerprint = sources.fingerprint({"source": str(one)})
    assert fingerprint and fingerprint == sources.fingerprint({"source": str(two)})
    two.write_text("a\n2\n")
    assert fingerprint != sources.fingerprint({"source": str(two)})
    assert sources.fingerprint({"source": "s3://bucket/table.parquet"}) is None


def test_bundled_tables_have_a_target():
    for name in sources.BUNDLED:
        assert "target" in sources.bundled(name).collect_schema()
    with pytest.raises(ValueError, match=r"bundles no table 'titanic'"):
        sources.bundled("titanic")

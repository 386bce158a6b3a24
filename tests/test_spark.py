"""The default story on one machine and on a Spark cluster: the same rows, the same numbers."""

import json
import math
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from conftest import FOLDER, Project, bake
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from spark_cluster import SparkCluster, happens
from test_projects import QUICK

pytestmark = pytest.mark.slow

CONNECT = {"extra": "connect"}
MODEL = ("model=forest", "model.n_estimators=10", *QUICK)
TABLE = "source={_target_: polars.scan_parquet, source: data/penguins.parquet}"
READERS = "penguin_classifier.machinery.engines.spark.readers"
STAGES = ("ingest", "validate", "split", "train", "evaluate")


@pytest.fixture(scope="module")
def project(wider: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One whose table is a Parquet file, with a champion; a table of more rows to score lies beside it."""
    project = Project(bake(tmp_path_factory.mktemp("spark")), wider)
    rows = pl.read_csv(project.path / "data/raw/penguins.csv", null_values="NA")
    rows.write_parquet(project.path / "data/penguins.parquet")
    pl.concat([rows] * 60).write_parquet(project.path / "data/many.parquet")
    return project


@pytest.fixture(scope="module")
def words(spark: SparkCluster) -> Iterator[list[str]]:
    """What chooses the cluster, by Spark Connect, on a command line."""
    with spark.connect() as address:
        yield ["engine=spark", f"engine.address={address}", "engine.part_rows=100"]


@pytest.fixture(scope="module")
def champion(project: Project) -> str:
    """The line of the champion, made on one machine."""
    done = project.python("register", TABLE, *MODEL)
    assert done.code == 0 and "penguin-classifier-penguins version 1 is champion" in done.lines, done.printed
    return done.printed


def outcome(folder: Path, stage: str) -> dict:
    """What the one run of a stage with outputs in `folder` has given."""
    [record] = folder.glob(f"{stage}/*/outcome.json")
    return json.loads(record.read_text())["outcome"]


def close(one: dict, other: dict) -> bool:
    """Whether two mappings of numbers are the same, to 1e-12."""
    return one.keys() == other.keys() and all(math.isclose(one[name], other[name], abs_tol=1e-12) for name in one)


def test_the_line_gives_the_same_rows_and_the_same_numbers(project, words):
    local, spark = project.path / "outputs/here", project.path / "outputs/there"
    for folder, more in ((local, []), (spark, words)):
        done = project.python("evaluate", TABLE, *MODEL, f"platform.outputs={folder}", *more)
        assert done.code == 0, done.printed
    for stage in ("ingest", "split"):
        tables = [next(folder.glob(f"{stage}/*/table.parquet")) for folder in (local, spark)]
        assert [table.is_dir() for table in tables] == [False, True]
        one, other = map(pl.read_parquet, tables)
        assert one.equals(other) and one.schema == other.schema
    for stage in STAGES:
        one, other = outcome(local, stage), outcome(spark, stage)
        assert one["summary"] == other["summary"] and close(one["scores"], other["scores"]), stage
    checked = [json.loads(next(each.glob("validate/*/expectations.json")).read_text()) for each in (local, spark)]
    assert checked[0]["statistics"] == checked[1]["statistics"]
    assert not next(spark.glob("split/*")).joinpath(".work").exists()


def test_what_spark_has_made_is_used_on_one_machine(project, words):
    folder = f"platform.outputs={project.path / 'outputs/there'}"
    done = project.python("explain", TABLE, *MODEL, folder, "engine=local")
    assert [line.split()[1] for line in done.lines[:3]] == ["up"] * 3, done.printed


def test_what_fails_on_a_worker_is_the_sentence_of_one_machine(project, words):
    rows = pl.read_parquet(project.path / "data/penguins.parquet").cast({"year": pl.String})
    odd = pl.when(pl.int_range(pl.len()) == 250).then(pl.lit("soon")).otherwise("year").alias("year")
    rows.with_columns(odd).write_parquet(project.path / "data/odd.parquet")
    source = TABLE.replace("penguins", "odd")
    said = [project.python("ingest", source, "types={year: {kind: number}}", *more) for more in ([], words)]
    assert said[0].code == said[1].code == 1 and "the first in row 251" in said[1].printed
    assert said[0].lines[-1] == said[1].lines[-1]


def test_the_registered_model_scores_and_watches_there(project, words, champion):
    tables = []
    for name, more in (("here", []), ("there", words)):
        place = project.path / f"{name}.parquet"
        done = project.python("predict", TABLE, *MODEL, "input=data/penguins.parquet", f"output={place}", *more)
        assert done.code == 0, done.printed
        tables.append((pl.read_parquet(place), place.is_dir(), done.lines[0].replace(place.name, "")))
    assert tables[0][0].equals(tables[1][0]) and tables[0][2] == tables[1][2]
    assert [table[1] for table in tables] == [False, True]
    said = [project.python("monitor", TABLE, *MODEL, *more) for more in ([], words)]
    assert said[0].code == said[1].code == 0 and said[0].lines[:2] == said[1].lines[:2], said[1].printed


def test_a_worker_that_dies_while_it_scores_changes_nothing(project, words, spark, champion):
    place, one = project.path / "many", project.path / "one.csv"
    scoring = ["predict", TABLE, *MODEL, "input=data/many.parquet"]
    assert project.python(*scoring, f"output={one}").code == 0
    process = project.start(*scoring, f"output={place}.parquet", *words)
    assert happens(lambda: [*project.path.glob(".many.parquet.draft/many.parquet/part-*")])
    spark.kill_executor()
    assert not place.with_suffix(".parquet").exists()
    done = project.end(process)
    assert done.code == 0, done.printed
    many = pl.read_parquet(f"{place}.parquet")
    assert len(many) == 60 * 344 and many["probability"].equals(pl.read_csv(one)["probability"])


def test_spark_reads_what_polars_does_not(project, words):
    folder = project.path / "data/penguins.parquet"
    more = "CAST(1.5 AS DECIMAL(9, 2)) AS fee, TIMESTAMP_NTZ'2026-01-02 03:04:05' AS at"
    query = f"SELECT *, {more} FROM parquet.`{folder}`"
    source = f'source={{_target_: {READERS}.sql, query: "{query}"}}'
    place = f"platform.outputs={project.path / 'outputs/asked'}"
    done = project.python("split", source, place, "source_version=1", "expectations=[]", *MODEL, *words)
    assert done.code == 0, done.printed
    rows = pl.read_parquet(next((project.path / "outputs/asked").glob("split/*/table.parquet")))
    assert rows.schema["fee"] == pl.Float64 and rows.schema["at"] == pl.Datetime("us") and len(rows) == 333
    done = project.python("split", source, "platform.outputs=outputs/none", *MODEL)
    assert done.code == 1 and "the source is read by Spark: take engine=spark" in done.printed


def test_the_project_says_of_pyspark_what_it_says_itself(wider):
    """So that a lock need not fetch its 450 MB to read it."""
    code = "import importlib.metadata as about; print(*about.requires('pyspark'), sep='\\n')"
    said = subprocess.run([wider / "bin/python", "-c", code], check=True, capture_output=True, text=True).stdout
    [ours] = tomllib.loads((FOLDER / "pyproject.toml").read_text())["tool"]["uv"]["dependency-metadata"]

    def needed(lines: list[str]) -> dict[str, SpecifierSet]:
        found = [each for each in map(Requirement, lines) if not each.marker or each.marker.evaluate(CONNECT)]
        return {each.name: each.specifier for each in found}

    theirs = needed(said.splitlines())
    assert needed(ours["requires-dist"]).keys() == theirs.keys()
    for name, specifier in needed(ours["requires-dist"]).items():
        assert {each.operator for each in specifier} == {each.operator for each in theirs[name]}, name
        assert all(each.version.startswith(tuple(one.version for one in specifier)) for each in theirs[name]), name


def test_what_is_missing_is_one_sentence(project, environment):
    without = Project(project.path, environment)
    done = without.python("split", "engine=spark")
    assert done.code == 2 and "engine=spark needs pyspark: `uv sync --extra spark` installs it here" in done.printed
    done = project.python("split", "engine=spark", PATH="/nowhere", JAVA_HOME="")
    assert done.code == 2 and "engine=spark needs Java, 17 or newer" in done.printed
    done = project.python("split", "engine.kind=dask")
    assert done.code == 2 and "engine.kind=dask: there is no such engine; there are local, spark" in done.printed
    done = project.python("split", "engine.part_rows=10")
    assert done.code == 2 and "are of a cluster: take engine=spark" in done.printed

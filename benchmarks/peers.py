"""A table on its way to a registered model: by this template, by a bare script, by DVC, and by Kedro with kedro-mlflow.

All do the same work: a Parquet file of 24 columns is read and checked, split by a hash, 100 iterations of histogram
gradient boosting are fitted, scored on the test rows, and logged to MLflow as a model that is registered. Each starts
in a new folder with no store, one after the other in every turn; ratios are to the bare script of the same turns.

make .venv/ready && .venv/bin/python benchmarks/peers.py [--turns 3] [--ours] [--figure cost.png] [rows ...]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
MAKE = """
import sys
import numpy as np, polars as pl
rows, draw = int(sys.argv[1]), np.random.default_rng(0)
numbers = {f"n{at}": draw.normal(size=rows) for at in range(16)}
for name in ("n3", "n7"):
    numbers[name][draw.random(rows) < 0.05] = np.nan
codes = {f"c{at}": draw.integers(0, 8 + 2 * at, rows) for at in range(6)}
score = numbers["n0"] + numbers["n1"] * numbers["n2"] + sum(np.sin(each) for each in codes.values())
table = pl.DataFrame(numbers).fill_nan(None)
table = table.with_columns(*(pl.Series(name, each).cast(pl.String).alias(name) for name, each in codes.items()))
answers = pl.Series(np.where(score + draw.normal(size=rows) > 0, "yes", "no"))
table.with_columns(id=pl.int_range(rows), y=answers).write_parquet(sys.argv[2])
"""
WORK = '''
"""The work, a function for each step; as a script all of them in memory, or one of them from file to file."""
import sys
import pandas as pd

SAFE = """sklearn._loss._loss.CyHalfBinomialLoss sklearn._loss.link.LogitLink sklearn._loss.link.Interval numpy.dtype
sklearn._loss.loss.HalfBinomialLoss sklearn.ensemble._hist_gradient_boosting.binning._BinMapper functools.partial
sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor sklearn.utils.validation.check_array
sklearn.compose._column_transformer._RemainderColsList""".split()
METRICS = ["roc_auc", "average_precision", "balanced_accuracy", "neg_log_loss"]


def checked(table):
    assert table["id"].is_unique and table["y"].isin(["yes", "no"]).all()
    assert table["n0"].notna().all() and table["n0"].between(-10, 10).all()
    return table


def split(table):
    return table.assign(test=pd.util.hash_array(table["id"].to_numpy()) % 5 == 0)


def features(table):
    return table.drop(columns=["id", "y", "test"])


def fit(table):
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    train = table[~table["test"]]
    texts = [name for name in train if name.startswith("c")]
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    model = HistGradientBoostingClassifier(
        max_iter=100, categorical_features=list(range(len(texts))), early_stopping=False, random_state=0
    )
    pipeline = make_pipeline(make_column_transformer((codes, texts), remainder="passthrough"), model)
    return pipeline.fit(features(train), train["y"])


def scores(model, table, metrics=METRICS):
    from sklearn.metrics import average_precision_score, balanced_accuracy_score, log_loss, roc_auc_score

    test = table[table["test"]]
    right = (test["y"] == "yes").astype(int)
    sure = model.predict_proba(features(test))[:, 1]
    how = {
        "roc_auc": lambda: roc_auc_score(right, sure),
        "average_precision": lambda: average_precision_score(right, sure),
        "balanced_accuracy": lambda: balanced_accuracy_score(right, sure > 0.5),
        "neg_log_loss": lambda: -log_loss(right, sure),
    }
    return {name: float(how[name]()) for name in metrics}


def log(model, values, store=True):
    import mlflow

    if store:
        mlflow.set_tracking_uri("sqlite:///mlflow.db")
        mlflow.set_experiment("bare")
    with mlflow.start_run(nested=not store):
        mlflow.log_params(model[-1].get_params())
        mlflow.log_metrics(values)
        mlflow.sklearn.log_model(
            model, name="model", serialization_format="skops", skops_trusted_types=SAFE,
            pip_requirements=["scikit-learn"], registered_model_name="bare",
        )


def predict(table, output, batch=100_000):
    """A batch loop: the registered model's probabilities for the rows of a Parquet file, to another one."""
    import mlflow
    import polars as pl
    import pyarrow.parquet as pq

    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    model, writer = mlflow.sklearn.load_model("models:/bare/1"), None
    for rows in pl.scan_parquet(table).drop("y").collect_batches(chunk_size=batch, maintain_order=True):
        sure = model.predict_proba(rows.drop("id").to_pandas())[:, 1]
        answers = rows.select("id").with_columns(probability=pl.Series(sure)).to_arrow()
        writer = writer or pq.ParquetWriter(output, answers.schema)
        writer.write_table(answers)
    writer.close()


def step(name, *arguments):
    """One step from file to file, as DVC runs it."""
    import json
    import joblib

    if name == "ingest":
        checked(pd.read_parquet(arguments[0])).to_parquet("raw.parquet")
    elif name == "split":
        split(pd.read_parquet("raw.parquet")).to_parquet("split.parquet")
    elif name == "train":
        joblib.dump(fit(pd.read_parquet("split.parquet")), "model.joblib")
    elif name == "evaluate":
        metrics = [each for each in METRICS if each in arguments[0]]
        values = scores(joblib.load("model.joblib"), pd.read_parquet("split.parquet"), metrics)
        open("scores.json", "w").write(json.dumps(values))
    elif name == "register":
        log(joblib.load("model.joblib"), json.load(open("scores.json")))
        open("registered", "w").write("yes")


if __name__ == "__main__":
    if sys.argv[1] == "all":
        table = split(checked(pd.read_parquet(sys.argv[2])))
        model = fit(table)
        log(model, scores(model, table))
    elif sys.argv[1] == "predict":
        predict(*sys.argv[2:])
    else:
        step(*sys.argv[1:])
'''
DVC = """\
stages:
  ingest: {{cmd: {python} work.py ingest {table}, deps: [{table}], outs: [raw.parquet]}}
  split: {{cmd: {python} work.py split, deps: [raw.parquet], outs: [split.parquet]}}
  train: {{cmd: {python} work.py train, deps: [split.parquet], outs: [model.joblib]}}
  evaluate:
    cmd: {python} work.py evaluate ${{metrics}}
    deps: [split.parquet, model.joblib]
    outs: [scores.json]
  register: {{cmd: {python} work.py register, deps: [scores.json, model.joblib], outs: [registered]}}
"""
ALL = "roc_auc,average_precision,balanced_accuracy,neg_log_loss"
KEDRO = {
    "pyproject.toml": '[tool.kedro]\npackage_name = "peer"\nproject_name = "peer"\nkedro_init_version = "{kedro}"\n',
    "src/peer/__init__.py": "",
    "src/peer/settings.py": "",
    "src/peer/pipeline_registry.py": """
from kedro.pipeline import Pipeline, node
from peer.work import checked, fit, log, scores, split

def register_pipelines():
    return {"__default__": Pipeline([
        node(checked, "raw", "checked", name="ingest"),
        node(split, "checked", "table", name="split"),
        node(fit, "table", "model", name="train"),
        node(scores, ["model", "table"], "values", name="evaluate"),
        node(lambda model, values: log(model, values, store=False), ["model", "values"], None, name="register"),
    ])}
""",
    "conf/base/catalog.yml": """
raw: {type: pandas.ParquetDataset, filepath: TABLE}
checked: {type: pandas.ParquetDataset, filepath: data/checked.parquet}
table: {type: pandas.ParquetDataset, filepath: data/table.parquet}
model: {type: pickle.PickleDataset, filepath: data/model.pickle}
values: {type: json.JSONDataset, filepath: data/values.json}
""",
    "conf/base/parameters.yml": "{}\n",
    "conf/base/mlflow.yml": """
server: {mlflow_tracking_uri: 'sqlite:///mlflow.db'}
tracking: {experiment: {name: peer}}
""",
    "conf/local/credentials.yml": "{}\n",
}
OURS = """\
# @package _global_
defaults:
  - /task: binary
  - override /model: boosting
source:
  _target_: polars.scan_parquet
  source: {table}
columns:
  target: y
  key: [id]
task:
  metrics: [roc_auc, average_precision, balanced_accuracy, neg_log_loss]
model:
  max_iter: 100
  learning_rate: 0.1
expectations:
  - type: expect_column_values_to_be_unique
    kwargs: {{column: id}}
  - type: expect_column_values_to_be_in_set
    kwargs: {{column: y, value_set: ["yes", "no"]}}
  - type: expect_column_values_to_not_be_null
    kwargs: {{column: n0}}
  - type: expect_column_values_to_be_between
    kwargs: {{column: n0, min_value: -10, max_value: 10}}
"""
DRAW = """
import json, sys
from matplotlib.figure import Figure
page = Figure(figsize=(6.4, 3.8), layout="constrained")
axes = page.subplots()
for name, points in json.loads(sys.argv[1]).items():
    axes.loglog(*zip(*points), marker="o", label=name)
axes.set(xlabel="rows of 24 columns", ylabel="seconds of a first run")
axes.grid(alpha=0.2)
axes.legend(frameon=False)
page.savefig(sys.argv[2], dpi=130)
"""
LEAN = ["evaluation.resamples=0", "evaluation.importance_repeats=0"]


class Bench:
    """Folders, environments and what was measured: seconds and peaks of memory of each command, by its name."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        hidden = ("VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")
        self.clean = {name: value for name, value in os.environ.items() if name not in hidden}
        self.clean |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DVC_NO_ANALYTICS": "1", "GX_ANALYTICS_ENABLED": "false"}
        self.clean["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{self.clean['PATH']}"  # uv, beside this Python
        self.clean |= {"DO_NOT_TRACK": "1", "KEDRO_DISABLE_TELEMETRY": "true", "UV_COMPILE_BYTECODE": "1"}
        self.found: dict[str, list[tuple[float, float]]] = {}

    def run(self, folder: Path, *words: str) -> tuple[float, float]:
        """The seconds that a command takes, and the gigabytes of the largest of its processes."""
        began = time.perf_counter()
        with tempfile.TemporaryFile("w+") as printed:
            process = subprocess.Popen(words, cwd=folder, env=self.clean, stdout=printed, stderr=printed)
            _, status, usage = os.wait4(process.pid, 0)
            printed.seek(0)
            assert status == 0, f"{words}\n{printed.read()[-3000:]}"
        return time.perf_counter() - began, usage.ru_maxrss / 1e6

    def measure(self, what: str, folder: Path, *words: str) -> None:
        self.found.setdefault(what, []).append(self.run(folder, *words))
        print(f"  {what:<36} {self.found[what][-1][0]:7.1f} s  {self.found[what][-1][1]:5.2f} GB", flush=True)

    def environment(self, name: str, *packages: str) -> Path:
        """A folder of commands, with `packages` installed for them, compiled."""
        where = self.scratch / name
        self.run(self.scratch, "uv", "venv", "--quiet", "--no-project", "--python", sys.executable, str(where))
        self.run(self.scratch, "uv", "pip", "install", "--quiet", "--python", str(where / "bin/python"), *packages)
        return where / "bin"


def turn(bench: Bench, table: Path, project: Path, tools: dict[str, Path], number: int) -> None:
    """All of them once, each in a folder of its own."""
    python = str(project / ".venv/bin/python")
    folders = {name: bench.scratch / f"{name}-{number}" for name in ("bare", *tools, "ours", "lean")}
    for name in {"bare", "dvc"} & folders.keys():
        folders[name].mkdir()
        (folders[name] / "work.py").write_text(WORK)
    bench.measure("bare script", folders["bare"], python, "work.py", "all", str(table))
    bench.measure("bare loop, predict", folders["bare"], python, "work.py", "predict", str(table), "scores.parquet")
    if "dvc" in tools:
        dvc = str(tools["dvc"] / "dvc")
        (folders["dvc"] / "dvc.yaml").write_text(DVC.format(python=python, table=table))
        (folders["dvc"] / "params.yaml").write_text(f"metrics: {ALL}\n")
        bench.run(folders["dvc"], "git", "init", "--quiet")
        bench.run(folders["dvc"], dvc, "init", "--quiet")
        bench.measure("DVC, first run", folders["dvc"], dvc, "repro")
        bench.measure("DVC, nothing changed", folders["dvc"], dvc, "repro")
        (folders["dvc"] / "params.yaml").write_text("metrics: roc_auc\n")
        bench.measure("DVC, other metrics", folders["dvc"], dvc, "repro")
    if "kedro" in tools:
        version = subprocess.run(
            [tools["kedro"] / "python", "-c", "import kedro; print(kedro.__version__)"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for name, text in {**KEDRO, "src/peer/work.py": WORK}.items():
            file = folders["kedro"] / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.replace("{kedro}", version).replace("TABLE", str(table)))
        bench.measure("Kedro, first run", folders["kedro"], str(tools["kedro"] / "kedro"), "run")
        bench.measure("Kedro, nothing changed", folders["kedro"], str(tools["kedro"] / "kedro"), "run")
    for name, more in (("ours", []), ("lean", LEAN)):
        shutil.copytree(project, folders[name], symlinks=True, ignore=shutil.ignore_patterns(".venv", "mlflow.db*"))
        line = [python, "-m", "penguin_classifier", "data=large", *more]
        bench.measure(f"{name}, first run", folders[name], *line)
        if name == "ours":
            bench.measure("ours, nothing changed", folders[name], *line)
        bench.measure(f"{name}, other metrics", folders[name], *line, "task.metrics=[roc_auc]")
        if name == "ours":
            scores = f"output={bench.scratch}/scores-{number}.parquet"
            bench.measure(
                "ours, predict",
                folders[name],
                python,
                "-m",
                "penguin_classifier",
                "predict",
                "data=large",
                f"input={table}",
                scores,
            )
    for folder in folders.values():
        shutil.rmtree(folder, ignore_errors=True)


def main(sizes: list[int], turns: int, ours_alone: bool, figure: Path | None) -> None:
    """Prints medians of seconds and gigabytes for each of `sizes`, and their ratios to the bare script's."""
    drawn: dict[str, list[tuple[int, float]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch))
        words = [sys.executable, "-m", "cookiecutter", "--no-input", str(ROOT), "--output-dir", scratch]
        subprocess.run(words, check=True, capture_output=True)
        project = Path(scratch, "penguin-classifier")
        bench.run(project, "uv", "sync", "--quiet")
        tools = {}
        if not ours_alone:
            tools["dvc"] = bench.environment("dvc-env", "dvc")
            lock = ["mlflow<3.18", "scikit-learn<1.10", "skops<0.17", "pandas<4", "pyarrow"]
            tools["kedro"] = bench.environment("kedro-env", "kedro", "kedro-mlflow", "kedro-datasets[pandas]", *lock)
        for rows in sizes:
            table = Path(scratch, f"large-{rows}.parquet")
            bench.found.clear()
            bench.run(project, str(project / ".venv/bin/python"), "-c", MAKE, str(rows), str(table))
            (project / "conf/data/large.yaml").write_text(OURS.format(table=table))
            for number in range(turns):
                print(f"{rows:,} rows, turn {number + 1} of {turns}", flush=True)
                turn(bench, table, project, tools, number)
            for what, taken in report(rows, bench.found).items():
                drawn.setdefault(what, []).append((rows, taken))
        if figure:
            firsts = {what: points for what, points in drawn.items() if what == "bare script" or "first" in what}
            python = str(project / ".venv/bin/python")
            bench.run(project, python, "-c", DRAW, json.dumps(firsts), str(figure.resolve()))


def report(rows: int, found: dict[str, list[tuple[float, float]]]) -> dict[str, float]:
    """Prints the medians of what was `found`, as ratios to the bare script's; gives the seconds of each command."""
    medians = {what: [median(each) for each in zip(*measured, strict=True)] for what, measured in found.items()}
    print(f"\n| {rows:,} rows x 24 columns | seconds | of the bare script | GB | of the bare script |")
    print("| --- | --- | --- | --- | --- |")
    for what, (taken, peak) in medians.items():
        bare = medians["bare loop, predict" if "predict" in what else "bare script"]
        print(f"| {what} | {taken:.1f} | {taken / bare[0]:.2f}x | {peak:.2f} | {peak / bare[1]:.2f}x |")
    print(flush=True)
    return {what: taken for what, (taken, _) in medians.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="*", type=int, default=[100_000])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--ours", action="store_true", help="the bare script and this template's project alone")
    parser.add_argument("--figure", type=Path, help="a PNG of how the cost grows with the rows")
    given = parser.parse_args()
    main(given.rows, given.turns, given.ours, given.figure)

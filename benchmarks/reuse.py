"""What it costs when nothing, or only the evaluation, has changed: beside DVC and a bare script that does all the work.

make .venv/ready && .venv/bin/python benchmarks/reuse.py [rows]      needs uv and some minutes
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
DATA = """\
# @package _global_
defaults:
  - /task: binary
  - override /model: boosting
source:
  _target_: polars.scan_csv
  source: {table}
columns:
  target: y
  key: [id]
expectations:
  - type: expect_column_values_to_be_unique
    kwargs: {{column: id}}
  - type: expect_column_values_to_be_between
    kwargs: {{column: f0, min_value: -10, max_value: 10}}
"""
MAKE = """
import sys
import numpy as np, polars as pl
rows, draw = int(sys.argv[1]), np.random.default_rng(0)
table = {f"f{i}": draw.normal(size=rows) for i in range(20)}
score = sum(table[f"f{i}"] for i in range(5)) + draw.normal(size=rows)
answers = pl.Series(np.where(score > 0, "yes", "no"))
pl.DataFrame(table).with_columns(id=pl.int_range(rows), y=answers).write_csv(sys.argv[2])
"""
BARE = '''
"""The same work without any of what this project adds: one stage a function, handed on as files."""
import sys
from pathlib import Path
import joblib, pandas as pd

def ingest(table):
    read = pd.read_csv(table)
    read.assign(y=(read["y"] == "yes").astype(int)).to_parquet("raw.parquet")

def validate():
    import great_expectations as gx
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("p").add_dataframe_asset("t")
    suite = gx.ExpectationSuite("s")
    suite.add_expectation(gx.expectations.ExpectColumnValuesToBeUnique(column="id"))
    suite.add_expectation(gx.expectations.ExpectColumnValuesToBeBetween(column="f0", min_value=-10, max_value=10))
    batch = asset.add_batch_definition_whole_dataframe("b").get_batch({"dataframe": pd.read_parquet("raw.parquet")})
    assert batch.validate(suite).success
    Path("valid").write_text("yes")

def split():
    import hashlib
    table = pd.read_parquet("raw.parquet")
    side = [hashlib.blake2b(str(each).encode(), digest_size=8).digest()[0] < 51 for each in table["id"]]
    table.assign(test=side).to_parquet("split.parquet")

def train():
    from sklearn.ensemble import HistGradientBoostingClassifier
    table = pd.read_parquet("split.parquet").query("not test")
    model = HistGradientBoostingClassifier(random_state=0).fit(table.filter(regex="^f"), table["y"])
    joblib.dump(model, "model.joblib")

def evaluate(repeats):
    import json, matplotlib
    matplotlib.use("agg")
    from sklearn.dummy import DummyClassifier
    from sklearn.inspection import permutation_importance
    from sklearn.metrics import (ConfusionMatrixDisplay, PrecisionRecallDisplay, RocCurveDisplay, check_scoring)
    from sklearn.calibration import CalibrationDisplay
    names = ["roc_auc", "average_precision", "balanced_accuracy", "neg_log_loss"]
    table = pd.read_parquet("split.parquet")
    train, test = table.query("not test"), table.query("test")
    model, x, y = joblib.load("model.joblib"), test.filter(regex="^f"), test["y"]
    dummy = DummyClassifier(strategy="prior").fit(train.filter(regex="^f"), train["y"])
    scores = check_scoring(model, scoring=names)(model, x, y)
    check_scoring(dummy, scoring=names)(dummy, x, y)
    permutation_importance(model, x[:2000], y[:2000], scoring="roc_auc", n_repeats=int(float(repeats)), random_state=0)
    displays = RocCurveDisplay, PrecisionRecallDisplay, CalibrationDisplay, ConfusionMatrixDisplay
    for number, display in enumerate(displays):
        shown = display.from_estimator(model, x, y)
        shown.figure_.savefig(f"{number}.png", dpi=150, bbox_inches="tight")
    Path("scores.json").write_text(json.dumps({name: float(value) for name, value in scores.items()}))

def register():
    import json, mlflow
    with mlflow.start_run():
        mlflow.log_metrics(json.loads(Path("scores.json").read_text()))
        for number in range(4):
            mlflow.log_artifact(f"{number}.png")
        mlflow.sklearn.log_model(joblib.load("model.joblib"), name="model", serialization_format="skops",
            skops_trusted_types=["sklearn._loss._loss.CyHalfBinomialLoss", "sklearn._loss.link.LogitLink",
            "sklearn._loss.link.Interval", "sklearn._loss.loss.HalfBinomialLoss",
            "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
            "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor", "numpy.dtype"],
            pip_requirements=["scikit-learn"], registered_model_name="bare")
    Path("registered").write_text("yes")

if __name__ == "__main__":
    if sys.argv[1] == "all":
        ingest(sys.argv[2]), validate(), split(), train(), evaluate(sys.argv[3]), register()
    else:
        globals()[sys.argv[1]](*sys.argv[2:])
'''
DVC = """\
stages:
  ingest: {{cmd: {python} bare.py ingest {table}, deps: [{table}], outs: [raw.parquet]}}
  validate: {{cmd: {python} bare.py validate, deps: [raw.parquet], outs: [valid]}}
  split: {{cmd: {python} bare.py split, deps: [raw.parquet, valid], outs: [split.parquet]}}
  train: {{cmd: {python} bare.py train, deps: [split.parquet], outs: [model.joblib]}}
  evaluate:
    cmd: {python} bare.py evaluate ${{repeats}}
    deps: [split.parquet, model.joblib]
    outs: [scores.json, 0.png, 1.png, 2.png, 3.png]
  register: {{cmd: {python} bare.py register, deps: [scores.json, model.joblib], outs: [registered]}}
"""


def main(rows: int) -> None:
    """Runs each once, then all of them in turn three times, and prints medians and ratios."""
    with tempfile.TemporaryDirectory() as scratch:
        words = [sys.executable, "-m", "cookiecutter", "--no-input", str(ROOT), "--output-dir", scratch]
        subprocess.run(words, check=True, capture_output=True)
        project, bare, table = Path(scratch, "penguin-classifier"), Path(scratch, "bare"), Path(scratch, "large.csv")
        hidden = ("VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")
        clean = {name: value for name, value in os.environ.items() if name not in hidden}
        clean |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DVC_NO_ANALYTICS": "1", "GX_ANALYTICS_ENABLED": "false"}
        python, dvc = str(project / ".venv/bin/python"), str(Path(scratch, "dvc/bin/dvc"))

        def run(folder: Path, *words: str) -> float:
            """The seconds that a command takes."""
            began = time.perf_counter()
            done = subprocess.run(words, cwd=folder, env=clean, capture_output=True, text=True)
            assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
            return time.perf_counter() - began

        run(project, "uv", "sync", "--quiet")
        run(project, "uv", "venv", "--quiet", "--no-project", str(Path(scratch, "dvc")))
        run(project, "uv", "pip", "install", "--quiet", "--python", str(Path(scratch, "dvc/bin/python")), "dvc")
        run(project, python, "-c", MAKE, str(rows), str(table))
        (project / "conf/data/large.yaml").write_text(DATA.format(table=table))
        bare.mkdir()
        for folder in (bare, whole := Path(scratch, "whole")):
            folder.mkdir(exist_ok=True)
            (folder / "bare.py").write_text(BARE)
        (bare / "dvc.yaml").write_text(DVC.format(python=python, table=table))
        (bare / "params.yaml").write_text("repeats: 5\n")
        run(bare, "git", "init", "--quiet")
        run(bare, dvc, "init", "--quiet")

        line = (python, "-m", "penguin_classifier", "data=large")
        touched = "import sqlite3; sqlite3.connect('mlflow.db').execute('CREATE TABLE IF NOT EXISTS t{} (x)')"
        look = "import gc; gc.disable(); import mlflow; mlflow.MlflowClient().get_registered_model('%s')"
        look %= "penguin-classifier-large"
        found: dict[str, list[float]] = {}

        def measure(what: str, folder: Path, *words: str) -> None:
            found.setdefault(what, []).append(run(folder, *words))

        print(f"all, first time: ours {run(project, *line):.1f} s, DVC {run(bare, dvc, 'repro'):.1f} s", flush=True)
        run(project, *line)
        for turn in range(3):
            measure("import hydra", project, python, "-c", "import hydra")
            measure("ours, nothing changed", project, *line)
            measure("dvc repro, nothing changed", bare, dvc, "repro")
            run(project, python, "-c", touched.format(turn))
            measure("import mlflow and an alias", project, python, "-c", look)
            measure("ours, the store written to", project, *line)
            measure("the bare script, all", whole, python, "bare.py", "all", str(table), "5")
            measure("ours, evaluate changed", project, *line, f"evaluation.min_rows={100 + turn}")
            (bare / "params.yaml").write_text(f"repeats: {5 + turn / 1000}\n")
            measure("dvc repro, evaluate changed", bare, dvc, "repro")
            run(project, *line)
        middle = {what: sorted(each)[len(each) // 2] for what, each in found.items()}
        for what, seconds in middle.items():
            print(f"{what:<28} {seconds:6.2f} s   min {min(found[what]):.2f}  max {max(found[what]):.2f}")
        for what, beside in (
            ("ours, nothing changed", "import hydra"),
            ("ours, nothing changed", "dvc repro, nothing changed"),
            ("ours, the store written to", "import mlflow and an alias"),
            ("ours, evaluate changed", "the bare script, all"),
            ("dvc repro, evaluate changed", "the bare script, all"),
        ):
            print(f"{what} / {beside}: {middle[what] / middle[beside]:.2f}x")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)

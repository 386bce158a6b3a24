"""What a trial of `tune` costs beside a bare Optuna loop with the same folds, pipeline and MLflow runs, in one run.

make .venv/ready && .venv/bin/python benchmarks/tuning.py [trials]      needs uv and some minutes
"""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SPACES = {  # of parameters that hardly change what a fit costs
    "logistic": "{model: {C: {low: 0.5, high: 2.0, log: true}}}",
    "boosting": "{model: {learning_rate: {low: 0.04, high: 0.06, log: true}}}",
}
BARE = """
import sys
import mlflow, numpy as np, optuna, pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

model, table, trials = sys.argv[1], sys.argv[2], int(sys.argv[3])
rows = pd.read_parquet(table).query("split == 'train'").drop(columns=["split", "year"])
frame, target, scorer = rows.drop(columns="sex"), rows["sex"] == "male", get_scorer("roc_auc")
numbers = list(frame.select_dtypes("number"))
names = {"logistic": ("C", 0.5, 2.0), "boosting": ("learning_rate", 0.04, 0.06)}[model]

def candidate(value):
    if model == "logistic":
        last = LogisticRegression(C=value, max_iter=1000)
    else:
        last = HistGradientBoostingClassifier(learning_rate=value, max_iter=300, early_stopping=False, random_state=42)
    prepare = ColumnTransformer([
        ("numbers", make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()), numbers),
        ("texts", OneHotEncoder(handle_unknown="infrequent_if_exist", sparse_output=False), ["species", "island"]),
    ])
    return make_pipeline(prepare, last)

def objective(trial):
    with mlflow.start_run(run_name=f"trial-{trial.number}", nested=True):
        value = trial.suggest_float(*names, log=True)
        mlflow.log_params({names[0]: value})
        scores = []
        for step, (train, test) in enumerate(KFold(5, shuffle=True, random_state=42).split(frame)):
            fitted = candidate(value).fit(frame.iloc[train], target.iloc[train])
            scores.append(scorer(fitted, frame.iloc[test], target.iloc[test]))
            mlflow.log_metric("fold", scores[-1], step=step)
            trial.report(np.mean(scores), step)
            if trial.should_prune():
                raise optuna.TrialPruned()
        mlflow.log_metrics({"mean": np.mean(scores), "std": np.std(scores)})
        return np.mean(scores)

optuna.logging.set_verbosity(optuna.logging.ERROR)
with mlflow.start_run():
    sampler = optuna.samplers.TPESampler(seed=42)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=optuna.pruners.NopPruner())
    study.optimize(objective, n_trials=trials)
"""


def main(trials: int) -> None:
    """Runs both three times in turn; what a trial takes is told by when MLflow's runs of trials began and ended."""
    with tempfile.TemporaryDirectory() as scratch:
        words = [sys.executable, "-m", "cookiecutter", "--no-input", str(ROOT), "--output-dir", scratch]
        subprocess.run(words, check=True, capture_output=True)
        project = Path(scratch, "penguin-classifier")
        clean = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
        clean |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "ERROR"}
        clean |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # for both: small matrices gain nothing by more
        python = os.environ.get("PYTHON_OF_PROJECT", str(project / ".venv/bin/python"))

        def run(*words: str) -> None:
            done = subprocess.run(words, cwd=project, env=clean, capture_output=True, text=True)
            assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"

        def timed(*words: str) -> float:
            """The milliseconds from the begin of the second trial to the end of the last, for each."""
            run(*words)
            found = "SELECT start_time, end_time FROM runs WHERE name LIKE 'trial-%' ORDER BY start_time DESC LIMIT ?"
            times = sqlite3.connect(project / "mlflow.db").execute(found, [trials]).fetchall()
            return (times[0][1] - times[-1][0]) / trials

        if not Path(python).exists():
            run("uv", "sync", "--quiet")
        (project / "bare.py").write_text(BARE)
        line = (python, "-m", "penguin_classifier")
        run(*line, "split", "data=penguins")
        table = str(next(project.glob("outputs/split/*/table.parquet")))
        for model, space in SPACES.items():
            ours = [*line, "tune", "data=penguins", f"model={model}", f"tune.space={space}", "tune.jobs=1"]
            ours += ["tune.pruning=false", f"tune.trials={trials + 1}"]
            took: dict[str, list[float]] = {"ours": [], "bare": []}
            for _ in range(3):
                shutil.rmtree(project / "outputs/tune", ignore_errors=True)
                took["ours"].append(timed(*ours))
                took["bare"].append(timed(python, "bare.py", model, table, str(trials + 1)))
            for name, each in took.items():
                print(f"{model:<9} {name}: " + ", ".join(f"{one:.0f}" for one in each) + " ms a trial")
            print(
                f"{model:<9} ours / bare, the least of each: {min(took['ours']) / min(took['bare']):.2f}x", flush=True
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)

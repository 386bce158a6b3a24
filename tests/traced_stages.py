"""Runs command lines of a project and says which modules of its package each stage executes, and which are in its key.

    python traced_stages.py lines.json written.json penguin_classifier

`lines.json`: {"lane": [{"words": [...], "touch": true}, ...]}. The lines of a lane run one after the other on outputs
of their own, lanes at the same time, each line in a process forked from one that has imported the libraries and nothing
of the package. So what a line imports it executes. `written.json`: for each line its exit code, what it printed, and by
stage the modules "executed" and those in its "key". With "touch", also what `explain` says of each stage once a
constant is added to one module: {"machinery.data.splits": {"split": "would run: ...", ...}, ...}.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import traced

TUNING = "tune"


def line(package: str, lane: str, words: list[str], touch: bool) -> dict[str, Any]:
    """What one command line does, in this process."""
    outputs = Path(f"outputs/traced/{lane}").resolve()
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{outputs}/mlflow.db"
    outputs.mkdir(parents=True, exist_ok=True)
    words = [*words, f"platform.outputs={outputs}"]
    sys.path.insert(0, os.getcwd())
    folder = Path(package).resolve()
    executed: dict[str, list[str]] = {}
    keys: dict[str, list[str]] = {}
    hook(package, folder, executed, keys)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = importlib.import_module(f"{package}.__main__").main(words)
    result = {"words": words, "code": code, "printed": printed.getvalue(), "executed": executed, "key": keys}
    return result | ({"touched": touched(package, folder, words)} if touch else {})


def hook(package: str, folder: Path, executed: dict[str, list[str]], keys: dict[str, list[str]]) -> None:
    """Lets `executed` and `keys` be filled by the stages that run in this process, and by the search of `tune`."""
    # The runner is imported later, and so takes what stands here then.
    execution = importlib.import_module(f"{package}.machinery.pipeline.execution")
    plan = importlib.import_module(f"{package}.machinery.pipeline.plan")
    execute, modules, reachable = execution.execute, plan.Plan.modules, plan.CodeFingerprint.reachable

    def executing(function: Any, *args: Any, **more: Any) -> Any:
        name = function.__name__
        if name == TUNING:  # it brings stages up to date itself: of it, what scores a candidate is looked at
            scores(package, folder, executed)
            return execute(function, *args, **more)
        with traced.recording() as files:
            try:
                return execute(function, *args, **more)
            finally:
                executed[name] = sorted({*traced.modules(files, folder), *executed.get(name, [])})

    def loading(layout: Any, word: str) -> Any:
        with traced.recording() as files:  # the module's body, and those of the modules that it imports
            if word in layout.stages:
                importlib.import_module(f"{package}.stages.{word}")
        executed[word] = sorted(traced.modules(files, folder))
        return load(layout, word)

    def keyed(self: Any, stage: str, inputs: dict[str, Any]) -> list[str]:
        keys[stage] = modules(self, stage, inputs)
        return keys[stage]

    def reaching(self: Any, names: list[str]) -> list[str]:
        found = reachable(self, names)
        if "training" in names:  # only a search names the recipe itself
            keys[TUNING] = found
        return found

    layouts = importlib.import_module(f"{package}.machinery.layout")
    load = layouts.Layout.function
    execution.execute, plan.Plan.modules, plan.CodeFingerprint.reachable = executing, keyed, reaching
    layouts.Layout.function = loading


def scores(package: str, folder: Path, executed: dict[str, list[str]]) -> None:
    """Lets the modules that score a candidate of `tune` be recorded."""
    folds = importlib.import_module(f"{package}.machinery.jobs.tune.cross_validation").Folds
    score = folds.score

    def scoring(*args: Any, **more: Any) -> Any:
        with traced.recording() as files:
            try:
                return score(*args, **more)
            finally:
                executed[TUNING] = sorted({*traced.modules(files, folder), *executed.get(TUNING, [])})

    folds.score = scoring


def touched(package: str, folder: Path, words: list[str]) -> dict[str, dict[str, str]]:
    """What `explain` says of each stage once a constant is added to one module, module by module."""
    cli = importlib.import_module(f"{package}.machinery.cli")
    layout = importlib.import_module(f"{package}.machinery.layout").Layout(Path.cwd(), package)
    plan = cli._plan(layout, words[1:], Path.cwd(), None, time.time())

    def explained() -> dict[str, str]:
        fresh = type(plan)(layout, plan.config, plan.raw_config, plan.overrides, began=time.time())
        return {each.split()[0]: each.split(maxsplit=1)[1] for each in fresh.explained()}

    before = explained()
    assert all(each.startswith("up to date") for each in before.values()), before
    result = {}
    for file in sorted(folder.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        name = ".".join(file.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
        try:
            file.write_text(text + "\nADDED_CONSTANT = 1\n", encoding="utf-8")
            result[name] = explained()
        finally:
            file.write_text(text, encoding="utf-8")
    return result


def lane(package: str, name: str, lines: list[dict[str, Any]], file: Path) -> None:
    """Runs the lines of a lane, each in a fork; what they do is written to `file`, a line of JSON each."""
    for each in lines:
        process = os.fork()
        if not process:
            try:
                with file.open("a", encoding="utf-8") as stream:
                    print(json.dumps(line(package, name, each["words"], each.get("touch", False))), file=stream)
                os._exit(0)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
        if os.waitpid(process, 0)[1]:
            os._exit(1)


def main(lines: str, written: str, package: str) -> int:
    """The exit code: 0 where every line was run."""
    warnings.simplefilter("ignore")
    for name in (
        "great_expectations hydra matplotlib.figure mlflow mlflow.sklearn numpy pandas polars psutil skops.io optuna "
        "sklearn.compose sklearn.dummy sklearn.ensemble sklearn.inspection sklearn.linear_model sklearn.pipeline "
        "mlflow.store.tracking.sqlalchemy_store mlflow.store.model_registry.sqlalchemy_store mlflow.store.db.utils "
        "mlflow.store.artifact.local_artifact_repo alembic.command hydra.compose antlr4 sklearn.metrics jinja2"
    ).split():
        importlib.import_module(name)
    files, processes = {}, []
    for name, each in json.loads(Path(lines).read_text()).items():
        files[name] = Path(f"{written}.{name}")
        process = os.fork()
        if not process:
            lane(package, name, each, files[name])
            os._exit(0)
        processes.append(process)
    codes = [os.waitpid(process, 0)[1] for process in processes]
    results = [json.loads(text) for file in files.values() for text in file.read_text().splitlines()]
    Path(written).write_text(json.dumps(results), encoding="utf-8")
    return max(codes) and 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""A recorded run done again from nothing but what was recorded, and held to it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ProjectError
from ...evaluation import estimators
from ...layout import Layout
from ...mlflow import model_format, run_history
from ...pipeline.source_fingerprint import fingerprint
from ...pipeline.store import Store
from ...result import StageResult
from . import worktrees

COMPARED = (
    "test_",
    "baseline_",
    "validation_",
    "expectations",
    "rows_",
)  # scores that rest on nothing outside of a run


def reproduce(
    store: Store, *, run_id: str, registered_model: str, tolerance: float | None, layout: Layout
) -> StageResult:
    """Raises ProjectError where part of what was recorded is gone, and where results are further apart than allowed."""
    run_id = run_history.run_of(f"models:/{registered_model}/{run_id}" if run_id.isdigit() else run_id)
    tags, files = run_history.recorded(run_id)
    if gone := _gone(layout.root, tags, files):
        raise ProjectError(f"run {run_id} cannot be reproduced: {'; '.join(gone)}")
    lineage, config, commit = json.loads(files["lineage.json"]), json.loads(files["config.json"]), tags["git.commit"]
    with (
        tempfile.TemporaryDirectory() as scratch,
        worktrees.worktree(layout.root, commit, files.get("uncommitted.diff"), Path(scratch) / "tree") as tree,
    ):
        words = lineage["command"]["overrides"] + _data(store, lineage["input"], layout.root, tree)
        more = _extras(tags, (tree / "requirements.txt").read_text(encoding="utf-8"))
        python = worktrees.environment(Path(scratch) / "environment", tree, tags["machine.python"], more)
        again = Store(Path(scratch) / "outputs")
        words += [f"++platform.outputs='{again.root}'", "++platform.server=false"]
        stage = lineage["transformations"][-1]["stage"]
        command = ["-m", layout.package, "evaluate" if stage == "register" else stage, *words]
        worktrees.do([str(python), *command], tree, MLFLOW_TRACKING_URI=f"sqlite:///{scratch}/mlflow.db")
        told, apart = compare(lineage["transformations"], again, model_id=lineage["model_id"])
    allowed = tolerance if tolerance is not None else float(config["model"].get("_tolerance_", 0))
    lines = [f"{name:<9} {text}" for name, text in told.items()]
    worst = max(apart.values(), default=0.0)
    verdict = "identical to the bit" if worst == 0 else f"apart by up to {worst:.3g}, {allowed:g} allowed"
    outcome = StageResult(
        "\n".join([*lines, f"run {run_id[:8]} at commit {commit[:8]}: {verdict}"]),
        scores={f"apart_{name}": value for name, value in apart.items() if np.isfinite(value)},
        tags={"reproduces": run_id, "reproduced": verdict},
        texts={"reproduction.txt": "\n".join([*lines, verdict]) + "\n"},
    )
    if worst > allowed:
        raise ProjectError(f"run {run_id[:8]} is not reproduced: {verdict}\n" + "\n".join(lines), outcome)
    return outcome


def compare(steps: list[dict[str, Any]], again: Store, *, model_id: str) -> tuple[dict[str, str], dict[str, float]]:
    """For each stage a sentence on how its result compares, and how far apart the two are: 0 is the same to the bit."""
    told, apart = {}, {}
    made = {step["stage"]: _model(step) for step in steps if _model(step)}  # the digests of models, by stage
    for step in (each for each in steps if each["stage"] != "register"):
        stage, new = step["stage"], again.latest(step["stage"])["outcome"]
        kind = "predictions" if stage in made else {"validate": "counts", "evaluate": "scores"}.get(stage, "table")
        old = {name: value for name, value in step["scores"].items() if name.startswith(COMPARED)}
        gaps = {name: abs(value - new["scores"].get(name, np.inf)) for name, value in old.items()}
        worst = max(gaps, key=lambda name: gaps[name], default="")
        same = made[stage] == _model(new) if stage in made else _table(step) == _table(new)
        if same:
            apart[stage] = gaps.get(worst, 0.0)
            told[stage] = f"identical {kind}" if not apart[stage] else f"{worst} apart by {gaps[worst]:.3g}"
        elif stage in made:
            last = stage == list(made)[-1]  # the one that was logged
            apart[stage], told[stage] = _predictions(again, model_id) if last else (np.inf, "another model")
        else:
            apart[stage], told[stage] = np.inf, "another table"
    return told, apart


def _model(step: dict[str, Any]) -> str:
    """The digest of the model that a stage made; "" where it made none. Older lineages have it among the facts."""
    return step.get("model") or (step["facts"].get("digest", "") if "estimator" in step["facts"] else "")


def _table(step: dict[str, Any]) -> str | None:
    return step["facts"].get("digest")


def _predictions(again: Store, model_id: str) -> tuple[float, str]:
    """How far apart the predictions of the recorded model and of the new one are, on the same rows."""
    try:
        old, new = model_format.load(f"models:/{model_id}"), model_format.load(again.model)
        rows = again.table("split").head(10_000).collect()
        answers = [estimators.outputs(each.pipeline, each.frame(rows)) for each in (old, new)]
        distance = float(np.abs(answers[0] - answers[1]).max())
    except Exception as error:  # of a library of another version, most of all
        return np.inf, f"other predictions; how far apart cannot be told ({type(error).__name__}: {error})"
    return distance or np.finfo(float).tiny, f"other predictions, by up to {distance:.3g}"


def _extras(tags: dict[str, str], lock: str) -> list[str]:
    """The pins of libraries that a run used and its lock does not hold."""
    known = {name.removeprefix("version."): value for name, value in tags.items() if name.startswith("version.")}
    return [f"{name}=={value}" for name, value in known.items() if f"\n{name}==" not in f"\n{lock}"]


def _gone(root: Path, tags: dict[str, str], files: dict[str, str]) -> list[str]:
    """What cannot be had any more, in words."""
    if "command" not in json.loads(files.get("lineage.json", "{}")):
        return ["it has no lineage: it did not end, or it is no run of this project's line"]
    if "git.commit" not in tags:
        return ["it was made outside of git: there is no commit to go back to"]
    found = []
    if not worktrees.has(root, tags["git.commit"]):
        found.append(f"its commit {tags['git.commit']} is not in this repository: `git fetch` may bring it")
    if why := files.get("uncommitted.txt"):
        found.append(f"its uncommitted changes are gone ({why.strip()})")
    return found


def _data(store: Store, recorded: dict[str, Any], root: Path, tree: Path) -> list[str]:
    """Overrides that name the files of the source where they are now: in the commit, or else where the project is.

    Raises ProjectError where they are gone, or are no longer what they were.
    """
    source, words = dict(recorded["source"]), []
    for name, value in source.items():
        if isinstance(value, str) and (tree / value).exists():
            source[name] = str(tree / value)
        elif isinstance(value, str) and (root / value).exists():
            source[name] = str(root / value)
            words.append(f"++source.{name}='{source[name]}'")
    texts = [value for name, value in recorded["source"].items() if name != "_target_" and isinstance(value, str)]
    then, named = recorded["contents"], ", ".join(texts)
    if not then or "${" in named:
        return words  # nothing to know beforehand: what ingest reads will tell
    now = fingerprint(source, digest=store.digest)
    if now != then:
        raise ProjectError(f"the source ({named}) {'has changed since that run' if now else 'is gone'}")
    return words

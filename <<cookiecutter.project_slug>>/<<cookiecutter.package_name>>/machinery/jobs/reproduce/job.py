"""A run made again from its record alone, and compared with it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ...config import privacy
from ...errors import DataError, ProjectError
from ...evaluation import estimators
from ...layout import Layout
from ...mlflow import model_format, run_history
from ...pipeline import provenance
from ...pipeline.source_fingerprint import fingerprint, pinned
from ...pipeline.store import Store
from ...result import StageResult
from . import worktrees

# Scores that rest on nothing outside of a run.
COMPARED = ("test_", "baseline_", "validation_", "expectations", "rows_")


def reproduce(
    store: Store, *, run_id: str, registered_model: str, tolerance: float | None, layout: Layout
) -> StageResult:
    """How far the results of a run are from those of the same command, given again at its commit and by its lock.

    `run_id`: of a run, or a version's number, or a `models:/` address; `tolerance`: how far apart predictions and
    scores may be, None: as far as conf/model/ says. Raises ProjectError where part of the record is gone, and where
    results are further apart.
    """
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
        steps = [step for step in lineage["transformations"] if not _moves_aliases(step)]
        command = ["-m", layout.package, steps[-1]["stage"], *words]
        worktrees.do([str(python), *command], tree, MLFLOW_TRACKING_URI=f"sqlite:///{scratch}/mlflow.db")
        sentences, apart = compare(steps, again, model_id=lineage["model_id"])
    allowed = tolerance if tolerance is not None else float(config["model"].get("_tolerance_", 0))
    lines = [f"{name:<9} {text}" for name, text in sentences.items()]
    lines += files.get("uncommitted.txt", "").splitlines()  # what a difference may come from
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
    """For each stage how its new result compares with the recorded one, and how far apart they are: 0 is identical.

    ({"ingest": "identical table", "train": "other predictions, by up to 1e-09"}, {"ingest": 0.0, "train": 1e-09})
    """
    sentences, apart, table = {}, {}, ""
    for step in (each for each in steps if not _moves_aliases(each)):
        stage, new = step["stage"], again.latest(step["stage"])["outcome"]
        kind = _kind(step)
        old = {name: value for name, value in step["scores"].items() if name.startswith(COMPARED)}
        gaps = {name: abs(value - new["scores"].get(name, np.inf)) for name, value in old.items()}
        worst = max(gaps, key=lambda name: gaps[name], default="")
        if _digest(step) == _digest(new):
            apart[stage] = gaps.get(worst, 0.0)
            sentences[stage] = f"identical {kind}" if not apart[stage] else f"{worst} apart by {gaps[worst]:.3g}"
        elif kind == "predictions":
            apart[stage], sentences[stage] = _predictions(again, stage, table, model_id)
        else:
            apart[stage], sentences[stage] = np.inf, "another table"
        table = stage if kind == "table" else table
    return sentences, apart


def _digest(result: dict[str, Any]) -> str | None:
    """Of a model's answers, or of a table; older records have it among the facts."""
    return result.get("model") or result["facts"].get("digest")


def _kind(step: dict[str, Any]) -> str:
    """The kind of a recorded stage's result, by the files that it left."""
    if "model/MLmodel" in step.get("files", ()):
        return "predictions"
    scored = any(name.startswith("test_") for name in step["scores"])
    return "table" if "digest" in step["facts"] else "scores" if scored else "counts"


def _moves_aliases(step: dict[str, Any]) -> bool:
    """Whether a recorded stage changed the registry, which is not done again; older records have it in their facts."""
    return step.get("aliases") is not None or "alias" in step["facts"]


def _predictions(again: Store, stage: str, table: str, model_id: str) -> tuple[float, str]:
    """How far apart the predictions of the recorded model and of `stage`'s new one are, on the same rows of `table`."""
    try:
        old, new = model_format.load(f"models:/{model_id}"), model_format.load(again.path(stage) / "model")
        rows = again.table(table).head(10_000).collect()
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
    try:
        lineage, config = (json.loads(files.get(name, "{}")) for name in ("lineage.json", "config.json"))
        lineage["command"]["overrides"], lineage["input"]["source"], lineage["transformations"][-1], config["model"].get
    except (ValueError, LookupError, TypeError, AttributeError):
        return ["it has no lineage: it did not end, or it is no run of this project's line"]
    if "git.commit" not in tags:
        return ["it was made outside of git: there is no commit to go back to"]
    gone = []
    if not worktrees.has(root, tags["git.commit"]):
        gone.append(f"its commit {tags['git.commit']} is not in this repository: `git fetch` may bring it")
    if privacy.WITHHELD in files["lineage.json"]:
        gone.append("expectations that were typed are withheld (columns.sensitive)")
    if lost := [line for line in files.get("uncommitted.txt", "").splitlines() if line.startswith(provenance.LOST)]:
        gone.append(f"its uncommitted changes are gone ({'; '.join(lost)})")
    return gone


def _data(store: Store, recorded: dict[str, Any], root: Path, tree: Path) -> list[str]:
    """Overrides that name the files of the source where they are now: in the commit, or else in the project's folder.

    Raises DataError where they are gone, or have changed.
    """
    texts = [value for name, value in recorded["source"].items() if name != "_target_" and isinstance(value, str)]
    then, named = recorded["contents"], ", ".join(texts)
    version = pinned({}, then)  # of a table that remembers them
    for folders in ((tree, root), (root, tree)):  # a table that was changed since the commit is not in what is recorded
        source = recorded["source"] | version
        words = [f"++source.{name}={value}" for name, value in version.items()]
        for name, value in source.items():
            where = next((each for each in folders if isinstance(value, str) and (each / value).exists()), None)
            source[name] = str(where / value) if where else value
            words += [f"++source.{name}='{source[name]}'"] if where == root else []
        if not then or "${" in named:
            return words  # the table that is read will show it
        if (now := fingerprint(source, digest=store.digest)) == then:
            return words
    raise DataError(f"the source ({named}) {'has changed since that run' if now else 'is gone'}")

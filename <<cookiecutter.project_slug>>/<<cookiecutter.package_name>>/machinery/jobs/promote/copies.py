"""A version copied to another registry or name, where the gates decide what becomes of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError, ProjectError, one_line
from ...evaluation.copied import TRAINED
from ...mlflow import model_format, registry, tracking
from ...result import StageResult

if TYPE_CHECKING:
    from ...config.schema import Environment
    from ...layout import Layout
    from ...mlflow.registry import ModelVersion
    from ...pipeline.store import Store

_HERE = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")  # of this command's run


def copied_to(
    to: str, there: Environment, version: ModelVersion, store: Store, words: list[str], layout: Layout, decided: str
) -> StageResult:
    """What became of `version` in the environment `to`: there the line of `words` runs with it as the candidate, on the
    rows of the source. Raises ProjectError where it cannot be copied, and where that line fails."""
    name, address, here = there.registered_model, there.registry, tracking.address()
    if (name, address or here) == (version.name, here):
        raise ConfigError(f"to={to}: that is where it comes from: environments.{to} names another model or registry")
    if version.noted.trained is None:
        raise ProjectError(version.foreign)
    with store.workspace("promote", f"{version.version}-{version.noted.files[:16]}") as folder:
        model_format.download(version.uri, folder / "model", files=version.noted.files)
        store.replace(folder / TRAINED, json.dumps(asdict(version.noted.trained)))
        origin = f"tags.copied_from={version.uri} of {here}, {decided}"
        words = [*words, f"candidate={folder}", f"registered_model={name}", origin]
        done = _line(words, address, folder / "result.json", layout)
    made, at = done["registered"], f" of {address}" if address else ""
    where = f"{made['name']} version {made['version']}{at}"
    registry.note(version, {f"copied_to.{to}": f"{where}, {decided}"})
    lines = [f"{version.title} is {where}: {made['alias']}", *made["reasons"]]
    tags = {"registered": f"{made['name']}/{made['version']}", "copied_from": version.uri}
    return StageResult("\n".join(lines), scores=done["scores"], tags=tags, facts=made)


def _line(words: list[str], address: str | None, file: Path, layout: Layout) -> dict[str, Any]:
    """What the line did that was run with `words` in a process of its own, whose runs lie at `address`."""
    known = {name: value for name, value in os.environ.items() if name not in _HERE}
    known |= {"MLFLOW_TRACKING_URI": address, "MLFLOW_REGISTRY_URI": address} if address else {}
    command = [sys.executable, "-m", layout.package, layout.stages[-1], *words, f"result={file}"]
    done = subprocess.run(command, cwd=layout.root, env=known, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    told = json.loads(file.read_text("utf-8")) if file.exists() else {"cause": done.stderr.decode(errors="replace")}
    if done.returncode or not told["registered"]:
        raise ProjectError(f"nothing was copied: {one_line(told['cause'] or 'nothing was registered')}")
    return told

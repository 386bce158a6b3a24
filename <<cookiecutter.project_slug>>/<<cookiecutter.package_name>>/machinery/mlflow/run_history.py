"""The runs that MLflow has of earlier commands: read, and deleted."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow import ActiveRun, MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from ..errors import ProjectError, one_line
from . import catalog

RECORDED = ("config.json", "lineage.json", "uncommitted.diff", "uncommitted.txt")  # what a run is reproduced from
SOME = 1000  # runs deleted at once: an argument of a command has its length


@dataclass(frozen=True)
class Run:
    """The run of a command."""

    id: str
    name: str
    stage: str
    status: str
    start: int  # ms since 1970
    nested: list[str]  # the runs of its stages, and those within them
    reused: list[str]  # runs that made what it used again
    keys: set[str]  # of the outputs that it made or used
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]


def has(run_id: str) -> bool:
    """Whether the tracking store has the run `run_id`, not in its bin, and lets this user see it.

    A server with users gives "denied" also of a run that it never had: it looks for the permission first.
    """
    try:
        return MlflowClient().get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "PERMISSION_DENIED"):
            return False
        raise


def history() -> list[Run]:
    """The runs of commands in the active run's experiment, the newest first."""
    client, token, runs = MlflowClient(), None, []  # type: ignore[var-annotated]
    experiment = _active().info.experiment_id
    while token != "":
        page = client.search_runs([experiment], order_by=["attributes.start_time DESC"], page_token=token)
        runs, token = [*runs, *page], page.token or ""
    nested: dict[str, list[Any]] = {}
    for each in runs:
        nested.setdefault(each.data.tags.get("mlflow.parentRunId", ""), []).append(each)

    def below(run: Any) -> list[Any]:
        return [each for child in nested.get(run.info.run_id, []) for each in (*below(child), child)]

    return [
        Run(
            each.info.run_id,
            each.info.run_name,
            each.data.tags.get("stage", ""),
            each.info.status,
            each.info.start_time,
            nested=[child.info.run_id for child in below(each)],
            reused=[value for name, value in each.data.tags.items() if name.startswith("reused.")],
            keys={
                *(value for name, value in each.data.tags.items() if name.startswith("key.")),
                *(child.data.tags.get("stage.key", "") for child in nested.get(each.info.run_id, [])),
            },
            params=each.data.params,
            metrics=each.data.metrics,
            tags=each.data.tags,
        )
        for each in nested.get("", [])
    ]


def delete_runs(runs: list[str], models: list[str]) -> None:
    """Deletes `runs`: for good, with the `models` deleted before, in the embedded store; into its bin on a server."""
    client, address = MlflowClient(), mlflow.get_tracking_uri()
    for run_id in runs:
        client.delete_run(run_id)
    command = [sys.executable, "-m", "mlflow", "gc", "--backend-store-uri", address, "--tracking-uri", address]
    for start in range(0, len(runs) if address.startswith("sqlite:") else 0, SOME):
        ids = {"--run-ids": runs[start : start + SOME], "--logged-model-ids": models if start == 0 else []}
        words = [word for name, each in ids.items() if each for word in (name, ",".join(each))]
        done = subprocess.run([*command, *words], capture_output=True, text=True)
        if done.returncode:
            raise ProjectError(
                f"what was deleted is in the bin still, `mlflow gc` failed: {done.stderr.strip()[-500:]}"
            )


def recorded(run_id: str) -> tuple[dict[str, str], dict[str, str]]:
    """The tags of a command's run, or of that in which `run_id` is nested, and the texts that tell how it came."""
    client = MlflowClient()
    try:
        tags = client.get_run(run_id).data.tags
        if parent := tags.get("mlflow.parentRunId"):
            return recorded(parent)
        there = {each.path for each in client.list_artifacts(run_id)} & set(RECORDED)
        with tempfile.TemporaryDirectory() as folder:
            paths = {name: Path(client.download_artifacts(run_id, name, folder)) for name in there}
            return tags, {name: path.read_bytes().decode() for name, path in paths.items()}
    except MlflowException as error:
        raise ProjectError(f"run {run_id} cannot be had: {one_line(error)}") from error


def run_of(address: str) -> str:
    """The run that made the model at a `models:/` address; any other `address` is a run's id already."""
    match = re.fullmatch(r"models:/([^@]+)(?:/(\d+)|@(.+))", address)
    if not match:
        return address
    name, number, alias = match.groups()
    try:
        client = MlflowClient()
        version = client.get_model_version(name, number) if number else client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        raise ProjectError(f"{address} is not in the registry: {one_line(error.message)}") from error
    return version.run_id or ""


def versions(*, held: bool) -> dict[str, list[ModelVersion]]:
    """The versions that hold an alias, or those that hold none, by the run that made each."""
    if catalog.is_used():
        raise ProjectError("Unity Catalog does not say which versions hold an alias: delete old ones in its own pages")
    by_run: dict[str, list[ModelVersion]] = {}
    for each in MlflowClient().search_model_versions():
        if bool(each.aliases) == held:
            by_run.setdefault(each.run_id or "", []).append(each)
    return by_run


def delete_versions(versions: list[ModelVersion], *, runs: list[str], keys: Collection[str]) -> list[str]:
    """Deletes `versions`, and the models that `runs` logged but for stages with `keys`; gives the ids of those."""
    client = MlflowClient()
    for each in versions:
        client.delete_model_version(each.name, each.version)
    models = client.search_logged_models([_active().info.experiment_id], max_results=1000)
    gone = [model for model in models if model.source_run_id in runs and model.tags.get("stage.key") not in keys]
    for model in gone:
        client.delete_logged_model(model.model_id)
    return [model.model_id for model in gone]


def _active() -> ActiveRun:
    active = mlflow.active_run()
    assert active is not None
    return active

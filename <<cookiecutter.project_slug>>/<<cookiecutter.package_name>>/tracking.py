"""MLflow runs: where they go, what they carry, how they end."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mlflow
from mlflow import MlflowClient
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.exceptions import MlflowException

from .errors import Refused
from .outcomes import Outcome

ARTIFACTS = (".png", ".csv", ".html", ".md", ".txt")  # of an outcome's files, those that people look at
LIBRARIES = ("mlflow", "scikit-learn", "polars", "pandas", "numpy", "great-expectations", "hydra-core")
logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)  # warns that uv's environments have no pip


class _Named(MetaDataset):
    """A dataset by name, source and digest: MLflow's own would profile the table in memory."""

    @property
    def profile(self) -> None:
        return None


def connect(*, project: str, server: bool) -> list[str]:
    """Makes sure of the tracking store and of the experiment; gives sentences about what is not as it should be.

    Raises Refused where `server` is wanted and MLFLOW_TRACKING_URI names none, where the server does not answer, and
    for a store that another version of MLflow made.
    """
    address = mlflow.get_tracking_uri()
    remote = address.startswith(("http://", "https://"))
    if server and not remote and not address.startswith("databricks"):
        raise Refused(f"platform=server needs MLFLOW_TRACKING_URI to name a server; it is {address}")
    if remote:
        _refuse_silence(address)
    try:
        return _experiment(MlflowClient(), project, embedded=address.startswith("sqlite:"))
    except MlflowException as error:
        if "schema" in str(error):
            raise Refused(
                f"{address} was made by another MLflow than this one ({mlflow.__version__}): "
                f"`uv run mlflow db upgrade {address}` brings an older one up to date"
            ) from error
        raise Refused(f"{address}: {_line(error)}") from error


@contextmanager
def run(
    name: str,
    *,
    tags: dict[str, str],
    description: str = "",
    nested: bool = False,
    system_metrics: bool = False,
    private: bool = False,
) -> Iterator[str]:
    """The id of a new MLflow run, or of the one that `mlflow run` opened; one that fails carries its cause.

    Where values are `private`, the cause and the traceback are without what a library says, which may name some.
    """
    with mlflow.start_run(nested=nested, log_system_metrics=system_metrics) as active:
        mlflow.set_tags(
            {"mlflow.runName": name, **({"mlflow.note.content": description} if description else {}), **tags}
        )
        try:
            yield active.info.run_id
        except Exception as error:
            told = error.told(private) if isinstance(error, Refused) else f"{type(error).__name__}: {error}"
            mlflow.set_tag("cause", told[:4000] if isinstance(error, Refused) or not private else type(error).__name__)
            if not isinstance(error, Refused):
                lines = traceback.format_tb(error.__traceback__) if private else traceback.format_exception(error)
                mlflow.log_text("".join(lines), "traceback.txt")
            raise


def log_params(params: dict[str, str]) -> None:
    """Logs `params` to the active run; those that `mlflow run` logged as typed stay as they are."""
    known = mlflow.get_run(_active()).data.params
    mlflow.log_params({name: value[:6000] for name, value in params.items() if name not in known})


def log_texts(texts: dict[str, str]) -> None:
    """Logs each text to the active run as a file of that name."""
    for name, text in texts.items():
        mlflow.log_text(text, name)


def log_outcome(outcome: Outcome, folder: Path | None, *, at: str = "", model_id: str | None = None) -> None:
    """Logs the scores and tags of `outcome` to the active run, and its files in `folder` under the artifact path `at`.

    Scores are linked to the logged model `model_id`, so that its own page shows them.
    """
    mlflow.log_metrics(outcome.scores, model_id=model_id or None)
    mlflow.set_tags(outcome.tags)
    for file in sorted(folder.iterdir()) if folder else ():
        if file.suffix in ARTIFACTS:
            mlflow.log_artifact(str(file), at or None)


def rename(name: str) -> None:
    """Gives the active run a new name."""
    mlflow.set_tag("mlflow.runName", name)


def fail(run_id: str, cause: str) -> None:
    """Notes the cause on the run that `mlflow run` opened and will end as FAILED, where nothing else can be done."""
    with suppress(Exception):
        MlflowClient().set_tag(run_id, "cause", cause[:4000])


def log_dataset(*, name: str, digest: str, source: dict[str, Any]) -> None:
    """Names the table that the active run used; `source` as conf/ states it."""
    plain = {key: str(value) for key, value in source.items()}
    dataset = _Named(CodeDatasetSource(plain), name=name, digest=digest[:32])
    mlflow.log_input(dataset, context="training")


def git(root: Path) -> dict[str, str]:
    """Commit, branch and whether the work tree is dirty, as tags; none outside a git work tree."""
    commands = {"commit": "rev-parse HEAD", "branch": "branch --show-current", "status": "status --porcelain"}
    try:
        found = {
            name: subprocess.run(
                ["git", *command.split()], cwd=root, capture_output=True, text=True, check=True
            ).stdout.strip()
            for name, command in commands.items()
        }
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {
        "git.commit": found["commit"],
        "git.branch": found["branch"] or "(detached)",
        "git.dirty": str(bool(found["status"])).lower(),
    }


def versions() -> dict[str, str]:
    """The versions of the libraries that decide what a model is, as tags."""
    return {f"version.{name}": version(name) for name in LIBRARIES}


def autolog() -> None:
    """Switches MLflow's autologging of scikit-learn on; the model itself is logged by this package."""
    mlflow.sklearn.autolog(log_models=False, silent=True)


def look() -> str:
    """Where the active run is to be looked at: its address on a server, else the command that opens the UI."""
    address = mlflow.get_tracking_uri()
    if address.startswith("http"):
        return f"{address}/#/experiments/{mlflow.get_run(_active()).info.experiment_id}/runs/{_active()}"
    here = address == f"sqlite:///{Path.cwd() / 'mlflow.db'}"
    return "uv run mlflow ui" + ("" if here else f" --backend-store-uri {address}")


def _experiment(client: MlflowClient, project: str, *, embedded: bool) -> list[str]:
    """Sees to it that runs land in the project's experiment, where that can still be decided."""
    default = client.get_experiment("0") if embedded else None
    if default and default.name == "Default" and not client.get_experiment_by_name(project):
        client.rename_experiment("0", project)
    if run_id := os.environ.get("MLFLOW_RUN_ID"):  # under `mlflow run`, whose experiment cannot be changed any more
        name = client.get_experiment(client.get_run(run_id).info.experiment_id).name
        chosen = os.environ.get("MLFLOW_EXPERIMENT_NAME") or os.environ.get("MLFLOW_EXPERIMENT_ID")
        if name == project or (name != "Default" and chosen):
            return []
        return [f"this run is in the experiment {name}: MLFLOW_EXPERIMENT_NAME={project} puts the next in {project}"]
    if not (os.environ.get("MLFLOW_EXPERIMENT_NAME") or os.environ.get("MLFLOW_EXPERIMENT_ID")):
        mlflow.set_experiment(project)
    return []


def _refuse_silence(address: str) -> None:
    """MLflow itself retries an unreachable server for minutes before it says so."""
    parts = urlsplit(address)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), timeout=5).close()
    except (OSError, ValueError) as error:
        where = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        raise Refused(f"the tracking server {where} does not answer ({error}): check MLFLOW_TRACKING_URI") from error


def _active() -> str:
    active = mlflow.active_run()
    assert active is not None
    return active.info.run_id


def _line(error: Exception) -> str:
    return " ".join(str(error).split())

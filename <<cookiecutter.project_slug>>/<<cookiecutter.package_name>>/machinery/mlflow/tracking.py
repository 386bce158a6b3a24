"""MLflow runs: where they go, what they carry, how they end."""

from __future__ import annotations

import logging
import os
import re
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
from dotenv import dotenv_values
from mlflow import MlflowClient
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.databricks_utils import get_databricks_host_creds

from ..errors import INTERRUPTED, ConfigError, ProjectError, one_line
from ..result import PAGES, RECORD, StageResult
from . import run_history, stores

ARTIFACTS = (".png", ".csv", ".html", ".md", ".txt", ".json")  # of an outcome's files, those that people look at
KIND = {"mlflow.experimentKind": "custom_model_development"}  # else the UI takes runs without a model for chats
RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
FLAVORS = {"xgboost": "xgboost", "lightgbm": "lightgbm", "lightning": "pytorch"}  # of libraries beside scikit-learn
LIBRARIES = ("mlflow", "scikit-learn", "polars", "pandas", "numpy", "great-expectations", "hydra-core")
logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)  # warns that uv's environments have no pip


_hide: Callable[[str], str] = str  # what `connect` was given


class _Named(MetaDataset):
    """A dataset by name, source and digest: MLflow's own would profile the table in memory."""

    @property
    def profile(self) -> None:
        return None


def connect(*, experiment: str, server: bool, hide: Callable[[str], str]) -> list[str]:
    """Makes the tracking store and the experiment where they are not there; gives sentences about where runs are.

    `hide`: takes credentials out of a text that is about to be written down.
    Raises ProjectError as `check_server` does, and for a store that another version of MLflow made.
    """
    global _hide
    _hide = hide
    address, registry = stores.check_server(server=server), mlflow.get_registry_uri()
    with stores.sentences_of_stores():
        for each in {address, registry}:
            if each.startswith("sqlite:"):
                stores.make_embedded(each)
        if registry != address:
            MlflowClient().search_registered_models(max_results=1)
        notes = _experiment(MlflowClient(), experiment, embedded=address.startswith("sqlite:"))
    named = (dotenv_values(".env", encoding="utf-8-sig").get(stores.TRACKING) or "").rstrip("/")
    if os.environ.get("MLFLOW_RUN_ID") and re.match("http|databricks", named) and named != address.rstrip("/"):
        way_out = "`uv run --env-file .env mlflow run ...` hands it to MLflow, which does not read that file"
        notes.append(_hide(f".env names {named}, and this run is in {address}: {way_out}"))
    return notes


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
    hidden = {key: _hide(value) for key, value in tags.items()}
    with mlflow.start_run(
        run_name=name,
        nested=nested,
        tags=hidden,  # from the first moment on: a killed one carries them, see end_orphaned_runs
        description=_hide(description) or None,
        log_system_metrics=system_metrics,
    ) as active:
        try:
            stores.refuse_unreadable(active.info.artifact_uri)
            yield active.info.run_id
        except KeyboardInterrupt:
            mlflow.set_tags({"cause": "interrupted", "exit_code": str(INTERRUPTED)})
            mlflow.end_run("KILLED")
            raise
        except Exception as error:
            if stores.silence():  # the next run ends this one, see end_orphaned_runs
                with suppress(Exception), _at_once():
                    mlflow.end_run("FAILED")
                raise
            sentence = as_project_error(error, private)
            mlflow.set_tags({"cause": str(sentence)[:4000], "exit_code": str(sentence.code)})
            _log_traceback(active.info.run_id, error, private)
            raise


def begin(name: str, *, tags: dict[str, str]) -> str:
    """The id of a new run nested in the active one, without being active itself: several may be under way at once."""
    active = mlflow.active_run()
    assert active is not None
    hidden = {key: _hide(value) for key, value in tags.items()} | {"mlflow.parentRunId": active.info.run_id}
    return MlflowClient().create_run(active.info.experiment_id, run_name=name, tags=hidden).info.run_id


def end(
    run_id: str,
    status: str,
    *,
    params: dict[str, str],
    scores: dict[str, float],
    curves: dict[str, list[float]],
    tags: dict[str, str],
    error: Exception | None = None,
    private: bool = False,
) -> None:
    """Ends a run that `begin` gave as FINISHED, FAILED or KILLED; `curves`: a value for each step from 0 on.

    Of an `error`, the run carries the cause; where values are `private`, without what a library says.
    """
    client, now = MlflowClient(), int(time.time() * 1000)
    if error:
        tags = {**tags, "cause": sentence_of(error, private)}
        _log_traceback(run_id, error, private)
    metrics = [Metric(name, value, now, 0) for name, value in scores.items()]
    metrics += [Metric(name, value, now, step) for name, values in curves.items() for step, value in enumerate(values)]
    client.log_batch(
        run_id,
        metrics=metrics,
        params=[Param(name, _hide(value)[:6000]) for name, value in params.items()],
        tags=[RunTag(name, _hide(value)[:4000]) for name, value in tags.items()],
    )
    client.set_terminated(run_id, status)


def sentence_of(error: Exception, private: bool) -> str:
    """One sentence about `error`, without credentials and, where values are `private`, without a library's words."""
    return str(as_project_error(error, private))


def as_project_error(error: Exception, private: bool) -> ProjectError:
    """`error` as one of the project's, of its own kind where it has one, with the sentence that `sentence_of` gives."""
    if isinstance(error, ProjectError):
        kind = next(each for each in type(error).__mro__ if each.__module__ == ProjectError.__module__)
        return kind(_hide(error.sentence(private)))
    if refused := stores.refusal(error):
        return type(refused)(_hide(str(refused)))
    reason = "its text is withheld (columns.sensitive)" if private else one_line(error)
    return ProjectError(_hide(f"{type(error).__name__}: {reason}; traceback.txt of the run tells where"))


def end_orphaned_runs(dead: Callable[[str], bool]) -> None:
    """Ends the runs whose process is `dead`, which nobody else would: they would look as if they were under way."""
    client, active = MlflowClient(), mlflow.active_run()
    assert active is not None
    for each in client.search_runs([active.info.experiment_id], "attributes.status = 'RUNNING'"):
        process = each.data.tags.get("process")
        if process and each.info.run_id != active.info.run_id and dead(process):
            client.set_tag(each.info.run_id, "cause", "its process was killed, or its machine stopped")
            client.set_terminated(each.info.run_id, "KILLED")


def log_params(params: dict[str, str]) -> None:
    """Logs `params` to the active run; those that `mlflow run` logged as typed stay as they are."""
    known = mlflow.get_run(_active()).data.params
    mlflow.log_params({name: _hide(value)[:6000] for name, value in params.items() if name not in known})


def log_progress(step: int, **values: float) -> None:
    """Adds `values` to the curves of the active run while it runs: log_progress(40, loss=0.31)."""
    now = int(time.time() * 1000)
    MlflowClient().log_batch(_active(), metrics=[Metric(name, value, now, step) for name, value in values.items()])


def log_costs(costs: dict[str, float], model_id: str | None = None) -> None:
    """Logs seconds, milliseconds and megabytes as metrics of the active run, and of the logged model `model_id`."""
    mlflow.log_metrics(costs, model_id=model_id or None)


def log_texts(texts: dict[str, str]) -> None:
    """Logs each text to the active run as a file of that name."""
    for name, text in texts.items():
        mlflow.log_text(_hide(text), name)


def log_outcome(outcome: StageResult, folder: Path | None, *, at: str = "", model_id: str | None = None) -> None:
    """Logs the scores and tags of `outcome` to the active run, and its files in `folder` under the artifact path `at`.

    Scores are linked to the logged model `model_id`, so that its own page shows them.
    """
    mlflow.log_metrics(outcome.scores, model_id=model_id or None)
    steps = [(f"curve_{name}", at, value) for name, curve in outcome.curves.items() for at, value in curve]
    now = int(time.time() * 1000)
    MlflowClient().log_batch(_active(), metrics=[Metric(name, value, now, at) for name, at, value in steps])
    set_tags(outcome.tags)
    for file in sorted(folder.iterdir()) if folder else ():
        if file.suffix in ARTIFACTS and file.name != RECORD:  # a later stage's page replaces an earlier one's
            mlflow.log_artifact(str(file), None if file.name in PAGES else at or None)


def link(made: dict[str, str], about: str, run_id: str | None = None, **tags: str) -> None:
    """Says on a run, else the active one, which runs `made` the stages that it used again: tags, and links to click."""
    client = MlflowClient()
    run_id = run_id or _active()
    if made:
        experiment = client.get_run(run_id).info.experiment_id
        links = ", ".join(f"[{stage}](#/experiments/{experiment}/runs/{made[stage]})" for stage in made)
        tags |= {f"reused.{stage}": each for stage, each in made.items()}
        tags["mlflow.note.content"] = f"{about}\n\nReused: {links}"
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])


def chart(name: str, metrics: dict[str, float], *, experiment: str, tags: dict[str, str]) -> None:
    """Adds `metrics` as the next points to the run `name` of `experiment`, which MLflow's UI draws as lines."""
    client = MlflowClient()
    there = client.get_experiment_by_name(experiment)
    where = there.experiment_id if there else client.create_experiment(experiment, tags=KIND)
    runs = client.search_runs([where], f"attributes.run_name = '{name}'", order_by=["attributes.start_time ASC"])
    line = runs[0] if runs else client.create_run(where, run_name=name)
    step, now = int(line.data.tags.get("checks", "0")) + 1, int(time.time() * 1000)
    points = [Metric(key, value, now, step) for key, value in metrics.items()]
    noted = [RunTag(key, _hide(value)) for key, value in {**tags, "checks": str(step)}.items()]
    client.log_batch(line.info.run_id, metrics=points, tags=noted)
    client.set_terminated(line.info.run_id)


def set_tags(tags: dict[str, str]) -> None:
    """Puts `tags` on the active run."""
    mlflow.set_tags({name: _hide(value) for name, value in tags.items()})


def rename(name: str) -> None:
    """Gives the active run a new name."""
    mlflow.set_tag("mlflow.runName", name)


def fail(run_id: str, cause: str, code: int) -> None:
    """Notes cause and exit code on the run that `mlflow run` opened, and will end as FAILED."""
    with suppress(Exception), _at_once():  # the sentence is printed in any case
        MlflowClient().set_tag(run_id, "cause", _hide(cause)[:4000])
        MlflowClient().set_tag(run_id, "exit_code", str(code))


def experiment_id() -> str:
    """The id of the active run's experiment."""
    active = mlflow.active_run()
    assert active is not None
    return active.info.experiment_id


def describe_experiment(name: str, description: str, tags: dict[str, str]) -> None:
    """Gives the active run's experiment a description and `tags`, if it is called `name` and has no description."""
    client = MlflowClient()
    it = client.get_experiment(experiment_id())
    if it.name == name and "mlflow.note.content" not in it.tags:
        tags, number = {"mlflow.note.content": description or name, **KIND, **tags}, it.experiment_id
        shown = {key: _hide(value) for key, value in tags.items()}
        stores.describe_once(shown, partial(client.set_experiment_tag, number), partial(client.get_experiment, number))


def runs_page() -> str:
    """The address of the page that shows the active run's experiment, in a browser that never saw MLflow as well; ""
    where it is not known.

    Such a browser opens MLflow on its pages for language models, where no run of ours is.
    """
    address = mlflow.get_tracking_uri()
    if address.startswith("databricks"):
        return ""
    start = _hide(address) if address.startswith("http") else "http://localhost:5000"
    return f"{start}/#/experiments/{experiment_id()}/runs?workflowType=machine_learning"


def log_dataset(*, name: str, digest: str, source: dict[str, Any]) -> None:
    """Names the table that the active run used; `source` as conf/ states it."""
    plain = {key: str(value) for key, value in source.items()}
    dataset = _Named(CodeDatasetSource(plain), name=name, digest=digest[:32])
    try:
        mlflow.log_input(dataset, context="training")
    except MlflowException as error:
        if "INTO datasets" not in str(error):
            raise
        mlflow.log_input(dataset, context="training")  # of two that name it first at one moment, MLflow lets one


def versions() -> dict[str, str]:
    """The versions of the libraries that decide what a model is, as tags."""
    return {f"version.{name}": version(name) for name in LIBRARIES}


@contextmanager
def autologged(estimator: Any) -> Iterator[None]:
    """MLflow's autologging of the library of `estimator`, for the block; this package logs models and data itself."""
    parts = [part for each in type(estimator).__mro__ for part in each.__module__.split(".")]
    flavor = next((FLAVORS[part] for part in parts if part in FLAVORS), "sklearn")
    autolog = import_module(f"mlflow.{flavor}").autolog
    less = {"checkpoint": False} if flavor == "pytorch" else {}  # it would pickle them
    autolog(log_models=False, log_datasets=False, silent=True, **less)
    try:
        yield
    finally:
        autolog(disable=True, silent=True)


def address() -> str:
    """The address of the tracking store, as it may be written down."""
    return _hide(mlflow.get_tracking_uri())


def ui_hint() -> str:
    """Where people can look at the active run: its address on a server, else the command that opens the UI."""
    address = mlflow.get_tracking_uri()
    run = f"experiments/{experiment_id()}/runs/{_active()}"
    if address.startswith("databricks"):
        return f"{get_databricks_host_creds(address).host}/ml/{run}"
    if address.startswith("http"):
        return f"{_hide(address)}/#/{run}"
    here = address == f"sqlite:///{Path.cwd() / 'mlflow.db'}"
    return "uv run mlflow ui" + ("" if here else f" --backend-store-uri {address}")


def _experiment(client: MlflowClient, wanted: str, *, embedded: bool) -> list[str]:
    """Sees to it that runs land in the experiment `wanted`, where that can still be decided."""
    default = client.get_experiment("0") if embedded else None
    if default and default.name == "Default" and not client.get_experiment_by_name(wanted):
        client.rename_experiment("0", wanted)
    chosen = os.environ.get("MLFLOW_EXPERIMENT_NAME") or os.environ.get("MLFLOW_EXPERIMENT_ID")
    if run_id := os.environ.get("MLFLOW_RUN_ID"):  # under `mlflow run`, whose experiment cannot be changed any more
        name = client.get_experiment(_open(client, run_id).info.experiment_id).name
        if name == wanted or (name != "Default" and chosen):
            return []
        return [f"this run is in the experiment {name}: MLFLOW_EXPERIMENT_NAME={wanted} puts the next in {wanted}"]
    if not chosen:
        mlflow.set_experiment(wanted)
        return []
    number = os.environ.get("MLFLOW_EXPERIMENT_ID")
    try:
        there = client.get_experiment(number) if number else client.get_experiment_by_name(chosen)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise ConfigError(f"MLFLOW_EXPERIMENT_ID={number} is no experiment of {address()}: unset it") from error
    if there and there.lifecycle_stage != "active":
        named = f"ID={number}" if number else f"NAME={chosen}"
        raise ConfigError(f"MLFLOW_EXPERIMENT_{named} is an experiment that was deleted: unset it")
    return []


def _open(client: MlflowClient, run_id: str) -> Run:
    """The run that MLFLOW_RUN_ID names, which is to become this command's."""
    run = client.get_run(run_id) if run_history.has(run_id) else None
    if not run or run.info.status == "FINISHED":
        what = "a run that has ended" if run else f"no run of {address()}"
        raise ConfigError(f"MLFLOW_RUN_ID={run_id} is {what}: `mlflow run` sets it for its own command; unset it")
    return run


def _active() -> str:
    active = mlflow.active_run()
    assert active is not None
    return active.info.run_id


def _log_traceback(run_id: str, error: Exception, private: bool) -> None:
    """Logs where `error` came from, unless a sentence says all there is to say."""
    if not isinstance(error, ProjectError):
        lines = traceback.format_tb(error.__traceback__) if private else traceback.format_exception(error)
        with suppress(Exception), _at_once():  # artifacts may be what fails
            MlflowClient().log_text(run_id, _hide("".join(lines)), "traceback.txt")


@contextmanager
def _at_once() -> Iterator[None]:
    """What fails in the block is not tried again: something has failed already, and people wait for its sentence."""
    before = os.environ.get(RETRIES)
    os.environ[RETRIES] = "0"
    try:
        yield
    finally:
        os.environ.pop(RETRIES) if before is None else os.environ.update({RETRIES: before})

"""Whether a registered model is still right: for the rows of a table, or where it is served."""

from __future__ import annotations

import os
from dataclasses import replace
from glob import escape, glob
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError, ProjectError
from ...evaluation.bootstrap import Bootstrap
from ...mlflow import tracking
from ...result import StageResult
from ...serving import inputs
from . import alerts, content, rows
from .assessment import assess
from .endpoint import probe

if TYPE_CHECKING:
    from ...config.schema import Columns, Drift, Evaluation, Task, Type
    from ...pipeline.store import Store

WEBHOOK = "ALERT_WEBHOOK_URL"  # in the environment


def monitor(
    store: Store,
    *,
    input: str | None,
    query: str | None,
    version: str | None,
    endpoint: str | None,
    requests: int,
    max_latency_ms: float | None,
    drift: Drift,
    registered_model: str,
    project: str,
    experiment_name: str,
    source: dict[str, Any],
    columns: Columns,
    missing: list[str],
    types: dict[str, Type],
    task: Task,
    expectations: list[dict[str, Any]],
    evaluation: Evaluation,
    seed: int,
    choices: dict[str, str],
    raw_config: dict[str, Any],
) -> StageResult:
    """Compares the rows of `input`, or of the source, or the server at `endpoint` with the champion, or with `version`.

    An alarm ends the command with exit code 3. The webhook of the environment gets its sentence, and the sentence of a
    ProjectError, which is raised where rows cannot be read or lack a column.
    """
    try:
        chosen = inputs.version(registered_model, version, data=choices["data"])
        if endpoint is not None:
            if input is not None or query is not None:
                raise ConfigError("input and endpoint are two questions: ask one, then the other")
            result = probe(chosen, endpoint, requests=requests, max_latency_ms=max_latency_ms)
        else:
            monitored = rows.load_model(chosen, columns=columns, types=types, missing=missing, task=task)
            read_by, name = inputs.described(input, query=query, source=source, names=types, typed=raw_config["input"])
            observed = rows.observe(monitored, read_by, name=name, store=store, is_source=not input)
            bootstrap = Bootstrap(replace(columns, target=monitored.target), task, evaluation, seed)
            assessment = assess(monitored, observed, bootstrap, drift, expectations)
            result = content.result(monitored, observed, assessment, drift, evaluation)
            if input and (journals := glob(f"{escape(input)}/.*.jsonl")):  # of a log of answers
                result.notes += [f"journals of the running hour are not read yet: {len(journals)}"]
    except ProjectError as error:
        _alert(f"{registered_model} could not be watched: {tracking.sentence_of(error, bool(columns.sensitive))}")
        raise
    place = experiment_name if experiment_name.startswith("/") else project  # Databricks has paths
    tracking.chart(registered_model, result.scores, experiment=f"{place}-monitoring", tags=result.tags)
    if result.code:
        failure = _alert(result.summary, model=chosen.name, version=chosen.version, look=tracking.ui_hint())
        result.notes += [failure] if failure else []
    return result


def _alert(text: str, **about: Any) -> str | None:
    """Sends `text` where a webhook is set; a sentence where that failed."""
    address = os.environ.get(WEBHOOK)
    return alerts.send(address, text, **about) if address else None

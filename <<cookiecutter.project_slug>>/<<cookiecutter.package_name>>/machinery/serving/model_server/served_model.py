"""The model behind the server: its answers come out of a cache where they are there, and go into a log."""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pandas as pd

from . import CHECK
from .answer_cache import AnswerCache
from .answer_log import AnswerLog

REQUEST: ContextVar[tuple[str, float]] = ContextVar("REQUEST")  # its id, and when it came by time.perf_counter


class ServedModel:
    """`model`, a loaded pyfunc that takes the columns `inputs`, as MLflow's scoring server takes one."""

    def __init__(
        self, model: Any, *, inputs: Collection[str], cache: AnswerCache | None, log: AnswerLog | None
    ) -> None:
        self.metadata, self._inputs = model.metadata, inputs
        self._model, self._cache, self._log = model, cache, log

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        """What the model answers to `data`: a record for each row of a table, which is what the server makes of it."""
        began = time.perf_counter()
        if params or not isinstance(data, pd.DataFrame) or data.empty or not data.columns.is_unique:
            return self._model.predict(data, params=params)
        answers = self._cache.answers(data, self._answers) if self._cache else self._answers(data)
        number, came = REQUEST.get(("", began))
        if self._log and number != CHECK and isinstance(answers, list):
            self._log.add(data, answers, request_id=number, seconds=time.perf_counter() - came)
        return answers

    def _answers(self, data: pd.DataFrame) -> Any:
        taken = [name for name in data if name in self._inputs]  # of others MLflow warns with every request
        answers = self._model.predict(data[taken] if taken else data)
        of_rows = isinstance(answers, pd.DataFrame) and len(answers) == len(data)
        return answers.to_dict("records") if of_rows else answers

    def close(self) -> None:
        """Makes files of what was logged."""
        if self._log:
            self._log.close()


def layered(model: Any, identity: dict[str, str], settings: dict[str, Any]) -> ServedModel:
    """`model` with the cache and the log that `settings` ask for; `identity`: its name, version and own id.

    {"cache": {"address": "redis://...", "seconds": 3600, "personal": False},
     "log": {"folder": "answers", "seconds": 3600, "megabytes": 1000, "key": ["id"], "columns": ["a"], "leave_out": [],
             "answers": True}}
    Of rows that is logged which the model takes, with the columns of `key`, and `columns` that the one beside it takes,
    but not what to `leave_out`.
    """
    inputs = (model.metadata.metadata or {}).get("inputs", {})
    cache, log = (dict(settings.get(name) or {}) for name in ("cache", "log"))
    if (cache or log) and not inputs:
        raise SystemExit("this model does not say which columns it takes: serve it without a cache and without a log")
    if log:
        left_out, key = log.pop("leave_out"), log.pop("key")
        also = [name for name in log.pop("columns") if name not in (*inputs, *left_out)]
        kinds = {name: inputs.get(name, "") for name in [*key, *inputs, *also] if name not in left_out}
        about = {name: identity[name] for name in ("model", "version")} | {"also": json.dumps(also)}
        log = {**log, "folder": Path(log["folder"]), "kinds": kinds, "about": about}
    return ServedModel(
        model,
        inputs=inputs,
        cache=AnswerCache(names=list(inputs), fingerprint=identity["model_id"], **cache) if cache else None,
        log=AnswerLog(**log) if log else None,
    )

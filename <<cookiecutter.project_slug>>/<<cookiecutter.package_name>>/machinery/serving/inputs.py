"""Rows that a registered model is asked about: which model, and its columns out of whatever holds them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ..config.binding import bound
from ..config.schema import Type
from ..data import formats, parsing, sources
from ..errors import ProjectError
from ..mlflow import registry, run_history
from ..pipeline.source_fingerprint import fingerprint
from ..pipeline.store import Store

if TYPE_CHECKING:
    from ..config.schema import Task
    from ..model.loader import Model

LOGGED_ONCE = ["log.request", "log.row"]  # columns that identify a row of a log of answers
ROWS = 20_000  # asked about at a time
READ_AS = {"number": "number", "boolean": "boolean", "date": "datetime"}  # texts, where `types` says nothing
SUITS: dict[str, Any] = {  # what a column may hold
    "number": lambda dtype: dtype.is_numeric() or dtype in (pl.Duration, pl.Time),
    "boolean": lambda dtype: dtype == pl.Boolean,
    "date": lambda dtype: dtype in (pl.Date, pl.Datetime),
    "text": lambda dtype: dtype in (pl.String, pl.Categorical, pl.Enum),
}


def version(name: str, wanted: str | None, *, data: str, key: str = "version") -> registry.ModelVersion:
    """The version of the model `name` that is `wanted` by `key`, its number or an alias; None: the champion."""
    held = registry.aliases(name)
    number = held.get(wanted or "champion", {}).get("version", wanted or "")
    if number.isdigit() and (version := registry.version(name, number)):
        return version
    groups = [group for is_held in (True, False) for group in run_history.versions(held=is_held).values()]
    numbers = sorted(int(each.version) for group in groups for each in group if each.name == name)
    there = f"it has {', '.join(map(str, numbers))}, taken as {key}=..." if numbers else "it has no version yet"
    if wanted not in (None, "champion"):
        raise ProjectError(f"{key}={wanted} of {name} is not there: {there}")
    made = f"`mlflow run .` with data={data} makes one if its gate passes, or `-e promote`"
    raise ProjectError(f"{name} has no champion: {made}; {there}")


def label_type(model: Model, target: str | None, task: Task) -> dict[str, Type]:
    """How texts in the column `target` are read: as the labels that `model` knows; {} where they stay texts."""
    labels = getattr(model.pipeline, "classes_", np.array([0.0] if task.kind == "regression" else []))
    read_as = {"i": "integer", "u": "integer", "f": "number", "b": "boolean"}.get(labels.dtype.kind)
    return {target: Type(read_as)} if target and read_as and labels.size else {}


def described(
    input: str | None, *, query: str | None, source: dict[str, Any], names: Collection[str], typed: str | None
) -> tuple[dict[str, Any], str]:
    """How the rows of `input`, or else of the `source`, are read, and what they are called in a sentence.

    `names`: some of its columns. An input, `typed` on the command line, is called by its last part, or by the variable
    that holds its address.
    """
    if not input or not typed:
        return source, "the source"
    named = typed if "${" in typed else Path(typed.partition("?")[0]).name
    guessed, _ = formats.guess(input, query=query, names=names)
    return formats.like(guessed, source), named


def opened(store: Store, stage: str, read_by: dict[str, Any]) -> tuple[list[pl.LazyFrame], str]:
    """The table that `read_by` describes as a source, in parts, and its digest; what cannot be read again as it was is
    kept.

    Of a log of answers each row once, that a second server was asked about too.
    """
    parts = store.engine.open(bound(read_by, name="input"), store.path(stage))
    if set(LOGGED_ONCE) <= set(parts[0].collect_schema()):
        parts = [pl.concat(parts).unique(LOGGED_ONCE, keep="first", maintain_order=True)]
    if digest := fingerprint(read_by, digest=store.digest):
        return parts, digest
    digest = store.save_parts(stage, pl.LazyFrame.lazy, parts)
    return store.parts(stage), digest


def selected(
    raw: pl.LazyFrame,
    kinds: dict[str, str],
    *,
    extra: list[pl.Expr],
    types: dict[str, Type],
    missing: list[str],
    named: str,
) -> tuple[pl.LazyFrame, dict[str, Type]]:
    """The columns of `raw` that a model takes (`kinds`) and the `extra` ones, texts parsed; types they are read as.

    Raises ProjectError for a column that holds what the model does not take.
    """
    schema = raw.collect_schema()
    guessed = {name: Type(READ_AS[kind]) for name, kind in kinds.items() if kind in READ_AS}
    table = raw.select(*kinds, *extra)
    names = table.collect_schema().names()
    read = {name: type_ for name, type_ in guessed.items() if schema[name] == pl.String}
    read |= {name: type_ for name, type_ in types.items() if name in names}
    typed = parsing.read(table, read, missing=missing)
    for name, dtype in typed.collect_schema().items():
        if name in kinds and dtype != pl.Null and not SUITS[kinds[name]](dtype):
            raise ProjectError(
                f"column {name} of {named} holds {dtype}, and the model takes a {kinds[name]}: "
                f"types.{name} can say how it is read"
            )
    return typed, read


def batches(table: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """The rows of `table`, ROWS at a time. Raises sources.Unreadable for a value that cannot be read."""
    with sources.reading():
        yield from (rows for rows in table.collect_batches(chunk_size=ROWS, lazy=True) if len(rows))

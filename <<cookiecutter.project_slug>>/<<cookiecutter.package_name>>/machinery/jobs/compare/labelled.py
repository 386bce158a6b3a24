"""Two versions of a model on the same rows, which people asked about, once the labels of these have come.

Who answered a row does not matter: both versions are asked about it again, and as both are scored on the same rows, the
difference is as sure as that of the gate. Rows that were answered before both versions were there are left out: one of
them may have been trained on these.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import astuple, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from ...data import frames, sources
from ...errors import ConfigError, ProjectError
from ...evaluation.scored_model import score_model
from ...mlflow import model_format, registry
from ...result import StageResult
from ...serving import inputs

if TYPE_CHECKING:
    from ...evaluation.bootstrap import Bootstrap
    from ...mlflow.registry import ModelVersion
    from ...model.loader import Model
    from ...pipeline.store import Store

AT = "log.time"  # the column of a log of answers that says when
KEEPER = ["log.version", "log.also"]  # those that say which were kept: what that version takes, and which more
_SCORED = 100_000  # rows at most, evenly spread


def pair(versions: list[str], name: str, *, data: str) -> list[ModelVersion]:
    """The two `versions` of the model `name`, by their numbers or aliases."""
    both = [inputs.version(name, each, data=data) for each in versions]
    if len({each.version for each in both}) != 2 or len(both) != 2:
        raise ConfigError(f"versions=[{','.join(versions)}]: two that differ are compared, by number or alias")
    return both


def contest(
    store: Store, pair: list[ModelVersion], bootstrap: Bootstrap, input: str | None, labels: str | None, **how: Any
) -> StageResult:
    """Whether the second of the `pair` is better than the first on the rows of `input`.

    By the target there, or in `labels`, whose rows are joined by columns.key. `how` texts are read: types, missing.
    Raises ProjectError where too few rows have a label.
    """
    columns, key, target = bootstrap.columns, bootstrap.columns.key, str(bootstrap.columns.target)
    if not input:
        raise ConfigError("input is missing: versions are compared on its rows")
    if labels and not key:
        way_out = "columns.key=[id] here, and deploy.log_key=[id] at -e deploy, before answers are logged"
        raise ConfigError(f"columns.key is missing: labels are joined to rows by a column of both: {way_out}")
    models = [model_format.load(each.uri, files=each.noted.files) for each in pair]
    how["types"] = inputs.label_type(models[0], target, bootstrap.task) | how["types"]

    def read(path: str, kinds: dict[str, str], names: list[str]) -> tuple[pl.DataFrame, str]:
        read_by, named = inputs.described(path, query=None, source={}, names=[*kinds, *names], typed=path)
        with sources.reading(read_by, named):
            raw = pl.concat(inputs.opened(store, "compare", read_by)[0])
            there = raw.collect_schema()
            if absent := [each for each in (*kinds, *names) if each not in there]:
                why = ""
                if {*absent} & {*columns.sensitive}:
                    why = " (a log of answers has no columns.sensitive)"
                elif AT in there and {*absent} & {*key}:
                    why = f" (this log never held it: deploy.log_key=[{','.join(key)}] at the next -e deploy)"
                raise ProjectError(f"{named} has no column {', '.join(absent)}{why}; it has {', '.join(there)}")
            wanted = dict.fromkeys([*names, AT, *KEEPER, *columns.group])
            others = [each for each in wanted if each in there.keys() - kinds]
            return inputs.selected(raw, kinds, extra=[*map(pl.col, others)], named=named, **how)[0].collect(), named

    rows, named = read(str(input), models[0].inputs | models[1].inputs, key if labels else [target])
    notes, count = [], len(rows)
    if AT in rows.columns:
        rows = rows.filter(pl.col(AT) > max(map(registry.registered_at, pair)))
        notes += [f"{count - len(rows):,} of {count:,} rows were answered before both versions were there: left out"]
        count, taken = len(rows), {*models[0].inputs, *models[1].inputs}
        rows = _whole(rows, taken, partial(registry.version, pair[0].name)).sort(AT)
        notes += [f"of {count - len(rows):,} rows was kept only what the version that answered takes: left out"]
    if labels:
        told, what = read(labels, {}, [*key, target])
        tables = (_keyed(each, key) for each in (rows, told.drop_nulls(target)))
        rows, told = (each.unique(key, keep="last", maintain_order=True) for each in tables)
        count = len(rows)
        rows = rows.drop(target, strict=False).join(told.select(*key, target), on=key, maintain_order="left")
        notes += [f"{count - len(rows):,} of {count:,} rows have no label in {what}"]
    notes = [note for note in notes if not note.startswith(("0 ", "of 0 "))]
    rows, least = rows.drop_nulls(target), bootstrap.evaluation.min_rows
    rows = frames.sample(rows.lazy(), rows=len(rows), most=_SCORED)
    if len(rows) < least:
        few = f"{len(rows)} rows of {named} can be scored, fewer than evaluation.min_rows={least}"
        raise ProjectError("; ".join([few, *notes]))
    roles = replace(columns, group=[each for each in columns.group if each in rows.columns])
    return _result(pair, models, rows, replace(bootstrap, columns=roles), notes)


def _whole(rows: pl.DataFrame, needed: set[str], versions: Callable[[str], ModelVersion | None]) -> pl.DataFrame:
    """The `rows` of a log of which all `needed` columns were kept: its own of each of the `versions`, and some more."""
    if not {*KEEPER} <= {*rows.columns}:
        return rows
    keepers, fit = rows.select(KEEPER).unique(), []
    for number, also in keepers.iter_rows():
        own = model_format.taken(version.uri) if (version := versions(number)) else ()
        fit.append(needed <= {*own, *json.loads(also or "[]")})
    return rows.join(keepers.filter(pl.Series(fit, dtype=pl.Boolean)), on=KEEPER, how="semi", nulls_equal=True)


def _keyed(table: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """The rows that have a `key`, as texts: a number here may be a text there, or 7.0 where others are missing."""
    numbers = [name for name in key if table.schema[name].is_float() and (table[name].drop_nulls() % 1 == 0).all()]
    return table.with_columns(pl.col(numbers).cast(pl.Int64)).with_columns(pl.col(key).cast(pl.String)).drop_nulls(key)


def _result(
    pair: list[ModelVersion], models: list[Model], rows: pl.DataFrame, bootstrap: Bootstrap, notes: list[str]
) -> StageResult:
    """Both scored on `rows`, and in words which is better."""
    task, confidence = bootstrap.task, bootstrap.evaluation.confidence
    try:
        truth = frames.target(rows, str(bootstrap.columns.target), kind=task.kind)
        scored = [score_model(model.pipeline, model.frame(rows), truth, task) for model in models]
        scores = [each.scores(task.metrics) for each in scored]
    except ValueError as error:
        raise ProjectError(f"the versions cannot be compared on {len(rows):,} rows: {error}") from error
    metric, first = next(iter(scores[0].items()))
    gain, low, high = astuple(bootstrap.gain(scored[1], scored[0], rows))
    sure = f" ({low:+.4f} to {high:+.4f} with {confidence:.0%} confidence)" if low is not None else ""
    verdict = "better" if (low or 0) > 0 else "worse" if (high or 0) < 0 else "no different beyond chance"
    against = f"{metric} {scores[1][metric]:.4f} against version {pair[0].version}'s {first:.4f}"
    table = [{"version": each.version} | score for each, score in zip(pair, scores, strict=True)]
    return StageResult(
        f"compare   {pair[1].title}: {against} on the same {len(rows):,} rows: {gain:+.4f}{sure}, {verdict}",
        scores={"rows": len(rows), "gain": gain} | ({} if low is None or high is None else {"low": low, "high": high}),
        tags={"compare": verdict, "compared": ",".join(each.version for each in pair)},
        tables={"comparison": pl.DataFrame(table)},
        notes=notes,
    )

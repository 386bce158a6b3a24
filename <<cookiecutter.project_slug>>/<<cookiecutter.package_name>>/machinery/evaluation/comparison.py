"""Candidate and champion, scored on the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from ..data import frames, split_record
from ..errors import ProjectError
from ..mlflow import model_format
from .scored_model import ScoredModel, score_model

if TYPE_CHECKING:
    from ..mlflow.registry import ModelVersion
    from ..mlflow.version_tags import SplitRecord
    from ..model.loader import Model
    from .bootstrap import Bootstrap
    from .evaluation_data import EvaluationData


class NotComparable(Exception):
    """Why candidate and champion cannot be compared, in a sentence."""


class Comparison(NamedTuple):
    rows: pl.DataFrame  # test rows that neither of the two was trained on
    candidate: ScoredModel
    champion: ScoredModel


def with_champion(
    data: EvaluationData, scored: ScoredModel, champion: ModelVersion, bootstrap: Bootstrap
) -> Comparison:
    """The candidate, with `scored` as its answers to its test rows, and the `champion`, on rows kept from both.

    Raises NotComparable.
    """
    who = f"the champion, version {champion.version},"
    model, record = _champion(data, champion, bootstrap, who)
    rows, of_all = data.sides["test"], record.by in ("stratified", "time") and not record.cuts  # ranks of all rows
    if not split_record.can_replay(record, rows.drop("split").columns):
        raise NotComparable(
            f"{who} was split by all columns of a table with other columns: which rows it knows cannot be told without "
            "columns.key"
        )
    sides = split_record.replay((data.table if of_all else rows.lazy()).drop("split"), record)
    if of_all:
        kept = pl.col(bootstrap.columns.target or "").is_not_null() & (pl.col("split") == "test")
        sides = sides.filter(data.table.select(kept).collect(engine="streaming").to_series())
        if len(sides) > len(rows):
            raise NotComparable(f"{who} has a stratified split, which is told by all rows: evaluation.test_rows=null")
    at = sides.eq("test").arg_true().to_numpy()
    rows, least = rows[at], bootstrap.evaluation.min_rows
    if len(rows) < min(least, len(scored.target)):
        raise NotComparable(
            f"{len(rows)} rows are test rows of both this model and {who.removesuffix(',')}, fewer than "
            f"evaluation.min_rows={least}: take its split={record.by} and seed={record.seed}"
        )
    ours = scored if len(at) == len(scored.target) else scored.part(at)
    return Comparison(rows, ours, _scored(model, rows, bootstrap, ours, who))


def _champion(
    data: EvaluationData, champion: ModelVersion, bootstrap: Bootstrap, who: str
) -> tuple[Model, SplitRecord]:
    """The champion, and the record of its split."""
    record, target = champion.noted.trained, bootstrap.columns.target
    if record is None:
        raise NotComparable(f"{who} was not registered by this project: what rows it knows cannot be told")
    other = "give this model a name of its own by registered_model=..."
    try:
        model = model_format.load(champion.uri, files=champion.noted.files)
    except ProjectError as error:
        raise NotComparable(f"{who} stays: {error}") from error
    if record.target != target:
        raise NotComparable(f"{who} predicts {record.target}, not {target}: {other}")
    needed = [*model.inputs, *record.key, *record.group, *([record.time] if record.time else [])]
    if missing := [name for name in needed if name not in data.table.collect_schema()]:
        raise NotComparable(f"{who} needs the column {missing[0]}, which is not there: {other}")
    return model, record


def _scored(model: Model, rows: pl.DataFrame, bootstrap: Bootstrap, candidate: ScoredModel, who: str) -> ScoredModel:
    """The champion's answers to `rows`, once it is sure that both can be scored on these."""
    task = bootstrap.task
    try:
        target = frames.target(rows, bootstrap.columns.target or "", kind=task.kind)
        theirs = score_model(model.pipeline, model.frame(rows), target, task)
        for each in (theirs, candidate):
            each.scores(task.metrics)
    except ValueError as error:  # of the project, or of the code that travelled with the champion
        raise NotComparable(f"{who} cannot be compared on {len(rows)} rows: {error}") from error
    return theirs

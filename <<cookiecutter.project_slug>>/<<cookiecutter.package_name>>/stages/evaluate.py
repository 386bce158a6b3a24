"""Candidate, champion and dummy baseline, scored on the same untouched rows."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from .. import features, metrics, models, plots, registry, splits
from ..errors import Refused
from ..outcomes import Outcome

if TYPE_CHECKING:
    from ..config import Columns, Evaluation, Task
    from ..store import Store


def evaluate(
    store: Store,
    *,
    columns: Columns,
    task: Task,
    evaluation: Evaluation,
    seed: int,
    champion: registry.Registered | None,
) -> Outcome:
    """The candidate's scores on its test rows, beside the baseline's and the champion's, and the figures."""
    candidate, kinds = registry.load(store.path("train") / "model")
    table = store.table("split").collect()
    known = table if columns.target is None else table.filter(pl.col(columns.target).is_not_null())
    sides = {side[0]: rows for side, rows in known.partition_by("split", as_dict=True).items() if side[0] != "gap"}
    frames = {side: features.frame(rows, kinds) for side, rows in sides.items()}
    if columns.target is None:
        return _unlabelled(candidate, frames["test"], champion)
    targets = {side: features.target(rows, columns.target, kind=task.kind) for side, rows in sides.items()}

    def scored(model: Any, side: str) -> dict[str, float]:
        asked, wanted = models.asked(model, targets[side], positive=task.positive)
        return metrics.scores(asked, frames[side], wanted, names=task.metrics)

    test, answered, first = frames["test"], targets["test"], task.metrics[0]
    found = {"test": scored(candidate, "test")}
    found["baseline"] = scored(metrics.baseline(frames["train"], targets["train"], kind=task.kind), "test")
    if "validation" in frames:
        found["validation"] = scored(candidate, "validation")
    facts: dict[str, Any] = {"rows": len(test), "against": _against(champion), **found}
    if champion:
        facts |= compare(
            candidate, champion, table=table, kinds=kinds, columns=columns, task=task, min_rows=evaluation.min_rows
        )
        found["champion"] = facts.get("champion", {})
        if facts.get("compared_rows", len(test)) != len(test):
            found["candidate"] = facts["candidate"]  # on the rows of the comparison

    figures, rates = _figures(candidate, test, answered, task)
    tables = {}
    if evaluation.importance_repeats:
        asked, wanted = models.asked(candidate, answered, positive=task.positive)
        falls = metrics.importances(
            asked,
            test,
            wanted,
            name=first,
            repeats=evaluation.importance_repeats,
            rows=evaluation.importance_rows,
            seed=seed,
        )
        figures["importance"] = plots.importances(falls, metric=first)
        tables["importance"] = pl.DataFrame({"column": list(falls), "fall": list(falls.values())})
    shown = ("baseline", "champion") if facts.get("compared_rows") == len(test) else ("baseline",)
    others = [f"{who} {found[who][first]:.4f}" for who in shown]
    return Outcome(
        f"{first} {found['test'][first]:.4f} ({', '.join(others)}) on {len(test):,} test rows",
        scores={f"{who}_{name}": value for who, each in found.items() for name, value in each.items()} | rates,
        facts=facts,
        notes=_notes(facts),
        figures=figures,
        tables=tables,
    )


def _figures(candidate: Any, test: Any, answered: Any, task: Task) -> tuple[dict[str, Any], dict[str, float]]:
    """The figures for the task, and, of an outlier detector, how it rates the rows."""
    answers = models.answers(candidate, test)
    if task.kind == "classification":
        return plots.classification(
            answered, answers, predicted=candidate.predict(test), classes=candidate.classes_
        ), {}
    if task.kind == "regression":
        return plots.regression(answered, answers), {}
    flagged = candidate.predict(test) == -1
    return {"anomaly_scores": plots.anomalies(answers, flagged)}, metrics.rates(answers, flagged)


def _unlabelled(candidate: Any, test: Any, champion: registry.Registered | None) -> Outcome:
    """What there is to say of an outlier detector where nobody knows the anomalies."""
    answers, flagged = models.answers(candidate, test), candidate.predict(test) == -1
    rates = metrics.rates(answers, flagged)
    return Outcome(
        f"{rates['anomaly_rate']:.2%} of {len(test):,} test rows are anomalies; there is no target to score them by",
        scores=rates,
        facts={"rows": len(test), "against": _against(champion), "test": {}, "baseline": {}}
        | (
            {"hindrance": f"without a target nothing tells whether it is better than version {champion.version}"}
            if champion
            else {}
        ),
        figures={"anomaly_scores": plots.anomalies(answers, flagged)},
    )


def _against(champion: registry.Registered | None) -> dict[str, str] | None:
    """What the candidate is compared with, as it is noted on a version: see registry.aliases."""
    return {"version": champion.version, "digest": champion.digest} if champion else None


def _notes(facts: dict[str, Any]) -> list[str]:
    """What is worth knowing of the comparison beside its scores."""
    if facts.get("compared_rows", facts["rows"]) == facts["rows"]:
        return []
    return [
        f"candidate and champion are compared on {facts['compared_rows']} of {facts['rows']} test rows: those that "
        "neither was trained on"
    ]


def compare(
    candidate: Any,
    champion: registry.Registered,
    *,
    table: pl.DataFrame,
    kinds: dict[str, str],
    columns: Columns,
    task: Task,
    min_rows: int,
) -> dict[str, Any]:
    """Both models' scores on the rows that were kept from both.

    {"compared_rows", "candidate", "champion"}, or {"hindrance"}, why they cannot be compared.
    """
    if "trained" not in champion.tags:
        return {
            "hindrance": f"the champion, version {champion.version}, was not registered by this project: what rows it "
            "knows cannot be told"
        }
    record = json.loads(champion.tags["trained"])
    assert columns.target is not None
    try:
        model, wanted = registry.load(champion.uri)
    except Refused as error:
        return {"hindrance": f"the champion, version {champion.version}, stays: {error}"}
    if record["target"] != columns.target:
        return {
            "hindrance": f"the champion, version {champion.version}, predicts {record['target']}, not "
            f"{columns.target}: give this model a name of its own by registered_model=..."
        }
    needed = [*wanted, *record["key"], *record["group"], *([record["time"]] if record["time"] else [])]
    missing = [name for name in needed if name not in table.columns]
    if missing:
        return {
            "hindrance": f"the champion, version {champion.version}, needs the column {missing[0]}, which is not "
            "there: give this model a name of its own by registered_model=..."
        }
    whole = table.drop("split")
    if not splits.knows(record, whole.columns):
        return {
            "hindrance": f"the champion, version {champion.version}, was split by all columns of a table with other "
            "columns: which rows it knows cannot be told without columns.key"
        }
    roles = replace(columns, **{name: record[name] for name in ("key", "group", "time", "drop", "target")})
    sides = splits.assign(
        whole.lazy(), columns=roles, **{name: record[name] for name in ("by", "shares", "seed", "gap", "cuts")}
    )
    rows = table.filter((table["split"] == "test") & (sides.collect()["split"] == "test"))
    if len(rows) < min(min_rows, (table["split"] == "test").sum()):
        return {
            "hindrance": f"{len(rows)} rows are test rows of both this model and the champion, version "
            f"{champion.version}, fewer than evaluation.min_rows={min_rows}: take its split={record['by']} and "
            f"seed={record['seed']}"
        }
    target = features.target(rows, columns.target, kind=task.kind)
    try:
        asked, answered = models.asked(model, target, positive=task.positive)
        theirs = metrics.scores(asked, features.frame(rows, wanted), answered, names=task.metrics)
    except Refused as error:
        return {"hindrance": f"the champion, version {champion.version}, cannot be compared on this table: {error}"}
    asked, answered = models.asked(candidate, target, positive=task.positive)
    ours = metrics.scores(asked, features.frame(rows, kinds), answered, names=task.metrics)
    return {"compared_rows": len(rows), "candidate": ours, "champion": theirs}

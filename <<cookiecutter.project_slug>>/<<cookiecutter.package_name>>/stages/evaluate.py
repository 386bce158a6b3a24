"""Candidate, champion and dummy baseline, scored on the same untouched rows."""

from __future__ import annotations

import json
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
    frames, targets = {}, {}
    for side, rows in table.partition_by("split", as_dict=True).items():
        frames[side[0]] = features.frame(rows, kinds)
        targets[side[0]] = features.target(rows, columns.target, kind=task.kind)

    test, answered = frames["test"], targets["test"]
    dummy = metrics.baseline(frames["train"], targets["train"], kind=task.kind)
    found = {"test": metrics.scores(candidate, test, answered, names=task.metrics)}
    found["baseline"] = metrics.scores(dummy, test, answered, names=task.metrics)
    if "validation" in frames:
        found["validation"] = metrics.scores(candidate, frames["validation"], targets["validation"], names=task.metrics)
    facts: dict[str, Any] = {"rows": len(test), **found}
    if champion:
        facts |= compare(
            candidate, champion, table=table, kinds=kinds, columns=columns, task=task, min_rows=evaluation.min_rows
        )
        found["champion"] = facts.get("champion", {})
        if facts.get("compared_rows", len(test)) != len(test):
            found["candidate"] = facts["candidate"]  # on the rows of the comparison

    answers, first = models.answers(candidate, test), task.metrics[0]
    if task.kind == "classification":
        figures = plots.classification(answered, answers, classes=candidate.classes_)
    else:
        figures = plots.regression(answered, answers)
    tables = {}
    if evaluation.importance_repeats:
        falls = metrics.importances(
            candidate,
            test,
            answered,
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
        scores={f"{who}_{name}": value for who, each in found.items() for name, value in each.items()},
        facts=facts,
        notes=_notes(facts),
        figures=figures,
        tables=tables,
    )


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
    model, wanted = registry.load(champion.uri)
    if record["target"] != columns.target:
        return {
            "hindrance": f"the champion, version {champion.version}, predicts {record['target']}, not "
            f"{columns.target}: give this model a name of its own by registered_model=..."
        }
    missing = [name for name in wanted if name not in table.columns]
    if missing:
        return {
            "hindrance": f"the champion, version {champion.version}, needs the column {missing[0]}, which is not there: "
            "give this model a name of its own by registered_model=..."
        }
    whole = table.drop("split")
    if not splits.knows(record, whole.columns):
        return {
            "hindrance": f"the champion, version {champion.version}, was split by whole rows of a table with other "
            "columns: which rows it knows cannot be told without columns.key"
        }
    sides = splits.assign(whole.lazy(), **{name: record[name] for name in ("by", "shares", "key", "target", "seed")})
    rows = table.filter((table["split"] == "test") & (sides.collect()["split"] == "test"))
    if len(rows) < min(min_rows, (table["split"] == "test").sum()):
        return {
            "hindrance": f"{len(rows)} rows are test rows of both this model and the champion, version "
            f"{champion.version}, fewer than evaluation.min_rows={min_rows}: take the champion's seed and split"
        }
    target = features.target(rows, columns.target, kind=task.kind)
    try:
        theirs = metrics.scores(model, features.frame(rows, wanted), target, names=task.metrics)
    except Refused as error:
        return {"hindrance": f"the champion, version {champion.version}, cannot be compared on this table: {error}"}
    ours = metrics.scores(candidate, features.frame(rows, kinds), target, names=task.metrics)
    return {"compared_rows": len(rows), "candidate": ours, "champion": theirs}

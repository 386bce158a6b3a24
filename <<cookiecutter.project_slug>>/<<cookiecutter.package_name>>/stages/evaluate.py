"""Candidate, champion and dummy baseline, scored on the same untouched rows."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from .. import (
    curves,
    features,
    machines,
    metrics,
    models,
    pages,
    plots,
    probabilities,
    registry,
    reports,
    resamples,
    slices,
    splits,
)
from ..errors import Refused
from ..outcomes import Outcome

if TYPE_CHECKING:
    from ..config import Columns, Evaluation, Split, Task
    from ..store import Store


def evaluate(
    store: Store,
    *,
    columns: Columns,
    task: Task,
    split: Split,
    evaluation: Evaluation,
    seed: int,
    champion: registry.Registered | None,
) -> Outcome:
    """The candidate's scores on its test rows, beside the baseline's and the champion's, and the figures."""
    sections = {"columns": columns, "task": task, "split": split, "evaluation": evaluation, "seed": seed}
    candidate, kinds = registry.load(store.path("train") / "model")
    table = store.table("split").collect()
    _refuse_slices(evaluation.slices, table.columns)
    known = table if columns.target is None else table.filter(pl.col(columns.target).is_not_null())
    sides = {side[0]: rows for side, rows in known.partition_by("split", as_dict=True).items() if side[0] != "gap"}
    frames = {side: features.frame(rows, kinds) for side, rows in sides.items()}
    costs = _costs(candidate, store.path("train") / "model", frames["test"])
    if columns.target is None:
        return _unlabelled(store, candidate, frames["test"], champion, costs, sections)
    targets = {side: features.target(rows, columns.target, kind=task.kind) for side, rows in sides.items()}
    judged = {side: _judged(candidate, frames[side], targets[side], task) for side in frames if side != "train"}
    dummy = metrics.baseline(frames["train"], targets["train"], kind=task.kind)
    judged["baseline"] = _judged(dummy, frames["test"], targets["test"], task)
    chance = Chance(columns, task, evaluation, seed)
    first, ours, rows = metrics.short(task.metrics[0]), judged["test"], sides["test"]
    facts: dict[str, Any] = {"rows": len(rows), "against": _against(champion)}
    beside, kept = ours, rows
    contest = _contest(candidate, ours, rows, champion, table=table, kinds=kinds, chance=chance) if champion else None
    if isinstance(contest, str):
        facts["hindrance"] = contest
    elif contest:
        kept, beside, judged["champion"] = contest
    if beside is not ours:
        judged["candidate"] = beside
    found = {who: each.scores(task.metrics) for who, each in judged.items()}
    drawn = chance.scores(ours, rows)
    low, high = chance.interval(found["test"][first], drawn, rows)
    if "champion" in judged:
        apart = (drawn if beside is ours else chance.scores(beside, kept)) - chance.scores(judged["champion"], kept)
        facts |= {"compared_rows": len(kept), "gain": _gain(found, first, apart, kept, chance)}
    parts = _slices(ours, rows, evaluation, chance)
    facts |= found | {"interval": [low, high]}
    if task.kind == "classification":
        names, counts = np.unique(targets["test"], return_counts=True)
        facts["classes"] = dict(zip(map(str, names), counts.tolist(), strict=True))
    figures, tables, numbers = _figures(candidate, ours, frames["test"], targets["test"], task)
    if evaluation.importance_repeats:
        asked, wanted = models.asked(candidate, targets["test"], positive=task.positive)
        how = {"repeats": evaluation.importance_repeats, "rows": evaluation.importance_rows, "seed": seed}
        falls = metrics.importances(asked, frames["test"], wanted, name=task.metrics[0], **how)
        facts["importances"] = list(falls.items())
        figures["importance"] = plots.importances(falls, metric=first)
        tables["importance"] = pl.DataFrame({"column": list(falls), "fall": list(falls.values())})
    if parts:
        sure = [each for each in parts if each["low"] is not None]
        shown = [(f"{each['column']}: {each['value']}", each["score"], each["low"], each["high"]) for each in sure]
        if shown:
            figures["slices"] = plots.intervals(shown, metric=first, reference=found["test"][first])
        tables["slices"] = pl.DataFrame(parts, infer_schema_length=None)
    learned = _curves(candidate, frames, targets, task, evaluation)
    if learned:
        figures["curves"] = plots.curves(learned, metric=first)
    facts |= {"slices": parts, "numbers": numbers, "costs": costs, "figures": list(figures)}
    ends = {f"test_{first}_low": low, f"test_{first}_high": high}
    ends |= {f"gain_{name}": value for name, value in facts.get("gain", {}).items()}
    scores = {f"{who}_{name}": value for who, each in found.items() for name, value in each.items()} | numbers
    others = [f"{who} {found[who][first]:.4f}" for who in ("baseline", "champion") if who in found]
    others = others[:1] if "candidate" in found else others  # the champion's is of other rows
    return Outcome(
        f"{first} {found['test'][first]:.4f} ({', '.join(others)}) on {len(ours.target):,} test rows",
        scores=scores | {name: value for name, value in ends.items() if value is not None},
        curves=learned,
        facts=facts,
        notes=_notes(facts),
        figures=figures,
        tables=tables,
        texts=_texts(store, facts, figures, sections),
    )


class Judged(NamedTuple):
    """What a model answers to some rows, and what is right, both as scorers take them."""

    answers: Any
    target: np.ndarray

    def scores(self, names: list[str], rows: np.ndarray | None = None) -> dict[str, float]:
        """The scores `names` on all rows, or on those of the numbers `rows` (m,)."""
        rows = np.arange(len(self.target)) if rows is None else rows
        return metrics.scores(self.answers, rows, self.target[rows], names=names)


@dataclass(frozen=True)
class Chance:
    """How far chance in the test rows carries the deciding score."""

    columns: Columns
    task: Task
    evaluation: Evaluation
    seed: int

    def scores(self, judged: Judged, rows: pl.DataFrame, part: int = 1) -> np.ndarray:
        """The deciding score (draws,) on rows drawn anew: on the same ones for every model, given the same `rows`.

        `part`: draws one in so many.
        """
        group = [pl.col(name).cast(pl.String).fill_null("") for name in self.columns.group]
        together = rows.select(pl.concat_str(group, separator="\x1f")).to_series().to_numpy() if group else None
        alike = rows[self.columns.target or ""].cast(pl.String).to_numpy()
        drawn = resamples.draws(
            len(rows),
            count=self.evaluation.resamples // part,
            most=self.evaluation.resampled_rows,
            seed=self.seed,
            classes=None if self.task.kind == "regression" else alike,
            groups=together,
        )
        scorer = metrics.scorer(self.task.metrics[0])
        with warnings.catch_warnings(action="ignore"):
            return np.array([_drawn(scorer, judged, at) for at in drawn])

    def interval(self, score: float, drawn: np.ndarray, rows: pl.DataFrame) -> tuple[float | None, float | None]:
        """The interval of `score`, by what it was on rows drawn from `rows`."""
        size = {"rows": len(rows), "most": self.evaluation.resampled_rows}
        return resamples.interval(score, drawn, confidence=self.evaluation.confidence, **size)


def _drawn(scorer: Any, judged: Judged, rows: np.ndarray) -> float:
    """What `scorer` gives for the rows of the numbers `rows`; NaN where it is undefined, as for one class only."""
    try:
        return scorer(judged.answers, rows, judged.target[rows])
    except ValueError:
        return np.nan


def _judged(model: Any, frame: Any, target: np.ndarray, task: Task) -> Judged:
    return Judged(*models.asked(resamples.answers(model, frame), target, positive=task.positive))


def _contest(
    candidate: Any,
    ours: Judged,
    test: pl.DataFrame,
    champion: registry.Registered,
    *,
    table: pl.DataFrame,
    kinds: dict[str, str],
    chance: Chance,
) -> tuple[pl.DataFrame, Judged, Judged] | str:
    """The rows that were kept from candidate and champion, and what each answers to them: all `test` rows where both
    were split alike, to which the candidate's answers are `ours`.

    A sentence where the two cannot be compared.
    """
    columns, task, min_rows = chance.columns, chance.task, chance.evaluation.min_rows
    who = f"the champion, version {champion.version},"
    if "trained" not in champion.tags:
        return f"{who} was not registered by this project: what rows it knows cannot be told"
    record = json.loads(champion.tags["trained"])
    other = "give this model a name of its own by registered_model=..."
    try:
        model, wanted = registry.load(champion.uri)
    except Refused as error:
        return f"{who} stays: {error}"
    if record["target"] != columns.target:
        return f"{who} predicts {record['target']}, not {columns.target}: {other}"
    needed = [*wanted, *record["key"], *record["group"], *([record["time"]] if record["time"] else [])]
    if missing := [name for name in needed if name not in table.columns]:
        return f"{who} needs the column {missing[0]}, which is not there: {other}"
    whole = table.drop("split")
    if not splits.knows(record, whole.columns):
        return (
            f"{who} was split by all columns of a table with other columns: which rows it knows cannot be told without "
            "columns.key"
        )
    roles = replace(columns, **{name: record[name] for name in ("key", "group", "time", "drop", "target")})
    how = {name: record[name] for name in ("by", "shares", "seed", "gap", "cuts")}
    sides = splits.assign(whole.lazy(), columns=roles, **how).collect()["split"]
    kept = (table["split"] == "test") & (sides == "test")
    rows = table.filter(kept & table[columns.target or ""].is_not_null())
    if len(rows) < min(min_rows, len(test)):
        return (
            f"{len(rows)} rows are test rows of both this model and {who.removesuffix(',')}, fewer than "
            f"evaluation.min_rows={min_rows}: take its split={record['by']} and seed={record['seed']}"
        )
    try:
        target = features.target(rows, columns.target or "", kind=task.kind)
        theirs = _judged(model, features.frame(rows, wanted), target, task)
        beside = ours if rows.equals(test) else _judged(candidate, features.frame(rows, kinds), target, task)
        for each in (theirs, beside):
            each.scores(task.metrics)
    except Refused as error:
        return f"{who} cannot be compared on {len(rows)} rows: {error}"
    return rows, beside, theirs


def _gain(
    found: dict[str, dict[str, float]], metric: str, drawn: np.ndarray, rows: pl.DataFrame, chance: Chance
) -> dict[str, float | None]:
    """The candidate's gain over the champion, and its interval by what it was on rows `drawn` from `rows`."""
    gain = found.get("candidate", found["test"])[metric] - found["champion"][metric]
    low, high = chance.interval(gain, drawn, rows)
    return {"value": gain, "low": low, "high": high}


def _slices(judged: Judged, rows: pl.DataFrame, evaluation: Evaluation, chance: Chance) -> list[dict[str, Any]]:
    """The deciding score, and all others, on each slice of `rows` by each of the columns that were asked for."""
    found = []
    for column in evaluation.slices:
        labels = slices.labels(rows[column])
        for value in labels.gather(rows[column].arg_sort(nulls_last=True)).unique(maintain_order=True):
            at = (labels == value).arg_true().to_numpy()
            part = Judged(resamples.chosen(judged.answers, at), judged.target[at])
            told: dict[str, Any] = {"column": column, "value": value, "rows": len(at), "score": None}
            told |= {"low": None, "high": None, "note": ""}
            try:
                scores = part.scores(chance.task.metrics)
                told["score"] = scores[metrics.short(chance.task.metrics[0])]
                drawn = chance.scores(part, rows[at], part=4)
                told["low"], told["high"] = chance.interval(told["score"], drawn, rows[at])
                found.append(told | scores)
            except Refused:
                found.append(told | {"note": "not to be scored: too few rows, or one class only"})
    return found


def _curves(candidate: Any, frames: dict, targets: dict, task: Task, evaluation: Evaluation) -> dict[str, Any]:
    """The deciding score on training and on other rows after some of the iterations, where there are any."""
    first, found = metrics.short(task.metrics[0]), curves.losses(candidate)
    for side in ("train", "validation" if "validation" in frames else "test"):
        at = np.unique(np.linspace(0, len(targets[side]) - 1, evaluation.resampled_rows).astype(int))
        for step, asked in curves.stages(candidate, frames[side].iloc[at]):
            answers = resamples.Answers(candidate, asked)
            judged = Judged(*models.asked(answers, targets[side][at], positive=task.positive))
            found.setdefault(f"{side}_{first}", []).append((step, judged.scores(task.metrics[:1])[first]))
    return found


def _figures(
    candidate: Any, judged: Judged, test: Any, answered: np.ndarray, task: Task
) -> tuple[dict[str, Any], dict[str, pl.DataFrame], dict[str, float]]:
    """The figures and tables for the task, and what is told of the answers beside scores."""
    answers = models.answers(candidate, test)
    tables: dict[str, pl.DataFrame] = {}
    numbers: dict[str, float] = {}
    if task.kind == "regression":
        return plots.regression(answered, answers), tables, numbers
    if task.kind == "anomaly":
        flagged = candidate.predict(test) == -1
        return {"anomaly_scores": plots.anomalies(answers, flagged)}, tables, metrics.rates(answers, flagged)
    predicted, classes = candidate.predict(test), candidate.classes_
    figures = plots.classification(answered, answers, predicted=predicted, classes=classes)
    if answers.ndim == 2:
        told = judged.answers.predict_proba(np.arange(len(answered)))
        numbers["calibration_error"] = probabilities.calibration_error(
            judged.target, told, classes=judged.answers.classes_
        )
        if len(classes) == 2:
            chosen = getattr(candidate[-1], "threshold", 0.5)
            figures["thresholds"] = plots.thresholds(judged.target, told[:, 1], chosen=chosen)
            tables["thresholds"] = probabilities.thresholds(judged.target, told[:, 1])
    return figures, tables, numbers


def _costs(candidate: Any, folder: Path, test: Any) -> dict[str, float]:
    """What the candidate takes to keep, and to ask about one row."""
    row, size = test.head(1), sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return {
        "megabytes": size / 1e6,
        "latency_ms": 1000 * machines.seconds(lambda: models.answers(candidate, row), times=10),
    }


def _unlabelled(
    store: Store,
    candidate: Any,
    test: Any,
    champion: registry.Registered | None,
    costs: dict[str, float],
    sections: dict[str, Any],
) -> Outcome:
    """What there is to say of an outlier detector where nobody knows the anomalies."""
    answers, flagged = models.answers(candidate, test), candidate.predict(test) == -1
    rates, figures = metrics.rates(answers, flagged), {"anomaly_scores": plots.anomalies(answers, flagged)}
    facts: dict[str, Any] = {"rows": len(test), "against": _against(champion), "test": {}, "baseline": {}}
    facts |= {"interval": [None, None], "slices": [], "numbers": rates, "costs": costs, "figures": list(figures)}
    if champion:
        facts["hindrance"] = f"without a target nothing tells whether it is better than version {champion.version}"
    return Outcome(
        f"{rates['anomaly_rate']:.2%} of {len(test):,} test rows are anomalies; there is no target to score them by",
        scores=rates,
        facts=facts,
        figures=figures,
        texts=_texts(store, facts, figures, sections),
    )


def _texts(store: Store, facts: dict, figures: dict[str, Any], sections: dict[str, Any]) -> dict[str, str]:
    """The figures for the report, the report and the model card, of a candidate that is not registered yet."""
    drawn = {name: plots.svg(figure) for name, figure in figures.items()}
    told = {stage: store.outcome(stage).facts for stage in ("ingest", "split", "train")} | {"evaluate": facts}
    content = reports.content(title="Candidate", facts=told, figures=drawn, **sections)
    texts = {"report.html": pages.report(**content), "model_card.md": pages.card(**content)}
    return texts | {f"{name}.svg": svg for name, svg in drawn.items()}


def _against(champion: registry.Registered | None) -> dict[str, str] | None:
    """What the candidate is compared with, as it is noted on a version: see registry.aliases."""
    return {"version": champion.version, "digest": champion.digest} if champion else None


def _refuse_slices(names: list[str], known: list[str]) -> None:
    for name in names:
        if name not in known:
            raise Refused(f"evaluation.slices={name}: the table has no such column; it has {', '.join(known)}")


def _notes(facts: dict[str, Any]) -> list[str]:
    """What is worth knowing of the comparison beside its scores."""
    if facts.get("compared_rows", facts["rows"]) == facts["rows"]:
        return []
    return [
        f"candidate and champion are compared on {facts['compared_rows']} of {facts['rows']} test rows: those that "
        "neither was trained on"
    ]

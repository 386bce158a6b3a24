"""Candidate, champion and dummy baseline, scored on the same untouched rows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from ..machinery.data import frames, splits
from ..machinery.errors import ProjectError
from ..machinery.evaluation import bootstrap, calibration, curves, ensembles, estimators, scoring, slices
from ..machinery.evaluation.scored_model import Bootstrap, ScoredModel, score_model
from ..machinery.mlflow import model_format, registry
from ..machinery.pipeline import processes
from ..machinery.report import model_report, pages, plots
from ..machinery.result import StageResult

if TYPE_CHECKING:
    from ..config import Columns, Evaluation, Split, Task
    from ..machinery.pipeline.store import Store

TABLED = ("importance", "slices")  # figures that the report has as bars in its tables


def evaluate(
    store: Store,
    *,
    columns: Columns,
    task: Task,
    split: Split,
    evaluation: Evaluation,
    seed: int,
    champion: registry.ModelVersion | None,
) -> StageResult:
    """The candidate's scores on its test rows, beside the baseline's and the champion's; figures and report."""
    sections = {"columns": columns, "task": task, "split": split, "evaluation": evaluation, "seed": seed}
    case = _case(store, columns, task)
    chance = Bootstrap(columns, task, evaluation, seed)
    facts: dict[str, Any] = {"rows": len(case.sides["test"]), "costs": _costs(store, case)}
    facts["against"] = {"version": champion.version, "digest": champion.digest} if champion else None
    if columns.target is None:
        facts |= _unscored(champion)
        figures, tables, facts["numbers"] = _figures(case, None, task)
        learned: dict[str, Any] = {}
    else:
        ours = score_model(case.model, case.frames["test"], case.targets["test"], task)
        facts |= _scored(case, ours, champion, chance)
        figures, tables, facts["numbers"] = _figures(case, ours, task)
        learned = _curves(case, task, evaluation)
        facts["members"] = _members(case, task)
        facts["importances"] = _importances(case, task, evaluation, seed)
        _explain(facts, learned, figures, tables)
    facts["figures"] = [name for name in figures if name not in TABLED]
    return StageResult(
        _summary(facts),
        scores=_scores(facts),
        curves=learned,
        facts=facts,
        notes=_notes(facts),
        closing=_table(facts),
        figures=figures,
        tables=tables,
        texts=_texts(store, facts, figures, sections),
    )


class EvaluationData(NamedTuple):
    """The candidate, and the rows that it is judged by."""

    fitted: Any  # a model, see machinery/model/loader.py
    table: pl.DataFrame  # with the column `split`
    sides: dict[str, pl.DataFrame]  # of it, as far as the target is known
    frames: dict[str, Any]  # the same as the model takes them

    @property
    def model(self) -> Any:
        """The fitted pipeline."""
        return self.fitted.pipeline

    targets: dict[str, np.ndarray]  # what is right; empty where there is no target


def _case(store: Store, columns: Columns, task: Task) -> EvaluationData:
    """What is judged, and by what."""
    model = model_format.load(store.model)
    table, target = store.table("split").collect(), columns.target
    known = table if target is None else table.filter(pl.col(target).is_not_null())
    sides = {side[0]: rows for side, rows in known.partition_by("split", as_dict=True).items() if side[0] != "gap"}
    as_frames = {side: model.frame(rows) for side, rows in sides.items()}
    targets = {side: frames.target(rows, target, kind=task.kind) for side, rows in sides.items() if target}
    return EvaluationData(model, table, sides, as_frames, targets)


def _unscored(champion: registry.ModelVersion | None) -> dict[str, Any]:
    """What there is to say of an outlier detector where nobody knows the anomalies."""
    facts: dict[str, Any] = {"test": {}, "baseline": {}, "interval": [None, None], "slices": []}
    if champion:
        facts["hindrance"] = f"without a target nothing tells whether it is better than version {champion.version}"
    return facts


def _scored(
    case: EvaluationData, ours: ScoredModel, champion: registry.ModelVersion | None, chance: Bootstrap
) -> dict[str, Any]:
    """The scores of all who are compared, with the interval of the deciding one, of the gain, and of slices."""
    task, rows, beside, kept = chance.task, case.sides["test"], ours, case.sides["test"]
    dummy = scoring.baseline(case.frames["train"], case.targets["train"], kind=task.kind)
    sides = {"test": ours, "baseline": score_model(dummy, case.frames["test"], case.targets["test"], task)}
    sides["train"] = score_model(case.model, case.frames["train"], case.targets["train"], task)
    if "validation" in case.frames:
        sides["validation"] = score_model(case.model, case.frames["validation"], case.targets["validation"], task)
    facts: dict[str, Any] = {}
    contest = _contest(case, ours, champion, chance) if champion else None
    if isinstance(contest, str):
        facts["hindrance"] = contest
    elif contest:
        kept, beside, sides["champion"] = contest
    if beside is not ours:
        sides["candidate"] = beside
    facts |= {who: each.scores(task.metrics) for who, each in sides.items()}
    first, drawn = scoring.short(task.metrics[0]), chance.scores(ours, rows)
    facts["interval"] = chance.interval(facts["test"][first], drawn, rows)
    if "champion" in sides:
        apart = (drawn if beside is ours else chance.scores(beside, kept)) - chance.scores(sides["champion"], kept)
        gain = facts.get("candidate", facts["test"])[first] - facts["champion"][first]
        low, high = chance.interval(gain, apart, kept)
        facts |= {"compared_rows": len(kept), "gain": {"value": gain, "low": low, "high": high}}
    if task.kind == "classification":
        names, counts = np.unique(case.targets["test"], return_counts=True)
        facts["classes"] = dict(zip(map(str, names), counts.tolist(), strict=True))
    return facts | {"slices": _slices(ours, rows, chance)}


def _contest(
    case: EvaluationData, ours: ScoredModel, champion: registry.ModelVersion, chance: Bootstrap
) -> tuple[pl.DataFrame, ScoredModel, ScoredModel] | str:
    """The rows that were kept from candidate and champion, and what each answers to them: all test rows where both were
    split alike, to which the candidate's answers are `ours`.

    A sentence where the two cannot be compared.
    """
    table, test = case.table, case.sides["test"]
    columns, task, min_rows = chance.columns, chance.task, chance.evaluation.min_rows
    who = f"the champion, version {champion.version},"
    if "trained" not in champion.tags:
        return f"{who} was not registered by this project: what rows it knows cannot be told"
    record = json.loads(champion.tags["trained"])
    other = "give this model a name of its own by registered_model=..."
    try:
        theirs_model = model_format.load(champion.uri)
    except ProjectError as error:
        return f"{who} stays: {error}"
    if record["target"] != columns.target:
        return f"{who} predicts {record['target']}, not {columns.target}: {other}"
    needed = [*theirs_model.inputs, *record["key"], *record["group"], *([record["time"]] if record["time"] else [])]
    if missing := [name for name in needed if name not in table.columns]:
        return f"{who} needs the column {missing[0]}, which is not there: {other}"
    whole = table.drop("split")
    if not splits.can_replay(record, whole.columns):
        return (
            f"{who} was split by all columns of a table with other columns: which rows it knows cannot be told without "
            "columns.key"
        )
    sides = splits.replay(whole.lazy(), record, columns)
    kept = (table["split"] == "test") & (sides == "test")
    rows = table.filter(kept & table[columns.target or ""].is_not_null())
    if len(rows) < min(min_rows, len(test)):
        return (
            f"{len(rows)} rows are test rows of both this model and {who.removesuffix(',')}, fewer than "
            f"evaluation.min_rows={min_rows}: take its split={record['by']} and seed={record['seed']}"
        )
    try:
        target = frames.target(rows, columns.target or "", kind=task.kind)
        theirs = score_model(theirs_model.pipeline, theirs_model.frame(rows), target, task)
        beside = ours if rows.equals(test) else score_model(case.model, case.fitted.frame(rows), target, task)
        for each in (theirs, beside):
            each.scores(task.metrics)
    except ProjectError as error:
        return f"{who} cannot be compared on {len(rows)} rows: {error}"
    return rows, beside, theirs


def _slices(judged: ScoredModel, rows: pl.DataFrame, chance: Bootstrap) -> list[dict[str, Any]]:
    """The deciding score, and all others, on each slice of `rows` by each of the columns that were asked for."""
    found = []
    for column in chance.evaluation.slices:
        labels = slices.labels(rows[column])
        for value in labels.gather(rows[column].arg_sort(nulls_last=True)).unique(maintain_order=True):
            at = (labels == value).arg_true().to_numpy()
            part = ScoredModel(bootstrap.chosen(judged.answers, at), judged.target[at])
            told: dict[str, Any] = {"column": column, "value": value, "rows": len(at), "score": None}
            told |= {"low": None, "high": None, "note": ""}
            try:
                scores = part.scores(chance.task.metrics)
                told["score"] = scores[scoring.short(chance.task.metrics[0])]
                drawn = chance.scores(part, rows[at], part=4)
                told["low"], told["high"] = chance.interval(told["score"], drawn, rows[at])
                found.append(told | scores)
            except ProjectError:
                found.append(told | {"note": "not to be scored: too few rows, or one class only"})
    return found


def _importances(case: EvaluationData, task: Task, evaluation: Evaluation, seed: int) -> list[tuple[str, float]]:
    """How much the deciding score falls when a column is shuffled, by column; nothing where that is not asked for."""
    if not evaluation.importance_repeats:
        return []
    asked, wanted = estimators.as_scorer_input(case.model, case.targets["test"], positive=task.positive)
    how = {"repeats": evaluation.importance_repeats, "rows": evaluation.importance_rows, "seed": seed}
    return list(scoring.importances(asked, case.frames["test"], wanted, name=task.metrics[0], **how).items())


def _members(case: EvaluationData, task: Task) -> list[dict[str, Any]]:
    """What each member of an ensemble is, and what it scores alone on the test rows."""
    found = []
    for name, member in ensembles.members(case.model).items():
        scores = score_model(member.model, case.frames["test"], case.targets["test"], task).scores(task.metrics)
        found.append({"name": name, "weight": member.weight, "params": member.params, "scores": scores})
    return found


def _curves(case: EvaluationData, task: Task, evaluation: Evaluation) -> dict[str, list[tuple[int, float]]]:
    """The deciding score on training and on other rows after some of the iterations, where there are any."""
    first, estimator = scoring.short(task.metrics[0]), estimators.inner(case.model[-1])
    found = curves.losses(estimator)
    for side in ("train", "validation" if "validation" in case.frames else "test"):
        target = case.targets[side]
        at = np.unique(np.linspace(0, len(target) - 1, max(1, evaluation.resampled_rows)).astype(int))
        for step, asked in curves.stages(case.model, estimator, case.frames[side].iloc[at]):
            answers = bootstrap.Answers(case.model, asked)
            judged = ScoredModel(*estimators.as_scorer_input(answers, target[at], positive=task.positive))
            found.setdefault(f"{side}_{first}", []).append((step, judged.scores(task.metrics[:1])[first]))
    return found


def _figures(
    case: EvaluationData, judged: ScoredModel | None, task: Task
) -> tuple[dict[str, Any], dict[str, pl.DataFrame], dict[str, float]]:
    """The figures and tables for the task, and what is told of the answers beside scores."""
    test, tables = case.frames["test"], {}
    answers, predicted = estimators.answers(case.model, test), case.model.predict(test)
    if judged is None or task.kind == "anomaly":
        flagged = predicted == -1
        return {"anomaly_scores": plots.anomalies(answers, flagged)}, {}, scoring.rates(answers, flagged)
    if task.kind == "regression":
        return plots.regression(case.targets["test"], answers), {}, {}
    classes = case.model.classes_
    figures = plots.classification(case.targets["test"], answers, predicted=predicted, classes=classes)
    if answers.ndim == 1:  # no probabilities
        return figures, {}, {}
    told = judged.answers.predict_proba(np.arange(len(test)))
    error = calibration.calibration_error(judged.target, told, classes=judged.answers.classes_)
    if len(classes) == 2:
        chosen = getattr(case.model[-1], "threshold", 0.5)
        figures["thresholds"] = plots.thresholds(judged.target, told[:, 1], chosen=chosen)
        tables["thresholds"] = calibration.thresholds(judged.target, told[:, 1])
    return figures, tables, {"calibration_error": error}


def _explain(facts: dict[str, Any], learned: dict[str, Any], figures: dict[str, Any], tables: dict[str, Any]) -> None:
    """Adds figures and tables of what columns matter, of slices, and of how the model learned."""
    first = next(iter(facts["test"]))
    if facts["importances"]:
        figures["importance"] = plots.importances(dict(facts["importances"]), metric=first)
        tables["importance"] = pl.DataFrame(facts["importances"], schema=["column", "fall"], orient="row")
    if facts["slices"]:
        sure = [each for each in facts["slices"] if each["low"] is not None]
        shown = [(f"{each['column']}: {each['value']}", each["score"], each["low"], each["high"]) for each in sure]
        tables["slices"] = pl.DataFrame(facts["slices"], infer_schema_length=None)
        if shown:
            figures["slices"] = plots.intervals(shown, metric=first, reference=facts["test"][first])
    if learned:
        figures["curves"] = plots.curves(learned, metric=first)


def _costs(store: Store, case: EvaluationData) -> dict[str, float]:
    """What the candidate takes to keep, and to ask about one row."""
    files = [file for file in (store.model).rglob("*") if file.is_file()]
    row = case.frames["test"].head(1)
    latency = processes.seconds(lambda: estimators.answers(case.model, row), times=10)
    return {"megabytes": sum(file.stat().st_size for file in files) / 1e6, "latency_ms": 1000 * latency}


def _summary(facts: dict[str, Any]) -> str:
    if not facts["test"]:
        rate = f"{facts['numbers']['anomaly_rate']:.2%} of {facts['rows']:,} test rows are anomalies"
        return f"{rate}; there is no target to score them by"
    first = next(iter(facts["test"]))
    shown = ["baseline"] if "candidate" in facts else ["baseline", "champion"]  # whose scores may be of other rows
    others = ", ".join(f"{who} {facts[who][first]:.4f}" for who in shown if who in facts)
    return f"{first} {facts['test'][first]:.4f} ({others}) on {facts['rows']:,} test rows"


def _scores(facts: dict[str, Any]) -> dict[str, float]:
    """All that runs are compared by."""
    sides = [who for who in ("test", "train", "validation", "baseline", "candidate", "champion") if who in facts]
    found = {f"{who}_{name}": value for who in sides for name, value in facts[who].items()} | facts["numbers"]
    ends = {f"gain_{name}": value for name, value in facts.get("gain", {}).items()}
    for first in list(facts["test"])[:1]:
        ends |= dict(zip((f"test_{first}_low", f"test_{first}_high"), facts["interval"], strict=True))
    return found | {name: value for name, value in ends.items() if value is not None}


def _texts(store: Store, facts: dict, figures: dict[str, Any], sections: dict[str, Any]) -> dict[str, str]:
    """The figures for the report, the report and the model card, of a candidate that is not registered yet."""
    drawn = {name: plots.svg(figures[name]) for name in facts["figures"]}
    told = {stage: store.outcome(stage).facts for stage in ("ingest", "split", "train")} | {"evaluate": facts}
    content = model_report.content(title="Candidate", facts=told, figures=drawn, **sections)
    texts = {"report.html": pages.report(**content), "model_card.md": pages.card(**content)}
    return texts | {f"{name}.svg": svg for name, svg in drawn.items()}


def _table(facts: dict[str, Any]) -> str:
    """The scores of all who were scored on the same rows, a line for each metric."""
    shown = {"test": "candidate", "champion": "champion", "baseline": "baseline"}
    if facts.get("compared_rows") != facts.get("rows"):
        del shown["champion"]  # its scores are of other rows; the gate's sentence and a note say which
    columns = [name for name in shown if name in facts]
    lines = [" " * 32 + "".join(f"{shown[name]:>12}" for name in columns)]
    for metric in facts["test"]:
        scores = [facts[name][metric] for name in columns]
        lines.append(f"  {metric:<30}" + "".join(f"{_figure(score):>12}" for score in scores))
    return "\n".join(lines) if facts["test"] else ""


def _figure(score: float) -> str:
    return f"{score:.4f}" if abs(score) < 10_000 else f"{score:.4g}"


def _notes(facts: dict[str, Any]) -> list[str]:
    """What is worth knowing of the comparison beside its scores."""
    found, low = [], facts["interval"][0]
    if facts.get("compared_rows", facts["rows"]) != facts["rows"]:
        found.append(
            f"candidate and champion are compared on {facts['compared_rows']} of {facts['rows']} test rows: those that "
            "neither was trained on"
        )
    for first in list(facts["test"])[:1]:
        if low is not None and low <= facts["baseline"][first] < facts["test"][first]:
            found.append(f"that {first} beats the baseline may be chance: its interval goes down to {low:.4f}")
    return found

"""What has changed since a model was registered: columns, answers, labels, the score, expectations; and the alarms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from ...data import expectations as expected
from ...data import frames
from ...errors import ConfigError, ProjectError, inert
from ...evaluation import scoring
from ...evaluation.scored_model import score_model
from . import drift as drifts

if TYPE_CHECKING:
    from ...config.schema import Columns, Drift
    from ...evaluation.bootstrap import Bootstrap
    from ...mlflow.version_tags import ScoresRecord
    from .rows import MonitoredModel, ObservedRows

CHANGED = {"answers": "its answers changed", "target": "the target changed"}


@dataclass(frozen=True)
class LabelledScores:
    """What a model scores on rows whose labels have arrived."""

    test: dict[str, float]  # {"roc_auc": 0.98, "f1": 0.91}: the deciding one first
    interval: list[float | None]  # [low, high] of the deciding one
    rows: int


@dataclass(frozen=True)
class Assessment:
    """Every test of rows against a model, and which of them is an alarm."""

    findings: list[drifts.Finding]
    adjusted: list[float]  # the p-value of each finding, corrected for the number of tests
    alarms: list[drifts.Finding]
    rate: float  # of false alarms that a p-value was compared with
    scores: LabelledScores | None
    fall: drifts.Finding | None  # of the deciding score
    validation: Any  # Great Expectations' result; None without expectations about the model's columns
    failed: list[str]  # a line for each failed expectation
    notes: list[str]

    @property
    def alarmed(self) -> bool:
        """Whether anything of it is an alarm."""
        return bool(self.alarms or self.failed)

    @property
    def verdict(self) -> str:
        """All alarms in a sentence: "drift in bill_length_mm; roc_auc fell"."""
        columns = ", ".join(dict.fromkeys(each.label for each in self.alarms if each.part == "features"))
        parts = {each.part for each in self.alarms}
        phrases = [f"drift in {columns}"] if columns else []
        phrases += [words for part, words in CHANGED.items() if part in parts]
        phrases += [f"{each.name} fell" for each in self.alarms if each.part == "score"]
        if self.failed:
            phrases.append(f"{len(self.failed)} of {len(self.validation.results)} expectations failed")
        return "; ".join(phrases) or "no drift"


def assess(
    monitored: MonitoredModel,
    observed: ObservedRows,
    bootstrap: Bootstrap,
    drift: Drift,
    expectations: list[dict[str, Any]],
) -> Assessment:
    """Tests `observed` rows against what is stored with a model, at the rates and distances of the section `drift`.

    Raises ConfigError for a column of drift.ignore that the model does not have.
    """
    findings = _test_columns(monitored, observed, drift.ignore)
    scores, notes = _score_labelled(monitored, observed, bootstrap)
    registered = monitored.version.noted.scores
    rate = drift.alarm_rate / 2 if scores else drift.alarm_rate  # the other half is for the score
    fall = _test_score(registered, scores, bootstrap, drift.max_loss, rate) if scores and registered else None
    if scores and not fall:
        first, value = next(iter(scores.test.items()))
        notes.append(f"{first} {value:.4f} on {scores.rows:,} rows with labels: nothing to compare it with")
    alarms, adjusted = drifts.alarms(findings, rate=rate, min_distance=drift.min_distance)
    if fall:
        findings, adjusted = [*findings, fall], [*adjusted, fall.p]
        alarms += [fall] if fall.p <= rate else []
    checked = observed.table.select(set(monitored.model.inputs) - set(drift.ignore))
    validation = _validate_columns(expectations, checked, monitored.columns)
    failed = expected.failures(validation) if validation else []
    unseen = [each for each in findings if each.what == "unseen" and each not in alarms]
    notes += [f"{each.label}: {each.sentence}" for each in unseen if not lists_levels(failed, each)]
    if observed.rows < bootstrap.evaluation.min_rows:
        notes.append(f"{observed.rows} rows are few: only a great change would show")
    return Assessment(findings, adjusted, alarms, rate, scores, fall, validation, failed, notes)


def lists_levels(failed: list[str], finding: drifts.Finding) -> bool:
    """Whether one of the `failed` expectations names the levels of the column of a finding already."""
    return any(line.startswith(f"{inert(finding.name)}: expect_column_values_to_be_in_set") for line in failed)


def _test_columns(monitored: MonitoredModel, observed: ObservedRows, ignore: list[str]) -> list[drifts.Finding]:
    """The findings of columns, but not of those to `ignore`, of answers and of labels."""
    names = [*monitored.model.inputs, *([monitored.target] if monitored.target else [])]
    for name in ignore:
        if name not in names:
            title = monitored.version.title
            raise ConfigError(f"drift.ignore={name}: {title} has no such column; it has {', '.join(names)}")
    units, left_out = monitored.reference["units"], {*ignore, monitored.columns.time}
    sizes = {"features": units[0], "answers": units[1], "target": units[0]}
    findings = []
    for part, counts in observed.counts.items():
        tests = drifts.findings(monitored.reference[part], counts, units=(sizes[part], observed.groups), part=part)
        findings += [each for each in tests if part == "answers" or each.name not in left_out]
    return findings


def _score_labelled(
    monitored: MonitoredModel, observed: ObservedRows, bootstrap: Bootstrap
) -> tuple[LabelledScores | None, list[str]]:
    """The scores on the rows that have labels; or None, and a sentence on why there are none."""
    rows, task, model = observed.labelled, bootstrap.task, monitored.model
    if not len(rows) or not monitored.target:
        return None, []
    group = [name for name in bootstrap.columns.group if name in rows.columns]
    bootstrap = replace(bootstrap, columns=replace(bootstrap.columns, group=group))
    not_scored = f"{len(rows):,} rows have a label, and are not scored"
    if task.kind == "classification":
        labels, classes = sorted(map(str, rows[monitored.target].unique())), [*map(str, model.pipeline.classes_)]
        if strange := [label for label in labels if label not in classes]:
            reason = f"{', '.join(strange[:5])} is no class of {monitored.version.title}, with {', '.join(classes)}"
            return None, [inert(f"{not_scored}: {reason}")]
        if len(labels) == 1:
            return None, [f"all {len(rows):,} rows with a label are {inert(labels[0])}: a score needs two classes"]
    try:
        truth = frames.target(rows, monitored.target, kind=task.kind)
        scored = score_model(model.pipeline, model.frame(rows), truth, task)
        test = scored.scores(task.metrics)
        low, high = bootstrap.interval(test[scoring.short(task.metrics[0])], bootstrap.scores(scored, rows), rows)
    except ProjectError as error:
        return None, [f"{not_scored}: {error}"]
    return LabelledScores(test, [low, high], len(rows)), []


def _test_score(
    registered: ScoresRecord, scores: LabelledScores, bootstrap: Bootstrap, max_loss: float, rate: float
) -> drifts.Finding | None:
    """Whether the deciding score fell since the model was registered; None where the two cannot be compared."""
    name = scoring.short(bootstrap.task.metrics[0])
    before, now = ((each.test.get(name), *each.interval) for each in (registered, scores))
    if any(value is None for value in (*before, *now)) or registered.confidence != bootstrap.evaluation.confidence:
        return None
    sentence = f"{before[0]:.4f} when registered, {now[0]:.4f} on {scores.rows:,} rows with labels"
    how: dict[str, Any] = {"confidence": registered.confidence, "max_loss": max_loss, "rate": rate}
    return drifts.score_fall(before, now, name=name, sentence=sentence, **how)  # type: ignore[arg-type]


def _validate_columns(expectations: list[dict[str, Any]], table: pl.LazyFrame, columns: Columns) -> Any:
    """The result of the expectations about columns of `table`, which has no labels; None where there are none."""
    names = set(table.collect_schema().names())
    about = []
    for each in expectations:
        read = expected.named(each["kwargs"], type_=each["type"])
        if read and read <= names:
            about.append(each)
    if not about:
        return None
    result = expected.validate(expected.frame(table, about), expected.suite(about))
    return expected.masked(result, columns.sensitive)

"""What monitor shows of an assessment: its result, page, chart over time, and figures."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ...data import expectations
from ...report import pages, plots
from ...result import StageResult
from . import drift as drifts
from .assessment import lists_levels

if TYPE_CHECKING:
    from ...config.schema import Drift, Evaluation
    from ...mlflow.version_tags import ScoresRecord
    from .assessment import Assessment, LabelledScores
    from .rows import MonitoredModel, ObservedRows

ALARM = 3  # exit code
DRAWN = 8  # columns that have a figure
CHARTED = {"missing": "missing", "unseen": "unseen", "score": "loss"}  # a finding's name over time; else distance


def result(
    monitored: MonitoredModel, observed: ObservedRows, assessment: Assessment, drift: Drift, evaluation: Evaluation
) -> StageResult:
    """The stage's result: a summary of a line or more, scores over time, the page, the table `drift`, the exit code."""
    version, fall, alarms = monitored.version, assessment.fall, assessment.alarms
    title = f"{observed.rows:,} rows of {observed.name} against {version.title}"
    new = [each for each in alarms if each.what == "unseen"]  # of which one line says enough
    said = [each for each in new if lists_levels(assessment.failed, each)]
    said += [each for each in alarms if each.what == "values" and each.label in {every.label for every in new}]
    lines = [f"  {each.label}: {each.sentence}{_size(each)}" for each in alarms if each not in said]
    lines += [f"  {line}" for line in assessment.failed]
    lines += [f"  {fall.name}: {fall.sentence}"] if fall and fall not in alarms else []
    rows = [
        vars(each) | {"name": each.label, "adjusted": p, "alarm": each in alarms}
        for each, p in zip(assessment.findings, assessment.adjusted, strict=True)
    ]
    figures = drift_figures(monitored, observed, assessment, drift.min_distance)
    validation = assessment.validation
    page = pages.render(
        str(__package__),
        "monitor.html",
        title=f"{version.title}: {observed.name}",
        verdict={"alarm": assessment.alarmed, "sentence": assessment.verdict},
        about=f"{title}, fitted to {monitored.reference['features']['rows']:,} rows.",
        rows=sorted(rows, key=lambda row: not row["alarm"]),
        rate=assessment.rate,
        least=drift.min_distance,
        scores=_score_rows(version.noted.scores, assessment.scores),
        confidence=evaluation.confidence,
        failed=assessment.failed,
        expectations=len(validation.results) if validation else 0,
        notes=assessment.notes,
        figures=[{"title": name.replace("_", " "), "svg": plots.svg(figure)} for name, figure in figures.items()],
    )
    drifted = ", ".join(dict.fromkeys(each.label for each in alarms))
    tags = {"monitor": "alarm" if assessment.alarmed else "quiet", "drifted": drifted[:4000]}
    tags |= {"monitored": f"{version.name}/{version.version}", "data": observed.name, "data.digest": observed.digest}
    return StageResult(
        "\n".join([f"{title}: {assessment.verdict}", *lines]),
        scores=chart_values(observed, assessment),
        tags=tags,
        notes=assessment.notes,
        figures=figures,
        tables={"drift": pl.DataFrame(sorted(rows, key=lambda row: not row["alarm"]))},
        texts={"monitor.html": page} | ({"expectations.html": expectations.page(validation)} if validation else {}),
        code=ALARM if assessment.alarmed else 0,
    )


def chart_values(observed: ObservedRows, assessment: Assessment) -> dict[str, float]:
    """What is drawn over time: {"rows": 344, "alarms": 1, "distance/island": 0.04, "score/roc_auc": 0.98, ...}."""
    failed, scores = len(assessment.failed), assessment.scores
    values: dict[str, float] = {"rows": observed.rows, "alarms": len(assessment.alarms) + failed}
    values["expectations_failed"] = failed
    for each in assessment.findings:
        label = re.sub(r"[^\w\-. ]", "_", each.label.replace(": ", " "))
        name = f"{CHARTED.get(each.what, 'distance')}/{label}"
        values[name] = max(each.distance, values.get(name, each.distance))
    if scores:
        values |= {f"score/{name}": value for name, value in scores.test.items()} | {"labelled": scores.rows}
        first, (low, high) = next(iter(scores.test)), scores.interval
        if low is not None and high is not None:
            values |= {f"score/{first}_low": low, f"score/{first}_high": high}
    return values


def _score_rows(registered: ScoresRecord | None, scores: LabelledScores | None) -> list[dict[str, Any]]:
    """A row for each score: when the model was registered, and now; only the deciding one, the first, has intervals."""
    rows: list[dict[str, Any]] = []
    for name, now in (scores.test if scores else {}).items():
        before, after = (each.interval if each and not rows else [None, None] for each in (registered, scores))
        then = {"was": registered.test.get(name) if registered else None, "was_low": before[0], "was_high": before[1]}
        rows.append({"metric": name, **then, "now": now, "low": after[0], "high": after[1]})
    return rows


def drift_figures(
    monitored: MonitoredModel, observed: ObservedRows, assessment: Assessment, min_distance: float
) -> dict[str, Figure]:
    """{"drift": how far each column moved, "moved_1": the shares of the column that moved most, then and now, ...}."""
    tests = [each for each in assessment.findings if each.what in ("values", "length")]
    tests = sorted(tests, key=lambda each: -each.distance)
    alarmed = {each.label for each in assessment.alarms}
    moved = [(_column_title(each), each.distance, each.label in alarmed) for each in tests]
    figures = {"drift": distance_bars(moved, min_distance=min_distance)}
    first = [each for each in tests if each.label in alarmed] or tests[:1]
    for number, each in enumerate(first[:DRAWN], start=1):
        was = monitored.reference[each.part]["columns"][each.name]
        now = observed.counts[each.part]["columns"][each.name]
        figures[f"moved_{number}"] = share_bars(drifts.bars(was, now, each.what), title=_column_title(each))
    return figures


def distance_bars(moved: list[tuple[str, float, bool]], *, min_distance: float, most: int = 30) -> Figure:
    """Bars of how far each column moved, from (name, distance, alarm); a line at `min_distance`, the least that counts.

    Only the first `most` columns are drawn.
    """
    shown = moved[:most][::-1]
    figure, axes = plots.blank("How far each column moved", height=plots.height_of(shown), grid="x")
    colours = [plots.COLOURS[1] if alarm else plots.COLOURS[0] for _, _, alarm in shown]
    axes.barh(range(len(shown)), [distance for _, distance, _ in shown], height=0.62, color=colours)
    axes.axvline(min_distance, **plots.REFERENCE)
    axes.set_xlim(0, max([1.08 * distance for _, distance, _ in shown] + [2 * min_distance]))
    axes.set_xlabel("share of rows that moved; orange: an alarm")
    plots.label_rows(axes, [name for name, _, _ in shown])
    return figure


def share_bars(bars: list[tuple[str, float, float]], *, title: str) -> Figure:
    """Pairs of bars: the share of rows then and now, from (label, then, now)."""
    figure, axes = plots.blank(f"{plots.short_label(title)}, share of rows", height=plots.height_of(bars), grid="x")
    places = np.arange(len(bars))[::-1]
    axes.barh(places + 0.2, [old for _, old, _ in bars], height=0.38, label="then")
    axes.barh(places - 0.2, [new for _, _, new in bars], height=0.38, label="now")
    axes.set_yticks(places, [plots.short_label(label, 24) for label, _, _ in bars])
    axes.set_ylim(-0.6, len(bars) - 0.4)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    plots.add_legend(axes)
    return figure


def _column_title(finding: drifts.Finding) -> str:
    return finding.label if finding.what == "values" else f"{finding.label}, {finding.what}"


def _size(finding: drifts.Finding) -> str:
    """How far a column moved, where the finding's sentence does not say so."""
    in_rows = finding.what in ("values", "length", "words")
    return f" ({100 * finding.distance:.0f} % of rows moved)" if in_rows else ""

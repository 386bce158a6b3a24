"""The report and the model card of a candidate, put together from what was measured and decided."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from . import pages

if TYPE_CHECKING:
    from ..config.schema import Columns, Evaluation, Split, Task
    from ..evaluation.decision import Decision
    from ..evaluation.result import EvaluationResult

FEW = 200  # test rows: with fewer, a report says how much that is
RARE = 30  # test rows of a class
LONG = 600  # characters of a model's parameters


@dataclass(frozen=True)
class Setup:
    """What was evaluated, and how."""

    columns: Columns
    task: Task
    split: Split
    evaluation: Evaluation
    seed: int
    table: dict[str, Any]  # {"rows": 344, "columns": {"island": "String"}, "digest": "3fc0..."}: facts of the dataset
    rows: dict[str, int]  # {"train": 262, "test": 71}: of each side


def texts(
    result: EvaluationResult, setup: Setup, *, title: str, figures: dict[str, str], decision: Decision | None = None
) -> dict[str, str]:
    """report.html and model_card.md; `figures`: <svg> by name. Without a `decision`, of one that is not registered."""
    content = _content(result, setup, title, figures, decision)
    return {"report.html": pages.report(**content), "model_card.md": pages.card(**content)}


def _content(
    result: EvaluationResult, setup: Setup, title: str, figures: dict[str, str], decision: Decision | None
) -> dict[str, Any]:
    """What pages.report and pages.card take."""
    model, target, data = result.model, setup.columns.target, setup.table["digest"]
    error = result.numbers.get("calibration_error")
    sentence = "How far predicted probabilities are from the shares that come true, on average."
    reproduce = "uv run mlflow run . --env-manager local -e reproduce -P run_id="
    return {
        "title": title,
        "verdict": _verdict(decision) if decision else None,
        "about": f"{model.estimator} predicting {target or 'anomalies'} ({setup.task.kind}) from "
        f"{len(model.kinds)} columns, fitted to {setup.rows['train']:,} rows.",
        "facts": list(_details(result, setup).items()),
        "metric": result.metric or "",
        "scores": _scores(result),
        "confidence": setup.evaluation.confidence,
        "comparison": _comparison(result, setup.evaluation.confidence),
        "gates": decision.gates if decision else [],
        "members": [vars(each) for each in result.members],
        "slices": [asdict(each) for each in result.slices],
        "calibration": {"error": error, "sentence": sentence} if error is not None else None,
        "importances": result.importances,
        "figures": [{"name": name, "title": name.replace("_", " "), "svg": svg} for name, svg in figures.items()],
        "columns": list(model.kinds.items()),
        "target": target,
        "limits": _limits(result, setup),
        "reproduce": [reproduce + decision.version.uri] if decision else [],
        "made": f"seed {setup.seed}, data {data[:8]}, model {model.digest[:8]}",
    }


def _verdict(decision: Decision) -> dict[str, Any]:
    """The decision in a sentence."""
    waits = ["it waits for approval (promotion=manual)"] if decision.waits else []
    sentence = "; ".join([*waits, *decision.reasons])
    return {"passed": decision.passed, "alias": decision.alias, "sentence": sentence}


def _details(result: EvaluationResult, setup: Setup) -> dict[str, str]:
    """Short facts with their labels."""
    sides = ", ".join(f"{count:,} {side}" for side, count in setup.rows.items())
    details = {
        "predicts": setup.columns.target or "anomalies",
        "data": f"{setup.table['rows']:,} rows x {len(setup.table['columns'])} columns",
        "digest of the data": setup.table["digest"],
        "split": f"by {setup.split.by}, seed {setup.seed}: {sides} rows",
        "model": textwrap.shorten(result.model.settings, LONG, placeholder=" ..."),
        "size": f"{result.costs['megabytes']:.3g} MB",
        "one row is answered in": f"{result.costs['latency_ms']:.3g} ms",
    }
    threshold = result.model.threshold
    return details if threshold is None else details | {"threshold": f"{threshold:.4g}"}


def _scores(result: EvaluationResult) -> list[dict[str, Any]]:
    """A row for each metric, the deciding one first and with its interval."""
    rows: list[dict[str, Any]] = []
    for metric, score in result.test.items():
        low, high = (None, None) if rows else result.interval
        row = {"metric": metric, "candidate": score, "low": low, "high": high}
        row |= {side: getattr(result, side).get(metric) for side in ("baseline", "champion", "validation", "train")}
        if result.candidate:
            row["champion"] = None  # its scores are of other rows; the comparison has them
        rows.append(row)
    return rows


def _comparison(result: EvaluationResult, confidence: float) -> dict[str, Any] | None:
    """The gain over the champion with a sentence; None where there is no champion."""
    gain = result.gain
    if result.not_comparable:
        return {"sentence": f"Not compared: {result.not_comparable}."}
    if gain is None or result.against is None:
        return None
    champion, between, means = f"version {result.against['version']}", "", "the same within chance"
    if gain.low is not None and gain.high is not None:
        between = f", between {gain.low:+.4f} and {gain.high:+.4f} with {confidence:.0%} confidence"
        if not gain.low <= 0 <= gain.high:
            means = "better" if gain.value > 0 else "worse"
    return {
        "sentence": f"{result.metric} {gain.value:+.4f} from the champion's, {champion}, on the same "
        f"{result.compared_rows:,} rows that neither was trained on{between}: {means}.",
        "champion": champion,
        "rows": result.compared_rows,
        "gain": gain.value,
        "low": gain.low,
        "high": gain.high,
    }


def _limits(result: EvaluationResult, setup: Setup) -> list[str]:
    """What the scores do not show."""
    limits, min_rows = [], setup.evaluation.min_rows
    if result.rows < FEW:
        limits.append(f"Scores rest on {result.rows:,} test rows: the interval says how much chance is in them.")
    metric, low = result.metric, result.interval[0]
    if metric and low is not None and low <= result.baseline[metric]:
        limits.append(f"The interval of {metric} reaches down to the baseline: that it beats the dummy may be chance.")
    rare = [f"{name} ({count:,})" for name, count in result.classes.items() if count < RARE]
    if rare:
        named = ", ".join(rare[:10])
        limits.append(f"Few test rows of {setup.columns.target} {named}: what is said of them is least certain.")
    small = [f"{each.column} {each.value}" for each in result.slices if each.rows < min_rows]
    if small:
        limits.append(f"Fewer than {min_rows} test rows in {', '.join(small[:10])}.")
    if setup.split.by != "time":
        limits.append(
            "Test rows are of the same time as training rows: data that changes later is not in these scores."
        )
    if setup.columns.sensitive:
        limits.append(f"Nothing is shown of the values of {', '.join(setup.columns.sensitive)} (sensitive).")
    return limits

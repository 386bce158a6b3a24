"""The report and the model card of a candidate, put together from what was measured and decided."""

from __future__ import annotations

import json
import shlex
import textwrap
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..result import APPROVED
from . import pages

if TYPE_CHECKING:
    from pathlib import Path

    from ..config.schema import Card, Columns, Evaluation, Split, Task
    from ..evaluation.decision import Decision
    from ..evaluation.result import EvaluationResult
    from ..pipeline.store import Store

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
    fitted: dict[str, Any]  # {"rows": 262, "limits": []}: what `train` says of how it was fitted
    request: str  # a command that asks the model once it is served
    card: Card | None = None

    @classmethod
    def of(
        cls,
        store: Store,
        columns: Columns,
        task: Task,
        split: Split,
        evaluation: Evaluation,
        seed: int,
        card: Card | None = None,
    ) -> Setup:
        """The setup whose table, sides and model lie in `store`."""
        table, rows = store.outcome("ingest").facts, store.outcome("split").facts["rows"]
        fitted = {"rows": rows["train"], "limits": []} | store.outcome(store.model_stage).facts
        return cls(columns, task, split, evaluation, seed, table, rows, fitted, _curl(store.model), card)


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
    serve = "uv run mlflow models serve --env-manager local --port 8080 -m "
    commands = [*([serve + decision.version.uri] if decision else []), setup.request]
    return {
        "title": title,
        "verdict": _verdict(decision) if decision else None,
        "about": f"{model.estimator} predicting {target or 'anomalies'} ({setup.task.kind}) from "
        f"{len(model.kinds)} columns, fitted to {setup.fitted['rows']:,} rows.",
        "facts": list((_details(result, setup) | _stated(result, setup, decision)).items()),
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
        "ask": commands,
        "reproduce": [reproduce + decision.version.uri] if decision else [],
        "made": f"seed {setup.seed}, data {data[:8]}, model {model.digest[:8]}",
    }


def _curl(model: Path) -> str:
    """A command that asks the served model about the first of the example rows that lie with it."""
    split = json.loads((model / "serving_input_example.json").read_text(encoding="utf-8"))["dataframe_split"]
    row = json.dumps({"dataframe_split": {**split, "data": split["data"][:1]}}, ensure_ascii=False)
    return f"curl localhost:8080/invocations -H 'Content-Type: application/json' -d {shlex.quote(row)}"


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


def _stated(result: EvaluationResult, setup: Setup, decision: Decision | None) -> dict[str, str]:
    """What people have said of a registered model: {"owner": "ana", "approved by": "its gates, on 2026-11-30"}."""
    if not setup.card or not decision:
        return {}
    said = {name: value for name, value in asdict(setup.card).items() if name != "limits"}
    left_out = [name for name in setup.columns.sensitive if name not in result.model.kinds]
    used = [name for name in setup.columns.sensitive if name in result.model.kinds]
    return {name.replace("_", " "): value or f"not stated: card.{name}" for name, value in said.items()} | {
        APPROVED: decision.approval,
        "sensitive columns left out": ", ".join(left_out) or "none",
        "sensitive columns that it takes": ", ".join(used) or "none",
    }


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
    limits, min_rows = [*(setup.card.limits if setup.card else []), *setup.fitted["limits"]], setup.evaluation.min_rows
    if (most := setup.evaluation.test_rows) and most < setup.rows["test"]:
        limits.append(f"Scores rest on {result.rows:,} of {setup.rows['test']:,} test rows, chosen by hash.")
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

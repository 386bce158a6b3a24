"""What there is to say of a candidate, for its report and its model card."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..config.schema import Columns, Evaluation, Split, Task

FEW = 200  # test rows: with fewer, a report says how much that is
RARE = 30  # test rows of a class
LONG = 600  # characters of a model's parameters


def content(
    *,
    title: str,
    columns: Columns,
    task: Task,
    split: Split,
    evaluation: Evaluation,
    seed: int,
    facts: dict[str, dict[str, Any]],
    figures: dict[str, str],
    verdict: dict[str, Any] | None = None,
    gates: list[dict[str, Any]] | None = None,
    address: str = "",
) -> dict[str, Any]:
    """What pages.report and pages.card take, out of the `facts` of the stages and the `figures` as SVG.

    Without `verdict`, `gates` and the `address` of the version, a candidate that is not registered yet.
    """
    trained, evaluated, rows = facts["train"], facts["evaluate"], facts["split"]["rows"]
    metric, confidence = next(iter(evaluated["test"]), ""), evaluation.confidence
    sides = ", ".join(f"{count:,} {side}" for side, count in rows.items())
    told = {
        "predicts": columns.target or "anomalies",
        "data": f"{facts['ingest']['rows']:,} rows x {len(facts['ingest']['columns'])} columns",
        "digest of the data": facts["ingest"]["digest"],
        "split": f"by {split.by}, seed {seed}: {sides} rows",
        "model": textwrap.shorten(trained["model"], LONG, placeholder=" ..."),
        "size": f"{evaluated['costs']['megabytes']:.3g} MB",
        "one row is answered in": f"{evaluated['costs']['latency_ms']:.3g} ms",
    }
    if "threshold" in trained["scores"]:
        told["threshold"] = f"{trained['scores']['threshold']:.4g}"
    error = evaluated["numbers"].get("calibration_error")
    return {
        "title": title,
        "verdict": verdict,
        "about": f"{trained['estimator']} predicting {columns.target or 'anomalies'} ({task.kind}) from "
        f"{len(trained['kinds'])} columns, fitted to {rows['train']:,} rows.",
        "facts": list(told.items()),
        "metric": metric,
        "scores": _scores(evaluated),
        "confidence": confidence,
        "comparison": _comparison(evaluated, metric, confidence),
        "gates": gates or [],
        "members": evaluated.get("members", []),
        "slices": evaluated["slices"],
        "calibration": {
            "error": error,
            "sentence": "How far predicted probabilities are from the shares that come true, on average.",
        }
        if error is not None
        else None,
        "importances": evaluated.get("importances", []),
        "figures": [{"name": name, "title": name.replace("_", " "), "svg": svg} for name, svg in figures.items()],
        "columns": list(trained["kinds"].items()),
        "target": columns.target,
        "limits": _limits(evaluated, columns=columns, split=split, min_rows=evaluation.min_rows),
        "reproduce": [f"uv run mlflow run . --env-manager local -e reproduce -P run_id={address}"] if address else [],
        "made": f"seed {seed}, data {facts['ingest']['digest'][:8]}, model {trained['digest'][:8]}",
    }


def _scores(evaluated: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each metric, the deciding one first and with its interval."""
    found: list[dict[str, Any]] = []
    for metric, score in evaluated["test"].items():
        low, high = (None, None) if found else evaluated["interval"]
        row = {"metric": metric, "candidate": score, "low": low, "high": high}
        row |= {who: evaluated.get(who, {}).get(metric) for who in ("baseline", "champion", "validation", "train")}
        if "candidate" in evaluated:
            row["champion"] = None  # its scores are of other rows; the comparison tells
        found.append(row)
    return found


def _comparison(evaluated: dict[str, Any], metric: str, confidence: float) -> dict[str, Any] | None:
    if "hindrance" in evaluated:
        return {"sentence": f"Not compared: {evaluated['hindrance']}."}
    if "gain" not in evaluated:
        return None
    gain, rows = evaluated["gain"], evaluated["compared_rows"]
    champion = f"version {evaluated['against']['version']}"
    sure = gain["low"] is not None
    between = f", between {gain['low']:+.4f} and {gain['high']:+.4f} with {confidence:.0%} confidence" if sure else ""
    means = "the same within chance"
    if sure and not gain["low"] <= 0 <= gain["high"]:
        means = "better" if gain["value"] > 0 else "worse"
    return {
        "sentence": f"{metric} {gain['value']:+.4f} from the champion's, {champion}, on the same {rows:,} rows that "
        f"neither was trained on{between}: {means}.",
        "champion": champion,
        "rows": rows,
        "gain": gain["value"],
        "low": gain["low"],
        "high": gain["high"],
    }


def _limits(evaluated: dict[str, Any], *, columns: Columns, split: Split, min_rows: int) -> list[str]:
    """What the scores do not tell."""
    found = []
    if evaluated["rows"] < FEW:
        found.append(f"Scores rest on {evaluated['rows']:,} test rows: the interval says how much chance is in them.")
    metric, low = next(iter(evaluated["test"]), ""), evaluated["interval"][0]
    if low is not None and low <= evaluated["baseline"][metric]:
        found.append(f"The interval of {metric} reaches down to the baseline: that it beats the dummy may be chance.")
    rare = {name: count for name, count in evaluated.get("classes", {}).items() if count < RARE}
    if rare:
        named = ", ".join(f"{name} ({count:,})" for name, count in list(rare.items())[:10])
        found.append(f"Few test rows of {columns.target} {named}: what is said of them is least certain.")
    small = [f"{each['column']} {each['value']}" for each in evaluated["slices"] if each["rows"] < min_rows]
    if small:
        found.append(f"Fewer than {min_rows} test rows in {', '.join(small[:10])}.")
    if split.by != "time":
        found.append("Test rows are of the same time as training rows: data that changes later is not in these scores.")
    if columns.sensitive:
        found.append(f"Nothing is shown of the values of {', '.join(columns.sensitive)} (sensitive).")
    return found

"""What a command prints about an evaluation and a decision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import cut

if TYPE_CHECKING:
    from ..evaluation.decision import Decision
    from ..evaluation.result import EvaluationResult
    from .model_report import Setup

COLUMNS = {"test": "candidate", "champion": "champion", "baseline": "baseline"}
PROMOTE = (
    "uv run mlflow run . --env-manager local -e promote -P registered_model={0.name} -P version={0.version} "
    "-P approver=..."
)


def headline(result: EvaluationResult) -> str:
    """One line: the deciding score with those of the baseline and the champion, where they are of the same rows."""
    if result.metric is None:
        rate = f"{result.numbers['anomaly_rate']:.2%} of {result.rows:,} test rows are anomalies"
        return f"{rate}; there is no target to score them by"
    shown = ["baseline"] if result.candidate else ["baseline", "champion"]
    scores = {side: getattr(result, side)[result.metric] for side in shown if getattr(result, side)}
    others = ", ".join(f"{side} {score:.4f}" for side, score in scores.items())
    return f"{result.metric} {result.test[result.metric]:.4f} ({others}) on {result.rows:,} test rows"


def score_table(result: EvaluationResult) -> str:
    """The scores of candidate, champion and baseline on the test rows, a line for each metric; or ""."""
    sides = [side for side in COLUMNS if getattr(result, side) and not (side == "champion" and result.candidate)]
    lines = [" " * 32 + "".join(f"{COLUMNS[side]:>12}" for side in sides)]
    for metric in result.test:
        lines.append(f"  {metric:<30}" + "".join(f"{_figure(getattr(result, side)[metric]):>12}" for side in sides))
    return "\n".join(lines) if result.test else ""


def notes(result: EvaluationResult) -> list[str]:
    """What a reader of the scores should know: rows that were not compared, chance."""
    sentences, low, metric = [], result.interval[0], result.metric
    if result.candidate:
        sentences.append(
            f"candidate and champion are compared on {result.compared_rows} of {result.rows} test rows: those that "
            "neither was trained on"
        )
    if metric and low is not None and low <= result.baseline[metric] < result.test[metric]:
        sentences.append(f"that {metric} beats the baseline may be chance: its interval goes down to {low:.4f}")
    return sentences


def description(result: EvaluationResult, setup: Setup, dataset: str) -> str:
    """What a version in the registry is, for people, in Markdown."""
    scores = ", ".join(f"{name} {value:.4f}" for name, value in result.test.items()) or "not scored"
    features = result.model.kinds
    return (
        f"{result.model.estimator} predicting {setup.columns.target or 'anomalies'}: {scores} on {result.rows:,} test "
        f"rows.\n\n- **data**: {dataset}, {setup.table['rows']:,} rows, digest {setup.table['digest']}\n"
        f"- **trained on**: {setup.fitted['rows']:,} rows\n- **features**: {len(features)}: `{cut(features)}`"
    )


def purpose(target: str | None, tags: Mapping[str, str]) -> str:
    """What all versions of a registered model are for."""
    what = f"{target or 'anomalies'} of {tags['dataset']} ({tags['model_type']})"
    return f"Predicts {what}. Its versions come from the project {tags['project']}; the alias champion is in use."


def outcome(decision: Decision) -> str:
    """What the gate says and what the candidate is now, a line for each reason."""
    gate, alias = f"gate {decision.verdict}: ", decision.alias
    stays = not decision.passed and alias == "champion"
    holds = "stays champion until another takes its place" if stays else f"is {alias}"
    return gate + f"\n{' ' * len(gate)}".join(decision.reasons) + f"\n{decision.version.title} {holds}"


def approval(decision: Decision) -> list[str]:
    """How a person makes the candidate champion, where it waits for that."""
    return [f"it waits for somebody to say: {PROMOTE.format(decision.version)}"] if decision.waits else []


def _figure(score: float) -> str:
    return f"{score:.4f}" if abs(score) < 10_000 else f"{score:.4g}"

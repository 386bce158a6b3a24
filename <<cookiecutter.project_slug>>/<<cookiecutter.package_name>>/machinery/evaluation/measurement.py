"""A candidate evaluated: its scores, how sure they are, and how it compares with the baseline and the champion."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..model import loader
from . import calibration, ensembles, importance, scoring, slices
from .comparison import NotComparable, with_champion
from .result import EvaluationResult
from .scored_model import ScoredModel, score_model

if TYPE_CHECKING:
    from ..mlflow.registry import ModelVersion
    from .bootstrap import Bootstrap
    from .evaluation_data import EvaluationData


def measure(
    data: EvaluationData, scored: ScoredModel, *, digest: str, champion: ModelVersion | None, bootstrap: Bootstrap
) -> EvaluationResult:
    """All that is measured of the candidate, by `scored`, its answers to the test rows, and by those to other rows.

    `digest`: of what it answers. Without a target nothing is scored.
    """
    result = EvaluationResult(
        rows=len(data.sides["test"]),
        model=data.facts(digest),
        costs=data.costs(),
        against={"version": champion.version, "digest": champion.digest} if champion else None,
        numbers=_numbers(scored, bootstrap.task.kind),
    )
    if bootstrap.columns.target is None:
        sentence = f"without a target nothing tells whether it is better than version {champion and champion.version}"
        return replace(result, not_comparable=sentence if champion else None)
    result = replace(result, **_scores(data, scored, bootstrap))
    return replace(result, **_compared(data, scored, champion, bootstrap)) if champion else result


def _scores(data: EvaluationData, scored: ScoredModel, bootstrap: Bootstrap) -> dict[str, Any]:
    """The candidate's scores by side, by slice, by column and by member, and the dummy's."""
    task, settings = bootstrap.task, bootstrap.evaluation
    frames, targets, rows = data.frames, data.targets, data.sides["test"]
    dummy = scoring.baseline(frames["train"], targets["train"], kind=task.kind)
    others = {"baseline": score_model(dummy, frames["test"], targets["test"], task)}
    for side in sorted({"train", "validation"} & frames.keys()):
        others[side] = score_model(data.model.pipeline, frames[side], targets[side], task)
    by_side = {side: each.scores(task.metrics) for side, each in others.items()} | {"test": scored.scores(task.metrics)}
    members = ensembles.score_members(data.model.pipeline, frames["test"], targets["test"], task)
    with loader.steadily(), importance.Aside() as aside:
        how = {"repeats": settings.importance_repeats, "rows": settings.importance_rows, "seed": bootstrap.seed}
        falls = importance.falls(data.model.pipeline, frames["test"], targets["test"], task, aside, **how)
        drawn = bootstrap.scores(scored, rows)
        return by_side | {
            "interval": list(bootstrap.interval(next(iter(by_side["test"].values())), drawn, rows)),
            "classes": _classes(targets["test"]) if task.kind == "classification" else {},
            "slices": slices.score_slices(scored, rows, bootstrap),
            "members": members,
            "importances": falls(),
        }


def _classes(target: np.ndarray) -> dict[str, int]:
    """How many rows each class of `target` (n,) has: {"female": 38, "male": 33}."""
    names, counts = np.unique(target, return_counts=True)
    return dict(zip(map(str, names), counts.tolist(), strict=True))


def _compared(
    data: EvaluationData, scored: ScoredModel, champion: ModelVersion, bootstrap: Bootstrap
) -> dict[str, Any]:
    """The champion's scores, the candidate's on the same rows, and the gain; or why there are none."""
    try:
        rows, ours, theirs = with_champion(data, scored, champion, bootstrap)
    except NotComparable as reason:
        return {"not_comparable": str(reason)}
    mine, champions = ours.scores(bootstrap.task.metrics), theirs.scores(bootstrap.task.metrics)
    return {
        "compared_rows": len(rows),
        "champion": champions,
        "candidate": {} if ours is scored else mine,
        "gain": bootstrap.gain(ours, theirs, rows),
    }


def _numbers(scored: ScoredModel, kind: str) -> dict[str, float]:
    """What is measured of the answers apart from scores."""
    if kind == "anomaly":
        return scoring.anomaly_rates(scored.oddness, scored.flagged)
    if kind == "regression":
        return scoring.relative_error(scored.target, scored.view.predict(scored.rows))
    numbers, two = {}, len(scored.view.classes_) == 2
    if two:  # as scorers take them, 1 is the class that is looked for
        shares = {"positive_share": scored.target, "predicted_positive_share": scored.view.predict(scored.rows)}
        numbers = {name: float((labels == 1).mean()) for name, labels in shares.items()}
    if (probabilities := scored.probabilities) is not None:
        error = calibration.calibration_error(scored.target, probabilities, classes=scored.view.classes_)
        numbers["calibration_error"] = error
    return numbers

"""Whether a model is good enough, each reason in a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .machinery.errors import ProjectError

if TYPE_CHECKING:
    from .config import Config, Gate


ON_FAIL = ("challenger", "error")


@dataclass(frozen=True)
class GateResult:
    name: str
    passed: bool
    sentence: str


def verdicts(
    evaluated: dict[str, Any],
    *,
    gate: Gate,
    metric: str | None,
    confidence: float,
    min_rows: int,
    expectations: int,
    dirty: str,
    rolled_back: str | None,
) -> list[GateResult]:
    """The verdict of every gate on a candidate that was `evaluated` as stages/evaluate tells; `metric` decides.

    Without a target there is no metric. `expectations`: how many the data met. `dirty`: "true", "false", or "unknown"
    where the work tree is none of git's. `rolled_back`: when and why this model was taken back, if it was.
    """
    found = _scored(evaluated, gate, metric) + _compared(evaluated, gate, metric, confidence)
    found += _sliced(evaluated["slices"], gate, min_rows)
    limits = [
        ("max_calibration_error", "the calibration error", evaluated["numbers"].get("calibration_error"), ""),
        ("max_megabytes", "the model's size", evaluated["costs"]["megabytes"], " MB"),
        ("max_latency_ms", "the time for a row", evaluated["costs"]["latency_ms"], " ms"),
    ]
    for name, what, value, unit in limits:
        limit = getattr(gate, name)
        if limit is not None:
            kept = value is not None and value <= limit
            told = "is not known: this model gives no probabilities" if value is None else f"{value:.3g}{unit} is"
            sentence = f"{what} {told}" + ("" if value is None else f" {'within' if kept else 'above'} {limit:g}{unit}")
            found.append(GateResult(name, kept, sentence))
    if gate.validated or expectations:
        sentence = f"the data met its {expectations} expectations"
        none = "no expectations hold the data: write some in conf/data/, or gate.validated=false"
        found.append(GateResult("validated", bool(expectations), sentence if expectations else none))
    if gate.clean_tree:
        sentences = {
            "true": "the work tree has changes that are in no commit: commit them, or gate.clean_tree=false",
            "false": "the work tree is clean",
        }
        unknown = "the project is in no commit of git, without which a run cannot be repeated: gate.clean_tree=false"
        found.append(GateResult("clean_tree", dirty == "false", sentences.get(dirty, unknown)))
    if rolled_back:
        found.append(
            GateResult("rolled_back", False, f"this model was taken back {rolled_back}; promote brings it back")
        )
    return found


def _scored(evaluated: dict[str, Any], gate: Gate, metric: str | None) -> list[GateResult]:
    """Against the dummy baseline, and against absolute floors."""
    scores, found = evaluated["test"], []
    if metric is not None:
        score, baseline, least = scores[metric], evaluated["baseline"][metric], gate.min_baseline_gain
        beats = score - baseline > least
        sentence = f"{metric} {score:.4f} {'beats' if beats else 'does not beat'} the dummy baseline's {baseline:.4f}"
        found.append(GateResult("min_baseline_gain", beats, sentence + (f" by more than {least:g}" if least else "")))
    elif "hindrance" not in evaluated:
        sentence = "there is no target to score by, and no champion to contend with"
        found.append(GateResult("min_baseline_gain", True, sentence))
    for name, floor in gate.min_scores.items():
        reached = scores[name] >= floor
        sentence = f"{name} {scores[name]:.4f} {'reaches' if reached else 'is below'} {floor:g}"
        found.append(GateResult(f"min_scores.{name}", reached, sentence))
    return found


def _compared(evaluated: dict[str, Any], gate: Gate, metric: str | None, confidence: float) -> list[GateResult]:
    """Against the champion, on the same rows; chance in them speaks for the candidate unless a gain has to be shown."""
    if "hindrance" in evaluated:
        return [GateResult("max_loss", False, evaluated["hindrance"])]
    if "gain" not in evaluated:
        return []
    gain, low, high = (evaluated["gain"][name] for name in ("value", "low", "high"))
    theirs = evaluated["champion"][metric]
    sure = f" ({low:+.4f} to {high:+.4f} with {confidence:.0%} confidence)" if low is not None else ""
    told = f"{metric} {theirs + gain:.4f} against the champion's {theirs:.4f} on the same rows: {gain:+.4f}{sure}"
    lost = (gain if high is None else high) < -gate.max_loss
    allowed = f"; {gate.max_loss:g} may be lost" if gate.max_loss else ""
    better = low is not None and low > 0
    means = "worse" if lost else "better" if better else "no worse beyond chance"
    found = [GateResult("max_loss", not lost, f"{told}, {means}{allowed}")]
    if gate.min_gain is not None:
        shown = (gain if low is None else low) > gate.min_gain
        sentence = f"a gain of more than {gate.min_gain:g} over the champion is {'shown' if shown else 'not shown'}"
        found.append(GateResult("min_gain", shown, f"{sentence}: {gain:+.4f}{sure}"))
    return found


def _sliced(slices: list[dict[str, Any]], gate: Gate, min_rows: int) -> list[GateResult]:
    """Each slice of enough rows against the floors."""
    found = []
    for name, floor in gate.min_slice_scores.items():
        told = [each for each in slices if name in each and each["rows"] >= min_rows]
        below = [each for each in told if each[name] < floor]
        where = ", ".join(f"{each['column']} {each['value']} ({each[name]:.4f})" for each in below)
        if not told:
            where = f"no slice has the {min_rows} rows that evaluation.min_rows asks for"
        sentence = (
            f"{name} is below {floor:g} for {where}" if below else f"{name} reaches {floor:g} in {len(told)} slices"
        )
        found.append(GateResult(f"min_slice_scores.{name}", bool(told) and not below, where if not told else sentence))
    return found


def refuse(config: Config) -> None:
    """Raises ProjectError for a gate that no model could pass, or that would look at nothing."""
    kind, gate = config.task.kind, config.gate
    if gate.on_fail not in ON_FAIL:
        raise ProjectError(f"gate.on_fail={gate.on_fail}: it is {' or '.join(ON_FAIL)}")
    known = [name.rpartition(".")[2] for name in config.task.metrics]
    for floors in ("min_scores", "min_slice_scores"):
        for name in getattr(config.gate, floors):
            if name not in known:
                from .machinery.evaluation import scoring  # scikit-learn: only where there is something to say

                for each in config.task.metrics:
                    scoring.scorer(each)
                raise ProjectError(
                    f"gate.{floors}.{name}: task.metrics does not compute it; it has {', '.join(known)} "
                    f"(gate.{floors}={{}} asks for no floor)"
                )
    if gate.max_calibration_error is not None and kind != "classification":
        raise ProjectError(
            f"gate.max_calibration_error is for classification, not for {kind}: gate.max_calibration_error=null"
        )
    if kind == "anomaly" and config.columns.target is None and gate.min_scores:
        raise ProjectError("columns.target=null: nothing can be scored then; gate.min_scores={} asks for no floor")
    if gate.min_slice_scores and not config.evaluation.slices:
        raise ProjectError(
            "gate.min_slice_scores needs slices: evaluation.slices=[...] names the columns that make them"
        )

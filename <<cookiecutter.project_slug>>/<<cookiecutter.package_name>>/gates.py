"""Your gates: what a candidate has to reach before it becomes champion.

A gate is a function that is called like its key in conf/gate/, such as `gate.max_megabytes=50`. It gets the key's value
as `limit`, and the `evidence`: what the evaluation measured, and more. It gives a GateResult with a sentence that says
why; a list of them; or None where there is nothing to judge. A key that is null calls no gate.

To add one, write the function here, its field in `Gate` of config.py, and its value in conf/gate/default.yaml. A
function without `limit` needs no key, and is called first. Any public function that takes `evidence` is a gate.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .machinery.errors import ProjectError, inert
from .machinery.evaluation import gate_results
from .machinery.evaluation.gate_results import Evidence, GateResult

if TYPE_CHECKING:
    from .config import Config

ON_FAIL = ("challenger", "error")


def min_baseline_gain(limit: float, evidence: Evidence) -> GateResult | None:
    """Better than a model that answers every row alike, by more than `limit`."""
    result, metric = evidence.evaluation, evidence.evaluation.metric
    if metric is None:
        sentence = "there is no target to score by, and no champion to contend with"
        return None if result.not_comparable else GateResult("min_baseline_gain", True, sentence)
    score, baseline = result.test[metric], result.baseline[metric]
    better = score - baseline > limit
    sentence = f"{metric} {score:.4f} {'beats' if better else 'does not beat'} the dummy baseline's {baseline:.4f}"
    return GateResult("min_baseline_gain", better, sentence + (f" by more than {limit:g}" if limit else ""))


def min_scores(limit: dict[str, float], evidence: Evidence) -> list[GateResult]:
    """Each score at least as high as its floor: {accuracy: 0.8}."""
    results = []
    for name, floor in limit.items():
        score = evidence.evaluation.test[name]
        sentence = f"{name} {score:.4f} {'reaches' if score >= floor else 'is below'} {floor:g}"
        results.append(GateResult(f"min_scores.{name}", score >= floor, sentence))
    return results


def max_loss(limit: float, evidence: Evidence) -> GateResult | None:
    """No worse than the champion on the same rows by more than `limit` and chance."""
    result, gain = evidence.evaluation, evidence.evaluation.gain
    if result.not_comparable:
        return GateResult("max_loss", False, result.not_comparable)
    if gain is None:
        return None
    theirs, sure = result.champion[result.metric or ""], _interval(evidence)
    lost = not (gain.value if gain.high is None else gain.high) >= -limit  # NaN, too
    better = gain.low is not None and gain.low > 0
    means = "worse" if lost else "better" if better else "no worse beyond chance"
    sentence = (
        f"{result.metric} {theirs + gain.value:.4f} against the champion's {theirs:.4f} on the same rows: "
        f"{gain.value:+.4f}{sure}, {means}" + (f"; {limit:g} may be lost" if limit else "")
    )
    return GateResult("max_loss", not lost, sentence)


def min_gain(limit: float, evidence: Evidence) -> GateResult | None:
    """Better than the champion by more than `limit`, beyond chance."""
    gain = evidence.evaluation.gain
    if gain is None or evidence.evaluation.not_comparable:
        return None
    shown = (gain.value if gain.low is None else gain.low) > limit
    sentence = f"a gain of more than {limit:g} over the champion is {'shown' if shown else 'not shown'}"
    return GateResult("min_gain", shown, f"{sentence}: {gain.value:+.4f}{_interval(evidence)}")


def min_slice_scores(limit: dict[str, float], evidence: Evidence) -> list[GateResult]:
    """Each score at least as high as its floor on each slice that has evaluation.min_rows rows."""
    results = []
    for name, floor in limit.items():
        scored = [each for each in evidence.evaluation.slices if each.scores and each.rows >= evidence.min_rows]
        below = [each for each in scored if not each.scores[name] >= floor]
        where = ", ".join(f"{inert(each.column)} {inert(each.value)} ({each.scores[name]:.4f})" for each in below)
        sentence = f"no slice has the {evidence.min_rows} rows that evaluation.min_rows asks for"
        if scored:
            reached = f"{name} reaches {floor:g} in {len(scored)} slices"
            sentence = f"{name} is below {floor:g} for {where}" if below else reached
        results.append(GateResult(f"min_slice_scores.{name}", bool(scored) and not below, sentence))
    return results


def max_calibration_error(limit: float, evidence: Evidence) -> GateResult:
    """Predicted probabilities off from the shares that come true by no more than `limit`, on average."""
    error = evidence.evaluation.numbers.get("calibration_error")
    if error is None:
        sentence = "the calibration error is not known: this model gives no probabilities"
        return GateResult("max_calibration_error", False, sentence)
    return _at_most("max_calibration_error", "the calibration error", error, limit)


def max_megabytes(limit: float, evidence: Evidence) -> GateResult:
    """Files of the model of no more than `limit` MB."""
    return _at_most("max_megabytes", "the model's size", evidence.evaluation.costs["megabytes"], limit, " MB")


def max_latency_ms(limit: float, evidence: Evidence) -> GateResult:
    """One row answered within `limit` ms, the median of some."""
    return _at_most("max_latency_ms", "the time for a row", evidence.evaluation.costs["latency_ms"], limit, " ms")


def validated(limit: bool, evidence: Evidence) -> GateResult | None:
    """Data that met expectations; passing is said also where it is not asked for."""
    if evidence.expectations:
        return GateResult("validated", True, f"the data met its {evidence.expectations} expectations")
    none = "no expectations hold the data: write some in conf/data/, or gate.validated=false"
    return GateResult("validated", False, none) if limit else None


def clean_tree(limit: bool, evidence: Evidence) -> GateResult | None:
    """A commit that the run can be repeated from."""
    sentences = {
        "true": "the work tree has changes that are in no commit: commit them, or gate.clean_tree=false",
        "false": "the work tree is clean",
    }
    unknown = "the project is in no commit of git, without which a run cannot be repeated: gate.clean_tree=false"
    sentence = sentences.get(evidence.dirty, unknown)
    return GateResult("clean_tree", evidence.dirty == "false", sentence) if limit else None


def rolled_back(evidence: Evidence) -> GateResult | None:
    """Not a model that somebody took back: only a person makes it champion again."""
    sentence = f"this model was taken back {evidence.rolled_back}; promote brings it back"
    return GateResult("rolled_back", False, sentence) if evidence.rolled_back else None


def serving(limit: bool, evidence: Evidence) -> GateResult | None:
    """The same answers when it is served in an environment of its own; tried only where no gate before it failed."""
    if not limit or evidence.failed:
        return None
    rows, wrong = evidence.served()
    return GateResult("serving", not wrong, wrong or f"served, it answers {rows} test rows as it does here")


def refuse(config: Config) -> None:
    """Raises ProjectError, before any stage runs, for a gate that no model could pass, or that would judge nothing."""
    kind, gate, slices = config.task.kind, config.gate, config.evaluation.slices
    gate_results.refuse_unmatched(sys.modules[__name__], gate)
    if gate.on_fail not in ON_FAIL:
        raise ProjectError(f"gate.on_fail={gate.on_fail}: it is {' or '.join(ON_FAIL)}")
    computed = [name.rpartition(".")[2] for name in config.task.metrics]
    for key in ("min_scores", "min_slice_scores"):
        for name in getattr(gate, key):
            if name not in computed:
                from .machinery.evaluation import scoring  # scikit-learn: only where there is something to say

                for each in config.task.metrics:
                    scoring.scorer(each)
                raise ProjectError(
                    f"gate.{key}.{name}: task.metrics does not compute it; it has {', '.join(computed)} "
                    f"(gate.{key}={{}} asks for no floor)"
                )
    if gate.max_calibration_error is not None and kind != "classification":
        raise ProjectError(
            f"gate.max_calibration_error is for classification, not for {kind}: gate.max_calibration_error=null"
        )
    if kind == "anomaly" and config.columns.target is None and gate.min_scores:
        raise ProjectError("columns.target=null: nothing can be scored then; gate.min_scores={} asks for no floor")
    if gate.min_slice_scores and not slices:
        raise ProjectError(
            "gate.min_slice_scores needs slices: evaluation.slices=[...] names the columns that make them"
        )


def _interval(evidence: Evidence) -> str:
    gain = evidence.evaluation.gain
    if gain is None or gain.low is None:
        return ""
    return f" ({gain.low:+.4f} to {gain.high:+.4f} with {evidence.confidence:.0%} confidence)"


def _at_most(name: str, what: str, value: float, limit: float, unit: str = "") -> GateResult:
    within = value <= limit
    return GateResult(name, within, f"{what} {value:.3g}{unit} is {'within' if within else 'above'} {limit:g}{unit}")

"""Whether a model is good enough, each reason in a sentence."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    name: str
    passed: bool
    sentence: str


def verdicts(
    scores: dict[str, float],
    *,
    metric: str | None,
    baseline: float | None,
    compared: tuple[float, float] | None,
    hindrance: str | None,
    min_gain: float,
    max_loss: float,
    min_scores: dict[str, float],
    dirty: str | None = None,
) -> list[Verdict]:
    """The verdict of every gate on a candidate with these test `scores`, of which `metric` decides.

    Without a target there are neither.

    `compared`: candidate's and champion's `metric` on the same rows; None where there is no champion to compare with.
    `hindrance`: why a champion that there is could not be compared, in which case it stays.
    `dirty`: "true" or "false" where the work tree must be clean, "unknown" where there is none.
    """
    found = []
    if metric is not None and baseline is not None:
        gain = scores[metric] - baseline > min_gain
        sentence = (
            f"{metric} {scores[metric]:.4f} {'beats' if gain else 'does not beat'} the dummy baseline's {baseline:.4f}"
        )
        found.append(Verdict("min_gain", gain, sentence + (f" by more than {min_gain:g}" if min_gain else "")))
    elif not hindrance:
        found.append(Verdict("min_gain", True, "there is no target to score by, and no champion to contend with"))
    for name, floor in min_scores.items():
        reached = scores[name] >= floor
        sentence = f"{name} {scores[name]:.4f} {'reaches' if reached else 'is below'} {floor:g}"
        found.append(Verdict(f"min_scores.{name}", reached, sentence))
    if hindrance:
        found.append(Verdict("max_loss", False, hindrance))
    elif compared:
        candidate, champion = compared
        kept = candidate >= champion - max_loss
        sentence = f"{metric} {candidate:.4f} is {'no worse' if kept else 'worse'} than the champion's {champion:.4f}"
        found.append(Verdict("max_loss", kept, sentence + (f", {max_loss:g} allowed" if max_loss else "")))
    if dirty is not None:
        sentences = {
            "true": "the work tree has changes that are in no commit: commit them, or gate.clean_tree=false",
            "false": "the work tree is clean",
        }
        unknown = "the project is in no commit of git, without which a run cannot be repeated: gate.clean_tree=false"
        found.append(Verdict("clean_tree", dirty == "false", sentences.get(dirty, unknown)))
    return found

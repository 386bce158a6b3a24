"""What becomes of a registered candidate once its gates have spoken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..mlflow import registration
from ..mlflow.version_tags import ScoresRecord
from .gate_results import GateResult
from .result import as_errors

if TYPE_CHECKING:
    from ..mlflow.registry import ModelVersion
    from .result import EvaluationResult


@dataclass(frozen=True)
class Decision:
    version: ModelVersion
    alias: str  # that it has now
    gates: list[GateResult]
    parent: str  # the address of the champion that it met, or ""
    date: str  # "2026-11-30"

    @property
    def passed(self) -> bool:
        return all(each.passed for each in self.gates)

    @property
    def verdict(self) -> str:
        return "passed" if self.passed else "failed"

    @property
    def reasons(self) -> list[str]:
        """The sentences of all gates, or of those that failed."""
        return [each.sentence for each in self.gates if self.passed or not each.passed]

    @property
    def waits(self) -> bool:
        """Whether it takes a person to make it champion."""
        return self.passed and self.alias == "challenger"

    @property
    def approval(self) -> str:
        """Who approved it, and when."""
        by_hand = self.version.noted.approver
        if by_hand or self.alias != "champion":
            return f"{by_hand}, {self.version.noted.approved}" if by_hand else "nobody yet"
        return f"its gates, {self.date}"

    def facts(self) -> dict[str, Any]:
        """What later stages and programs need to know."""
        about = {"name": self.version.name, "version": self.version.version, "alias": self.alias}
        return about | {"verdict": self.verdict, "reasons": self.reasons}

    def tags(self) -> dict[str, str]:
        """Tags of the run: {"gate": "failed", "registered": "penguins/3", "gate.max_loss": "failed: r2 0.81 ..."}."""
        words = {True: "passed", False: "failed"}
        gates = {f"gate.{each.name}": f"{words[each.passed]}: {each.sentence}" for each in self.gates}
        parent = {"parent_model": self.parent} if self.parent else {}
        return {"gate": self.verdict, "registered": f"{self.version.name}/{self.version.version}"} | parent | gates


def decide(
    version: ModelVersion,
    gates: Sequence[GateResult],
    *,
    result: EvaluationResult,
    confidence: float,
    promotion: str,
    who: str,
) -> Decision:
    """Gives `version` the alias that it has earned by its `gates`, and writes on it why, and what it scored.

    One gate more has failed where another model became champion since the two were compared.
    """
    passed = all(each.passed for each in gates)
    alias, lost = registration.award(version, passed=passed, promotion=promotion, against=result.against, who=who)
    parent = f"models:/{version.name}/{result.against['version']}" if result.against else ""
    late = [GateResult("champion", False, lost)] if lost else []
    decision = Decision(version, alias, [*gates, *late], parent, f"{datetime.now(UTC):%Y-%m-%d}")
    scores = ScoresRecord(result.test, result.interval, result.rows, confidence)
    metrics = result.test | as_errors(result.test)
    registration.note_gate(version, decision.verdict, decision.reasons, scores, metrics)
    return decision

"""What a command did, for workflows and schedulers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..result import StageResult


@dataclass
class CommandResult:
    """What a command did: written to outputs/last.json, also when it failed; its keys: docs/trouble.md."""

    command: str  # "register", "monitor", ...
    overrides: list[str] = field(default_factory=list)  # of Hydra: ["++model.n_estimators=200"]
    exit_code: int = 0  # see errors.py; under `mlflow run` too
    status: str = "finished"  # or "up to date", "failed", "interrupted"
    cause: str | None = None  # of a failure, the sentence that was printed
    summary: list[str] = field(default_factory=list)  # the lines that were printed at the end
    notes: list[str] = field(default_factory=list)
    run_id: str | None = None
    experiment_id: str | None = None
    look: str | None = None  # the address of the run on a server, or the command that opens the UI
    stages: list[dict[str, Any]] = field(default_factory=list)  # {stage, key, reused, run, reason, summary}
    model_id: str | None = None  # of the logged model
    registered: dict[str, Any] | None = None  # {name, version, alias, verdict, reasons}
    scores: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)  # such as {"monitor": "alarm", "drifted": "bill_depth_mm"}
    files: dict[str, str] = field(default_factory=dict)  # {"model_card.md": "outputs/register/4f1c.../model_card.md"}

    def add(self, outcome: StageResult) -> None:
        """Adds what a stage or a job gave."""
        self.scores |= outcome.scores
        self.tags |= outcome.tags
        self.summary += [line.rstrip() for line in (outcome.closing or "").splitlines() if line.strip()]
        if outcome.aliases is not None:
            self.registered = outcome.facts

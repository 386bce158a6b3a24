"""Better settings of a model, looked for by cross-validation on the training rows, and written to conf/experiment/."""

from dataclasses import dataclass
from typing import Any


@dataclass
class Tuning:
    trials: int
    folds: int
    jobs: int | None
    timeout: float | None
    pruning: bool
    name: str
    force: bool
    space: dict[str, Any]


@dataclass
class Arguments:
    """The keys that this job adds to the configuration; their values stand in conf/job/tune.yaml."""

    tune: Tuning

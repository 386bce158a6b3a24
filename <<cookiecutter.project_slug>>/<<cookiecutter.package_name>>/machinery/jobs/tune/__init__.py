"""A search for better settings of a model by cross-validation on the training rows; writes a conf/experiment/ file."""

from dataclasses import dataclass
from typing import Any


@dataclass
class Tuning:
    """The section tune; conf/job/tune.yaml says what each key means."""

    trials: int
    folds: int
    jobs: int | None
    timeout: float | None
    sampler: str
    pruning: bool
    name: str
    force: bool
    space: dict[str, Any]


@dataclass
class Arguments:
    """The keys that this job adds to the configuration; their values stand in conf/job/tune.yaml."""

    tune: Tuning

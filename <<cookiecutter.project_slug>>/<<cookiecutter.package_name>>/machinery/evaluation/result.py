"""What an evaluation gives: plain numbers and words, which the lineage, the gates and the report read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

Scores = dict[str, float]  # {"roc_auc": 0.993, "f1": 0.938}: more is better, the deciding one first


ERRORS = {  # short names of scikit-learn's, where there are any
    "root_mean_squared_error": "rmse",
    "mean_squared_error": "mse",
    "mean_absolute_error": "mae",
    "mean_absolute_percentage_error": "mape",
}


def as_errors(scores: Scores) -> dict[str, float]:
    """The errors among `scores`, whose names and values are negative, under their own names: {"rmse": 12.3}."""
    errors = {name.removeprefix("neg_"): -value for name, value in scores.items() if name.startswith("neg_")}
    return {ERRORS.get(name, name): value for name, value in errors.items()}


@dataclass(frozen=True)
class ModelFacts:
    """What the model is that was evaluated, whichever stage made it."""

    estimator: str  # "RandomForestClassifier"
    settings: str  # the estimator, see estimators.printed
    kinds: dict[str, str]  # of the columns that it takes: {"bill_length_mm": "number"}
    threshold: float | None  # from which probability on it answers the positive class; None: no such choice was made
    digest: str  # of what it answers, see estimators.digest


@dataclass(frozen=True)
class Gain:
    """The deciding score, candidate less champion on the same rows, and its interval: None without resamples."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class SliceScore:
    """What the candidate scores on the test rows that have one value in one column."""

    column: str
    value: str
    rows: int
    score: float | None = None  # the deciding one
    low: float | None = None
    high: float | None = None
    note: str = ""  # why it has no score
    scores: Scores = field(default_factory=dict)


@dataclass(frozen=True)
class MemberScore:
    """What a member of an ensemble scores alone on the test rows."""

    name: str
    weight: float | None
    params: dict[str, str]
    scores: Scores


@dataclass(frozen=True)
class EvaluationResult:
    """Who scored what; {} stands for scores that there are not: without a target, of a champion that is not there."""

    rows: int  # test rows
    model: ModelFacts
    costs: dict[str, float]  # {"megabytes": 0.25, "latency_ms": 8.3}: of the model's files; to answer one row
    test: Scores = field(default_factory=dict)
    interval: list[float | None] = field(default_factory=lambda: [None, None])  # low and high of the deciding score
    baseline: Scores = field(default_factory=dict)  # of a model that answers every row alike, on the test rows
    train: Scores = field(default_factory=dict)
    validation: Scores = field(default_factory=dict)
    against: dict[str, str] | None = None  # the champion that it met: {"version": "3", "digest": "8c1f..."}
    not_comparable: str | None = None  # why the two cannot be compared
    compared_rows: int | None = None  # test rows that neither was trained on
    champion: Scores = field(default_factory=dict)  # on these,
    candidate: Scores = field(default_factory=dict)  # and the candidate's, where they are not all test rows
    gain: Gain | None = None
    classes: dict[str, int] = field(default_factory=dict)  # test rows of each: {"female": 38, "male": 33}
    slices: list[SliceScore] = field(default_factory=list)
    importances: dict[str, float] = field(default_factory=dict)  # see importance.falls
    members: list[MemberScore] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)  # {"calibration_error": 0.03}, {"anomaly_rate": 0.14}
    figures: list[str] = field(default_factory=list)  # of the report: files <name>.svg of the stage

    @property
    def metric(self) -> str | None:
        """The name of the deciding score; None where there is no target to score by."""
        return next(iter(self.test), None)

    def to_facts(self) -> dict[str, Any]:
        """The same as JSON data."""
        return asdict(self)

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> EvaluationResult:
        """The result that `to_facts` gave."""
        parts = {
            "model": ModelFacts(**facts["model"]),
            "gain": Gain(**facts["gain"]) if facts["gain"] else None,
            "slices": [SliceScore(**each) for each in facts["slices"]],
            "members": [MemberScore(**each) for each in facts["members"]],
        }
        return cls(**{**facts, **parts})

    def measured(self) -> dict[str, float]:
        """All numbers that runs are compared by: {"test_roc_auc": 0.99, "gain_low": -0.01, "anomaly_rate": 0.14}."""
        sides = ("test", "train", "validation", "baseline", "candidate", "champion")
        numbers = {
            f"{side}_{name}": value
            for side in sides
            for scores in [getattr(self, side)]
            for name, value in (scores | as_errors(scores)).items()
        }
        ends = {f"test_{self.metric}_low": self.interval[0], f"test_{self.metric}_high": self.interval[1]}
        if self.gain:
            ends |= {f"gain_{name}": value for name, value in vars(self.gain).items()}
        return numbers | self.numbers | {name: value for name, value in ends.items() if value is not None}

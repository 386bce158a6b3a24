"""The sections of the configuration that the machinery reads. Their values and what they mean stand in conf/.

A stage whose argument is annotated with a parent class, such as Roles for the section `columns`, gets the fields of
that class alone: a change of the others does not make it run.
"""

from dataclasses import dataclass
from typing import Any


@dataclass
class Roles:
    """The columns that have a role in the table."""

    target: str | None
    key: list[str]
    group: list[str]
    time: str | None
    drop: list[str]


@dataclass
class Columns(Roles):
    sensitive: list[str]


@dataclass
class Type:
    kind: str
    format: str | None = None  # of a date; of several, with | between them, the first that fits
    decimal: str = "."  # of a number
    unit: str | None = None  # of a number: what stands at it, such as kg
    odd: str = "stop"  # what a value that is none of the kind is: an error, or missing


@dataclass
class Split:
    by: str
    test: float
    validation: float
    train: float | None
    gap: str | None


@dataclass
class Leakage:
    threshold: float
    allow: list[str]


@dataclass
class Problem:
    """The kind of a task: classification, regression, anomaly."""

    kind: str


@dataclass
class Objective(Problem):
    """What a model is fitted for, without what it is scored by."""

    positive: str | None
    threshold: str | None
    transform: str | None


@dataclass
class Task(Objective):
    estimator: str
    linear: dict[str, Any]
    metrics: list[str]


@dataclass
class Evaluation:
    slices: list[str]
    confidence: float
    resamples: int
    resampled_rows: int
    train_rows: int
    test_rows: int | None
    importance_repeats: int
    importance_rows: int
    min_rows: int


@dataclass
class Drift:
    alarm_rate: float
    min_distance: float
    max_loss: float
    ignore: list[str]


@dataclass
class Tracking:
    autolog: bool
    system_metrics: bool
    sample_rows: int
    run_name: str | None


@dataclass
class Card:
    """What the model card says that cannot be measured."""

    owner: str | None
    contact: str | None
    intended_use: str | None
    licence: str | None
    limits: list[str]


@dataclass
class Platform:
    server: bool
    outputs: str
    catalog: str | None


@dataclass
class Fitting:
    """How many rows a model is fitted to."""

    fit_rows: int | None
    fit_workers: int | None


@dataclass
class Engine(Fitting):
    kind: str
    sample_rows: int | None
    part_rows: int | None
    address: str | None
    options: dict[str, Any]


@dataclass
class Environment:
    """Where versions go from here, see promote."""

    registered_model: str
    registry: str | None


@dataclass
class Deploy:
    model: str
    registry: str | None
    alias: str
    challenger: str
    challenger_share: float
    sticky: str | None
    mirror: bool
    host: str
    port: int
    workers: int
    timeout: float
    env_manager: str
    folder: str
    on_promote: bool
    log_predictions: bool
    log_folder: str
    log_seconds: int
    log_megabytes: float
    log_key: list[str]
    sensitive: list[str]
    cache: str | None
    cache_seconds: int


@dataclass
class Settings:
    """The whole configuration, but for the user's own sections, which `config.Config` adds."""

    project: str
    experiment_name: str
    description: str
    seed: int
    registered_model: str
    reuse: bool
    choices: dict[str, str]  # the option chosen of every group: {"model": "forest", ...}
    source: dict[str, Any]
    source_version: str | None
    columns: Columns
    missing: list[str]
    types: dict[str, Type]
    expectations: list[dict[str, Any]]
    split: Split
    leakage: Leakage
    task: Task
    model: dict[str, Any]
    evaluation: Evaluation
    promotion: str
    candidate: str | None
    environments: dict[str, Environment]
    drift: Drift
    tracking: Tracking
    card: Card
    engine: Engine
    platform: Platform
    deploy: Deploy | None
    tags: dict[str, Any]  # texts or null, and `required`, a list of names
    trusted: list[str]

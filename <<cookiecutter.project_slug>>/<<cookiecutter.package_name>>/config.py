"""Your sections of the configuration.

A section is a dataclass without values: these stand in conf/; a key that is missing or misspelt is refused. To add one,
write its class, name it in `Config`, give it values in conf/config.yaml, and take it as an argument of the stage that
reads it. What the template itself reads is in machinery/config/schema.py.
"""

from dataclasses import dataclass
from typing import Any

from .machinery.config.schema import Settings


@dataclass
class Features:
    """How columns become what a model takes: features.py, encoders.py."""

    max_categories: int
    min_frequency: float
    text_components: int
    derive: dict[str, Any]  # SQL expressions, or functions with their arguments, by the name of the new column
    kinds: dict[str, str]


@dataclass
class Gate:
    """When a candidate becomes champion: each key but `on_fail` is a function of gates.py; they run in this order."""

    min_baseline_gain: float
    min_scores: dict[str, float]
    max_loss: float
    min_gain: float | None
    min_slice_scores: dict[str, float]
    max_calibration_error: float | None
    max_megabytes: float | None
    max_latency_ms: float | None
    validated: bool
    clean_tree: bool
    serving: bool
    on_fail: str


@dataclass
class Config(Settings):
    features: Features
    gate: Gate

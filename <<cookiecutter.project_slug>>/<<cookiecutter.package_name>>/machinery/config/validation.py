"""What a config must not say: values out of range, what is not installed, and settings that would change nothing."""

from __future__ import annotations

import importlib.util
import math
import re
import tomllib
from dataclasses import is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError

if TYPE_CHECKING:
    from .schema import Settings

PROMOTION = ("auto", "manual")
OWN_TAGS = ("project", "dataset", "model_name", "algorithm", "model_type", "task", "environment")  # always there
ARGUMENTS = ("source", "model")  # of callables, which may take infinity or NaN: XGBoost's `missing` does


def refuse(config: Settings) -> None:
    """Raises ConfigError for the first value of `config` that cannot be, or would change nothing."""
    _refuse_endless({name: each for name, each in vars(config).items() if name not in ARGUMENTS})
    if not 0 <= config.seed < 2**32:
        raise ConfigError(f"seed={config.seed}: random generators take 0 to {2**32 - 1}")
    if not config.task.metrics:
        raise ConfigError("task.metrics is empty: name at least one scorer of scikit-learn, the one that decides first")
    name = config.registered_model
    if not name.strip(". ") or len(name) > 200 or set(name) & set("/:@'\""):  # else said after all is trained
        raise ConfigError(f"registered_model={name}: a name has 1 to 200 characters, and none of / : @ ' \"")
    names = [name, *(each.registered_model for each in config.environments.values() if not each.registry)]
    for each in names if config.platform.catalog else ():
        if not re.fullmatch(r"[^.\s]+(\.[^.\s]+){2}", each):
            levels = "names in Unity Catalog are catalog.schema.model, without spaces: platform.catalog=main.default"
            raise ConfigError(f"registered_model={each}: {levels}")
    required = config.tags.get("required") or []
    without = [name for name in required if name not in OWN_TAGS and not config.tags.get(name)]
    if without and config.platform.server:
        wanted = f"platform=server wants the tags {', '.join(required)} (tags.required)"
        raise ConfigError(f"{wanted}: give one as tags.{without[0]}=...")
    if config.tracking.autolog and (config.platform.server or config.columns.sensitive):
        why = "MLflow picks what it logs, past what keeps credentials and sensitive values out"
        raise ConfigError(f"tracking.autolog=true is for platform=local without columns.sensitive: {why}")
    _refuse_idle(config)
    counts = {f"evaluation.{name}": value for name, value in vars(config.evaluation).items() if type(value) is int}
    for name, count in (counts | {"tracking.sample_rows": config.tracking.sample_rows}).items():
        if count < 0:
            raise ConfigError(f"{name}={count}: a count is 0 or more")


def refuse_absent(targets: list[str], config: Settings, *, root: Path) -> None:
    """Raises ConfigError where one of a model's `targets` names an extra of pyproject.toml in `root` that is absent."""
    for library in (part for target in targets for part in str(target).split(".")):  # networks.torch.TorchClassifier
        if library and importlib.util.find_spec(library) is None:
            project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
            if library in project.get("optional-dependencies", {}):
                raise absence(f"model={config.choices['model']}", library, extra=library)


def absence(who: str, library: str, *, extra: str) -> ConfigError:
    """What is said where `who` needs a library that is not installed, of an `extra` of pyproject.toml."""
    return ConfigError(
        f"{who} needs {library}: `uv sync --extra {extra}` installs it here, "
        f"`uv add {library}` and `make lock` for every environment"
    )


def _refuse_endless(value: Any, at: str = "") -> None:
    """Raises ConfigError for a number in `value`, nested, that is infinite or NaN: as a limit it would stop nothing."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{at}={value}: it is a finite number")
    value = vars(value) if is_dataclass(value) else dict(enumerate(value)) if isinstance(value, list) else value
    for name, each in value.items() if isinstance(value, dict) else ():
        _refuse_endless(each, f"{at}.{name}".removeprefix("."))


def _refuse_idle(config: Settings) -> None:
    """Raises ConfigError for a setting that would change nothing, and for a task without what it needs."""
    kind = config.task.kind
    if config.promotion not in PROMOTION:
        raise ConfigError(f"promotion={config.promotion}: it is {' or '.join(PROMOTION)}")
    if kind == "anomaly" and config.columns.target is None and config.evaluation.slices:
        raise ConfigError("columns.target=null: nothing can be scored then; evaluation.slices=[] leaves it out")
    try:
        threshold = float(config.task.threshold or 0.5)
    except ValueError:
        threshold = 0.5  # a scorer's name, which finds one
    if not 0 <= threshold <= 1:
        raise ConfigError(f"task.threshold={config.task.threshold}: a probability is between 0 and 1")
    if not 0 < config.drift.alarm_rate < 1:
        raise ConfigError(f"drift.alarm_rate={config.drift.alarm_rate:g}: it is between 0 and 1, such as 0.01")
    if not 0 < config.leakage.threshold <= 1:
        raise ConfigError(
            f"leakage.threshold={config.leakage.threshold:g}: it is above 0 and at most 1; leakage.allow=[...] lets "
            "columns tell more"
        )
    if not 0 <= config.drift.min_distance < 1:
        raise ConfigError(f"drift.min_distance={config.drift.min_distance:g}: it is a share of rows, 0 to less than 1")
    if not 0 < config.evaluation.confidence < 1:
        raise ConfigError(
            f"evaluation.confidence={config.evaluation.confidence:g}: it is between 0 and 1, such as 0.95"
        )
    private = [name for name in config.evaluation.slices if name in config.columns.sensitive]
    if private:
        raise ConfigError(
            f"evaluation.slices names {private[0]}, whose values are sensitive: they would stand in the report"
        )
    if config.split.by == "time" and config.columns.time in config.columns.sensitive:
        raise ConfigError(
            f"columns.time={config.columns.time} is sensitive, and split=time keeps the times at which its sides meet: "
            "take split=hash, or a coarser column"
        )
    if config.task.transform == "quantile" and config.columns.target in config.columns.sensitive:
        raise ConfigError(f"task.transform=quantile keeps values of {config.columns.target}, which is sensitive: log")
    suits = {"positive": ("classification", "anomaly"), "threshold": ("classification",), "transform": ("regression",)}
    for name, kinds in suits.items():
        if (value := getattr(config.task, name)) is not None and kind not in kinds:
            raise ConfigError(f"task.{name}={value} is for {' and '.join(kinds)}, not for {kind}: task.{name}=null")
    if config.split.gap is not None and config.split.by != "time":
        raise ConfigError(
            f"split.gap={config.split.gap} is for split=time, not for split={config.split.by}: split.gap=null"
        )
    if config.columns.target is None and kind != "anomaly":
        raise ConfigError(f"columns.target=null is for task=anomaly; {kind} needs a column to predict")

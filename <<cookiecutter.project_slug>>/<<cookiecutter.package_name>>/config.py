"""One `Config` out of conf/ and the overrides of a command line; callables out of its open sections."""

import difflib
import functools
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException, MissingConfigException
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from . import checks
from .errors import Refused

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
TOLERANCE = "_tolerance_"  # of a model: how far apart its predictions may be when it is fitted anew; see jobs/reproduce


# The closed sections. Their values stand in conf/, none here; what a key means is said there too.
@dataclass
class Columns:
    target: str | None
    key: list[str]
    group: list[str]
    time: str | None
    drop: list[str]
    sensitive: list[str]


@dataclass
class Type:
    kind: str
    format: str | None = None  # of a date
    decimal: str = "."  # of a number


@dataclass
class Features:
    max_categories: int
    min_frequency: float
    text_components: int


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
class Task:
    kind: str
    estimator: str
    linear: dict[str, Any]
    metrics: list[str]
    positive: str | None
    threshold: str | None
    transform: str | None


@dataclass
class Evaluation:
    slices: list[str]
    confidence: float
    resamples: int
    resampled_rows: int
    importance_repeats: int
    importance_rows: int
    min_rows: int


@dataclass
class Gate:
    min_baseline_gain: float
    max_loss: float
    min_gain: float | None
    min_scores: dict[str, float]
    min_slice_scores: dict[str, float]
    max_calibration_error: float | None
    max_megabytes: float | None
    max_latency_ms: float | None
    validated: bool
    clean_tree: bool
    serving: bool
    on_fail: str


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


@dataclass
class Platform:
    server: bool
    outputs: str


@dataclass
class Config:
    project: str
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
    features: Features
    split: Split
    leakage: Leakage
    task: Task
    model: dict[str, Any]
    evaluation: Evaluation
    gate: Gate
    promotion: str
    drift: Drift
    tracking: Tracking
    platform: Platform
    tags: dict[str, str | None]


@dataclass
class Monitor(Config):
    input: str | None
    query: str | None
    version: str | None
    endpoint: str | None
    requests: int
    max_latency_ms: float | None


@dataclass
class Predict(Config):
    input: str
    output: str
    version: str | None
    query: str | None
    table: str | None


@dataclass
class Profile(Config):
    path: str
    target: str | None
    name: str | None
    query: str | None
    force: bool


@dataclass
class Prune(Config):
    keep: int
    dry_run: bool


@dataclass
class Reproduce(Config):
    run_id: str
    tolerance: float | None


@dataclass
class Promote(Config):
    version: str
    approver: str
    reason: str | None


@dataclass
class Rollback(Config):
    approver: str | None
    reason: str | None


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
class Tune(Config):
    tune: Tuning


JOBS: dict[str, type[Config]] = {
    "monitor": Monitor,
    "predict": Predict,
    "profile": Profile,
    "promote": Promote,
    "prune": Prune,
    "reproduce": Reproduce,
    "rollback": Rollback,
    "tune": Tune,
}  # a job's own arguments stand in conf/job/


def groups() -> dict[str, list[str]]:
    """The options of every group: {"model": ["boosting", ...], ...}."""
    folders = sorted(folder for folder in CONF.iterdir() if folder.is_dir() and folder.name != "job")
    return {folder.name: sorted(file.stem for file in folder.glob("*.yaml")) for folder in folders}


def composed(overrides: list[str], job: str | None = None) -> DictConfig:
    """conf/ with Hydra's `overrides`, checked against `Config` or the `job`'s own, interpolations kept as written."""
    own = [f"+job={job}"] if job else []
    if job in groups():  # a file for each model, in a folder that is called after the job
        own.append(f"+{job}=${{model}}")
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            raw = compose("config", [*own, *overrides], return_hydra_config=True)
        HydraConfig.instance().set_config(raw)  # what ${hydra:runtime.choices...} reads
        choices = {
            group: name
            for group, name in raw.hydra.runtime.choices.items()
            if name and "/" not in group and group != "job"
        }
        stated = OmegaConf.masked_copy(raw, [str(key) for key in raw if key != "hydra"])
        typed = OmegaConf.merge(OmegaConf.structured(JOBS[job] if job else Config), stated, {"choices": choices})
        return cast(DictConfig, typed)
    except MissingConfigException as error:
        raise Refused(_missing(error)) from error
    except HydraException as error:
        raise Refused(" ".join(str(error.__cause__ or error).split())) from error
    except OmegaConfBaseException as error:
        raise Refused(sentence(error)) from error
    except YAMLError as error:
        raise Refused(f"a file in conf/ is no YAML: {' '.join(str(error).split())}") from error


def resolve(overrides: list[str], job: str | None = None) -> tuple[Config, dict[str, Any]]:
    """The `Config` of conf/ with `overrides`, and the same as plain data, interpolations as written: no secrets."""
    typed = composed(overrides, job)
    try:
        config = cast(Config, OmegaConf.to_object(typed))
    except OmegaConfBaseException as error:
        raise Refused(sentence(error)) from error
    checks.refuse(config)
    if job in (None, "tune"):  # the others take no model but those that there are
        checks.refuse_absent([call["_target_"] for _, call in _calls(config.model, "model")], config, root=ROOT)
    return config, cast("dict[str, Any]", OmegaConf.to_container(typed))


def wants(typed: DictConfig, key: str) -> str:
    """What `key` takes: "text", "text or null", "texts" (a list of text), "list", "mapping", or "other"."""
    node: Any = typed
    for part in key.split("."):
        node = node._get_node(part, validate_access=False) if isinstance(node, DictConfig) else None
    if node is None:
        return "text or null" if key.startswith("tags.") else "other"
    if isinstance(node, ListConfig):
        return "texts" if node._metadata.element_type is str else "list"
    if isinstance(node, DictConfig):
        return "mapping"
    if node._metadata.ref_type is str:
        return "text or null" if node._is_optional() else "text"
    return "text or null" if isinstance(node._value(), str) and not node._is_interpolation() else "other"


def bound(section: dict[str, Any], *, name: str) -> Callable[[], Any]:
    """The call that `section` describes by `_target_` and keyword arguments, checked against the signature.

    Raises Refused for a target that cannot be imported and for an argument that it does not take or misses.
    """
    if not section.get("_target_"):
        raise Refused(f"{name}._target_ is missing: it names the callable")
    for where, call in _calls(section, name):
        _check(call, where)
    return functools.partial(_call, {key: value for key, value in section.items() if key != TOLERANCE})


def _calls(section: dict[str, Any], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """What describes a call by `_target_`: `section`, and what is nested in it, each with its full name."""
    for key, part in section.items():
        if isinstance(part, dict):
            yield from _calls(part, f"{name}.{key}")
    if "_target_" in section:
        yield name, section


def _check(section: dict[str, Any], name: str) -> None:
    """Raises Refused as `bound` does."""
    target = section["_target_"]
    try:
        takes = _parameters(pkgutil.resolve_name(target))
    except (ImportError, AttributeError, ValueError) as error:
        raise Refused(f"{name}._target_={target} cannot be imported: {error}") from error
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values())
    for key in section:
        misspelt = not anything or difflib.get_close_matches(key, takes, n=1, cutoff=0.9)
        if not key.startswith("_") and key not in takes and misspelt:
            raise Refused(f"{name}.{key}: {target} has no such argument{close(key, list(takes))}")
    for key, parameter in takes.items():
        named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if named and parameter.default is parameter.empty and key not in section and not section.get("_partial_"):
            raise Refused(f"{name}.{key} is missing: {target} needs it")


def _parameters(call: Any) -> dict[str, inspect.Parameter]:
    """What `call` takes; and where it is a class that hands on what it does not name, what those above it name."""
    takes = dict(inspect.signature(call).parameters)
    if isinstance(call, type) and any(each.kind is each.VAR_KEYWORD for each in takes.values()):
        for above in call.__mro__[:-1]:
            named = inspect.signature(above).parameters
            takes |= {name: each for name, each in named.items() if each.default is not each.empty}
    return takes


def _call(section: dict[str, Any]) -> Any:
    """What the callable gives; its own error where it raises one, not Hydra's around it."""
    try:
        return instantiate(section, _convert_="all")
    except InstantiationException as error:
        raise error.__cause__ or error from None


def close(word: str, known: list[str]) -> str:
    """The end of a sentence about an unknown `word`: what was meant, or else what is `known`."""
    known = [name for name in known if not name.startswith("_")]
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; it takes {', '.join(known)}"


def _missing(error: MissingConfigException) -> str:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    if group not in groups():
        return " ".join(str(error).split())
    write = "; write one, such as `space: {model: {max_depth: {low: 2, high: 12}}}`" if group == "tune" else ""
    return f"{group}={option}: conf/{group}/ has no {option}.yaml; it has {', '.join(groups()[group])}{write}"


def sentence(error: OmegaConfBaseException) -> str:
    """One line out of OmegaConf's several, with the key's full name."""
    key, reason = error.full_key or "", str(error.msg or error).splitlines()[0]
    if isinstance(error, ConfigKeyError):
        if error.key in groups():
            return f"conf/{error.key}/: the chosen file is empty, or its first line is not `# @package _global_`"
        known = list(error.parent_node) if isinstance(error.parent_node, DictConfig) else list(Config.__annotations__)
        return f"{key}: there is no such key{close(str(error.key), known)}"
    if isinstance(error, MissingMandatoryValue):
        return f"{key} has no value: give it one in conf/ or as {key}=..."
    if "is not a ListConfig" in reason:
        return f"{key} is a list: write it in brackets, as in [a, b]"
    return f"{key}: {reason[:1].lower()}{reason[1:]}"

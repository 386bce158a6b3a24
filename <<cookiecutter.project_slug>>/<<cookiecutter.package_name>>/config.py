"""One `Config` out of conf/ and the overrides of a command line; callables out of its open sections."""

import difflib
import functools
import importlib.util
import inspect
import pkgutil
import tomllib
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

from .errors import Refused

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
ON_FAIL, PROMOTION = ("challenger", "error"), ("auto", "manual")
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
        raise Refused(_sentence(error)) from error
    except YAMLError as error:
        raise Refused(f"a file in conf/ is no YAML: {' '.join(str(error).split())}") from error


def resolve(overrides: list[str], job: str | None = None) -> tuple[Config, dict[str, Any]]:
    """The `Config` of conf/ with `overrides`, and the same as plain data, interpolations as written: no secrets."""
    typed = composed(overrides, job)
    try:
        config = cast(Config, OmegaConf.to_object(typed))
    except OmegaConfBaseException as error:
        raise Refused(_sentence(error)) from error
    if not 0 <= config.seed < 2**32:
        raise Refused(f"seed={config.seed}: random generators take 0 to {2**32 - 1}")
    if not config.task.metrics:
        raise Refused("task.metrics is empty: name at least one scorer of scikit-learn, the one that decides first")
    name = config.registered_model
    if not name.strip(". ") or len(name) > 200 or set(name) & set("/:@'\""):  # else said after all is trained
        raise Refused(f"registered_model={name}: a name has 1 to 200 characters, and none of / : @ ' \"")
    if not job:
        _refuse_absent(config)
    _refuse_idle(config)
    known = [name.rpartition(".")[2] for name in config.task.metrics]
    for floors in ("min_scores", "min_slice_scores"):
        for name in getattr(config.gate, floors):
            if name not in known:
                from . import metrics  # scikit-learn is imported for this only when there is something to say

                for each in config.task.metrics:
                    metrics.scorer(each)
                raise Refused(
                    f"gate.{floors}.{name}: task.metrics does not compute it; it has {', '.join(known)} "
                    f"(gate.{floors}={{}} asks for no floor)"
                )
    counts = {f"evaluation.{name}": value for name, value in vars(config.evaluation).items() if type(value) is int}
    for name, count in (counts | {"tracking.sample_rows": config.tracking.sample_rows}).items():
        if count < 0:
            raise Refused(f"{name}={count}: a count is 0 or more")
    return config, cast("dict[str, Any]", OmegaConf.to_container(typed))


def varied(typed: DictConfig, values: dict[str, Any]) -> tuple[dict[str, Any], Features, Task]:
    """The sections model, features and task of `typed`, a config as `composed` gives it, once `values` are in it.

    `values`: by the full names of their keys. Raises Refused for a key that is not there and for a value that it does
    not take.
    """
    try:
        for key, value in values.items():
            OmegaConf.update(typed, key, value, merge=False, force_add=key.startswith(("model.", "task.linear.")))
        model = cast("dict[str, Any]", OmegaConf.to_container(typed.model, resolve=True))
        features, task = (cast(Any, OmegaConf.to_object(each)) for each in (typed.features, typed.task))
    except OmegaConfBaseException as error:
        raise Refused(_sentence(error)) from error
    return model, features, task


def present(typed: DictConfig, key: str) -> Any:
    """The value of `key` in `typed`, a config as `composed` gives it; the callable's own where conf/ names none.

    Raises Refused where there is no such key.
    """
    *parents, name = key.split(".")
    above: Any = typed
    for part in parents:
        if not isinstance(above, DictConfig) or part not in above:
            raise Refused(f"{key}: there is no such key" + (_close(part, list(above)) if above else ""))
        if OmegaConf.is_interpolation(above, part):
            raise Refused(f"{key}: {part} is {above._get_node(part)._value()}: name it there")  # type: ignore[union-attr]
        above = above[part]
    section = cast("dict[str, Any]", OmegaConf.to_container(above, resolve=True))
    if name in section:
        return section[name]
    if "_target_" not in section:
        raise Refused(f"{key}: there is no such key{_close(name, list(section))}")
    bound({**section, name: None}, name=".".join(parents))
    known = inspect.signature(pkgutil.resolve_name(section["_target_"])).parameters.get(name)
    return None if known is None or known.default is known.empty else known.default


def _refuse_absent(config: Config) -> None:
    """Raises Refused for a model, or a part of one, out of an extra of pyproject.toml that is not installed."""
    for _, call in _calls(config.model, "model"):
        library = str(call["_target_"]).partition(".")[0]
        if library and importlib.util.find_spec(library) is None:
            project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
            if library in project.get("optional-dependencies", {}):
                raise Refused(
                    f"model={config.choices['model']} needs {library}: `uv sync --extra {library}` installs it here, "
                    f"`uv add {library}` and `make lock` for every environment"
                )


def _refuse_idle(config: Config) -> None:
    """Raises Refused for a setting that would change nothing, and for a task without what it needs."""
    kind, gate = config.task.kind, config.gate
    choices = {"gate.on_fail": (gate.on_fail, ON_FAIL), "promotion": (config.promotion, PROMOTION)}
    for name, (value, known) in choices.items():
        if value not in known:
            raise Refused(f"{name}={value}: it is {' or '.join(known)}")
    try:
        threshold = float(config.task.threshold or 0.5)
    except ValueError:
        threshold = 0.5  # a scorer's name, which finds one
    if not 0 <= threshold <= 1:
        raise Refused(f"task.threshold={config.task.threshold}: a probability is between 0 and 1")
    if not 0 < config.drift.alarm_rate < 1:
        raise Refused(f"drift.alarm_rate={config.drift.alarm_rate:g}: it is between 0 and 1, such as 0.01")
    if not 0 < config.evaluation.confidence < 1:
        raise Refused(f"evaluation.confidence={config.evaluation.confidence:g}: it is between 0 and 1, such as 0.95")
    if gate.max_calibration_error is not None and kind != "classification":
        raise Refused(
            f"gate.max_calibration_error is for classification, not for {kind}: gate.max_calibration_error=null"
        )
    if kind == "anomaly" and config.columns.target is None and (gate.min_scores or config.evaluation.slices):
        raise Refused(
            "columns.target=null: nothing can be scored then; gate.min_scores={} and evaluation.slices=[] leave it out"
        )
    if gate.min_slice_scores and not config.evaluation.slices:
        raise Refused("gate.min_slice_scores needs slices: evaluation.slices=[...] names the columns that make them")
    private = [name for name in config.evaluation.slices if name in config.columns.sensitive]
    if private:
        raise Refused(
            f"evaluation.slices names {private[0]}, whose values are sensitive: they would stand in the report"
        )
    suits = {"positive": ("classification", "anomaly"), "threshold": ("classification",), "transform": ("regression",)}
    for name, kinds in suits.items():
        if (value := getattr(config.task, name)) is not None and kind not in kinds:
            raise Refused(f"task.{name}={value} is for {' and '.join(kinds)}, not for {kind}: task.{name}=null")
    if config.split.gap is not None and config.split.by != "time":
        raise Refused(
            f"split.gap={config.split.gap} is for split=time, not for split={config.split.by}: split.gap=null"
        )
    if config.columns.target is None and kind != "anomaly":
        raise Refused(f"columns.target=null is for task=anomaly; {kind} needs a column to predict")


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
            raise Refused(f"{name}.{key}: {target} has no such argument{_close(key, list(takes))}")
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


def _close(word: str, known: list[str]) -> str:
    known = [name for name in known if not name.startswith("_")]
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; it takes {', '.join(known)}"


def _missing(error: MissingConfigException) -> str:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    if group not in groups():
        return " ".join(str(error).split())
    write = "; write one, such as `space: {model: {max_depth: {low: 2, high: 12}}}`" if group == "tune" else ""
    return f"{group}={option}: conf/{group}/ has no {option}.yaml; it has {', '.join(groups()[group])}{write}"


def _sentence(error: OmegaConfBaseException) -> str:
    """One line out of OmegaConf's several, with the key's full name."""
    key, reason = error.full_key or "", str(error.msg or error).splitlines()[0]
    if isinstance(error, ConfigKeyError):
        if error.key in groups():
            return f"conf/{error.key}/: the chosen file is empty, or its first line is not `# @package _global_`"
        known = list(error.parent_node) if isinstance(error.parent_node, DictConfig) else list(Config.__annotations__)
        return f"{key}: there is no such key{_close(str(error.key), known)}"
    if isinstance(error, MissingMandatoryValue):
        return f"{key} has no value: give it one in conf/ or as {key}=..."
    if "is not a ListConfig" in reason:
        return f"{key} is a list: write it in brackets, as in [a, b]"
    return f"{key}: {reason[:1].lower()}{reason[1:]}"

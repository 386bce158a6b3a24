"""One configuration out of conf/ and the overrides of a command line."""

from dataclasses import dataclass, fields
from typing import Any, cast, get_args

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from ..errors import ConfigError, close, one_line
from ..layout import Layout
from . import validation
from .binding import calls
from .schema import Settings


def groups(layout: Layout) -> dict[str, list[str]]:
    """The options of every group: {"model": ["boosting", ...], ...}."""
    folders = sorted(folder for folder in layout.conf.iterdir() if folder.is_dir() and folder.name != "job")
    return {folder.name: sorted(file.stem for file in folder.glob("*.yaml")) for folder in folders}


def composed(layout: Layout, overrides: list[str], job: str | None = None) -> DictConfig:
    """conf/ with Hydra's `overrides`, checked against the user's `Config` and the `job`'s arguments, interpolations
    kept as written."""
    own = [f"+job={job}"] if job else []
    if job in groups(layout):  # a file for each model, in a folder that is called after the job
        own.append(f"+{job}=${{model}}")
    try:
        with initialize_config_dir(str(layout.conf), version_base="1.3"):
            raw = compose("config", [*own, *overrides], return_hydra_config=True)
        HydraConfig.instance().set_config(raw)  # what ${hydra:runtime.choices...} reads
        choices = {
            group: name
            for group, name in raw.hydra.runtime.choices.items()
            if name and "/" not in group and group != "job"
        }
        raw_config = OmegaConf.masked_copy(raw, [str(key) for key in raw if key != "hydra"])
        typed = OmegaConf.merge(OmegaConf.structured(_schema(layout, job)), raw_config, {"choices": choices})
        return cast(DictConfig, typed)
    except MissingConfigException as error:
        raise ConfigError(_missing(layout, error)) from error
    except HydraException as error:
        raise ConfigError(one_line(error.__cause__ or error)) from error
    except OmegaConfBaseException as error:
        raise ConfigError(sentence(layout, error)) from error
    except YAMLError as error:
        raise ConfigError(f"a file in conf/ is no YAML: {one_line(error)}") from error


def resolve(layout: Layout, overrides: list[str], job: str | None = None) -> tuple[Settings, dict[str, Any]]:
    """The configuration of conf/ with `overrides`, and the same as plain data, interpolations as written: no
    secrets."""
    typed = composed(layout, overrides, job)
    try:
        config = cast(Settings, OmegaConf.to_object(typed))
    except OmegaConfBaseException as error:
        raise ConfigError(sentence(layout, error)) from error
    validation.refuse(config)
    layout.load("gates", "refuse")(config)
    if job is None or job in groups(layout):  # the other jobs train nothing
        targets = [call["_target_"] for _, call in calls(config.model, "model")]
        validation.refuse_absent(targets, config, root=layout.root)
    return config, cast("dict[str, Any]", OmegaConf.to_container(typed))


def _schema(layout: Layout, job: str | None) -> type:
    """The dataclass that the configuration of a stage, or of `job`, is held to."""
    config = layout.load("config", "Config")
    return dataclass(type(config.__name__, (layout.job_arguments(job), config), {})) if job else config


def wants(typed: DictConfig, key: str) -> str:
    """What `key` takes: "text", "text or null", "texts" (a list of text), "list", "mapping", or "other"."""
    if key.startswith("tags."):
        return "texts" if key == "tags.required" else "text or null"
    node: Any = typed
    for part in key.split("."):
        above, node = node, node._get_node(part, validate_access=False) if isinstance(node, DictConfig) else None
    if node is None:  # a new key: of a mapping of texts, such as tags, it takes one
        element = above._metadata.element_type if isinstance(above, DictConfig) else None
        return "text or null" if str in (element, *get_args(element)) else "other"
    if isinstance(node, ListConfig):
        return "texts" if node._metadata.element_type is str else "list"
    if isinstance(node, DictConfig):
        return "mapping"
    if node._metadata.ref_type is str:
        return "text or null" if node._is_optional() else "text"
    return "text or null" if isinstance(node._value(), str) and not node._is_interpolation() else "other"


def _missing(layout: Layout, error: MissingConfigException) -> str:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    if group not in groups(layout):
        return one_line(error)
    write = "; write one, such as `space: {model: {max_depth: {low: 2, high: 12}}}`" if group in layout.jobs else ""
    return f"{group}={option}: conf/{group}/ has no {option}.yaml; it has {', '.join(groups(layout)[group])}{write}"


def sentence(layout: Layout, error: OmegaConfBaseException) -> str:
    """One line out of OmegaConf's several, with the key's full name."""
    key, reason = error.full_key or "", str(error.msg or error).splitlines()[0]
    if isinstance(error, ConfigKeyError):
        if error.key in groups(layout):
            return f"conf/{error.key}/: the chosen file is empty, or its first line is not `# @package _global_`"
        known = (
            list(error.parent_node)
            if isinstance(error.parent_node, DictConfig)
            else [field.name for field in fields(_schema(layout, None))]
        )
        return f"{key}: there is no such key{close(str(error.key), known)}"
    if isinstance(error, MissingMandatoryValue):
        return f"{key} has no value: give it one in conf/ or as {key}=..."
    if "is not a ListConfig" in reason:
        return f"{key} is a list: write it in brackets, as in [a, b]"
    return f"{key}: {reason[:1].lower()}{reason[1:]}"

"""One configuration out of conf/ and the overrides of a command line."""

import codecs
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast, get_args

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from ..errors import ConfigError, close, one_line
from ..layout import Layout
from . import targets, validation
from .binding import calls
from .schema import Settings


def groups(layout: Layout) -> dict[str, list[str]]:
    """The options of every group: {"model": ["boosting", ...], ...}."""
    folders = sorted(folder for folder in layout.conf.iterdir() if folder.is_dir() and folder.name != "job")
    return {folder.name: sorted(file.stem for file in _files(folder)) for folder in folders}


def _is_by_model(layout: Layout, job: str | None) -> bool:
    """Whether conf/ has a folder that is called after `job`, with files that are called after models."""
    options = groups(layout)
    return job in options and bool({*options[job]} & {*options["model"]})


def _files(folder: Path) -> list[Path]:
    """The YAML files in `folder`, without what an editor keeps beside them."""
    return [file for file in folder.glob("[!.]*.yaml") if file.is_file()]


def composed(layout: Layout, overrides: list[str], job: str | None = None) -> DictConfig:
    """conf/ with Hydra's `overrides`, checked against the user's `Config` and the `job`'s arguments, interpolations
    kept as written."""
    own = [f"+job={job}"] if job else []
    if _is_by_model(layout, job):
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
    except UnicodeDecodeError as error:
        raise ConfigError(_damaged(layout) or one_line(error)) from error
    except Exception as error:  # Hydra hands on whatever it meets
        raise ConfigError(f"conf/ and these words make no configuration: {one_line(error)}") from error


def resolve(layout: Layout, overrides: list[str], job: str | None = None) -> tuple[Settings, dict[str, Any]]:
    """The configuration of conf/ with `overrides`, and the same as plain data, interpolations as written: no
    secrets."""
    typed = composed(layout, overrides, job)
    try:
        config = cast(Settings, OmegaConf.to_object(typed))
    except OmegaConfBaseException as error:
        raise ConfigError(sentence(layout, error)) from error
    targets.refuse_untrusted(config, package=layout.package, conf=layout.conf, trusted=config.trusted)
    validation.refuse(config)
    layout.load("gates", "refuse")(config)
    if job is None or _is_by_model(layout, job):  # the other jobs train nothing
        named = [call["_target_"] for _, call in calls(config.model, "model")]
        validation.refuse_absent(named, config, root=layout.root)
    return config, cast("dict[str, Any]", OmegaConf.to_container(typed))


def _schema(layout: Layout, job: str | None) -> type:
    """The dataclass that the configuration of a stage, or of `job`, is held to."""
    config = layout.load("config", "Config")
    return dataclass(type(config.__name__, (layout.job_arguments(job), config), {})) if job else config


def wants(typed: DictConfig, key: str) -> str:
    """What `key` takes: "text", "text or null", "texts" (a list of text), "list", "mapping", or "other".

    Raises ConfigError for a key below a list.
    """
    if key.startswith("tags."):
        return "texts" if key == "tags.required" else "text or null"
    node: Any = typed
    parts = key.split(".")
    for at, part in enumerate(parts):
        if isinstance(node, ListConfig):
            whole = ".".join(parts[:at])
            raise ConfigError(f"{key}: {whole} is a list, which is given whole: [a, b], or as {{low: 2, high: 50}}")
        below = isinstance(node, DictConfig) and not node._is_none()
        above, node = node, node._get_node(part, validate_access=False) if below else None
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
    known = groups(layout)
    if group not in known:
        return one_line(error)
    write = "; write one, such as `space: {model: {max_depth: {low: 2, high: 12}}}`"
    return no_option(group, option, known[group]) + write * _is_by_model(layout, group)


def no_option(group: str, option: str, options: list[str]) -> str:
    """A sentence: conf/ has no file for `option`."""
    option = one_line(option)[:80]
    return f"{group}={option}: conf/{group}/ has no {option}.yaml; it has {', '.join(options)}"


def _damaged(layout: Layout, group: str = "") -> str | None:
    """The first file of conf/, or of one of its folders, that no editor for UTF-8 wrote: with a mark, or no UTF-8."""
    for file in sorted(layout.conf.joinpath(group).rglob("*.yaml")):
        name = file.relative_to(layout.conf.parent)
        data = file.read_bytes() if file.is_file() else b""
        if data.startswith(codecs.BOM_UTF8):
            return f"{name} begins with a byte order mark, as Windows writes one: save it as UTF-8 without it"
        try:
            data.decode()
        except UnicodeDecodeError:
            return f"{name} is not UTF-8: save it as UTF-8"
    return None


def sentence(layout: Layout, error: OmegaConfBaseException) -> str:
    """One line out of OmegaConf's several, with the key's full name."""
    key, reason = error.full_key or "", one_line(str(error.msg or error).splitlines()[0])
    if isinstance(error, ConfigKeyError):
        if error.key in groups(layout):
            if damaged := _damaged(layout, str(error.key)):
                return damaged
            return f"conf/{error.key}/: the chosen file is empty, or its first line is not `# @package _global_`"
        known = (
            list(error.parent_node)
            if isinstance(error.parent_node, DictConfig)
            else [field.name for field in fields(_schema(layout, None))]
        )
        return f"{key}: there is no such key{close(str(error.key), known)}"
    if isinstance(error, MissingMandatoryValue):
        return f"{key} has no value: give it one in conf/ or as {key}=..."
    if "is not a subclass of" in reason:  # a text where a section belongs
        return f"{key} has no options to choose from, conf/{key}/ is not there: name its keys, {key}.name=..."
    if "is not a ListConfig" in reason:
        return f"{key} is a list: write it in brackets, as in [a, b]"
    return f"{key}: {reason[:1].lower()}{reason[1:]}"

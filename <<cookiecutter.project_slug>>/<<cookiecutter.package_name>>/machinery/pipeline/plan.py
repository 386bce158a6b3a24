"""What it takes to bring a stage up to date, and why: told without MLflow, scikit-learn, or a look at a table."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ..config import credentials
from ..config.schema import Settings
from ..layout import Layout
from . import provenance
from .source_fingerprint import fingerprint
from .store import Store

OPEN = ("source", "model")  # sections of `_target_` and its arguments: a stage gets the call that they describe
UNSEEN = ("model_id", "progress", "workspace")  # where a stage works and what it is called there: no part of the key
TARGET = "_target_"
BEFORE = "the stage before"
VERSION = "source_version"
CONTENTS = "contents of the source"
GONE = ["the embedded store is not there"]
LONG = 60  # characters of a value that are still worth showing
SHOWN = 2  # reasons for a stage to run; the others are counted


@dataclass
class Step:
    stage: str
    key: str  # a hash of the fingerprint_parts, and so the name of what the stage gives
    fingerprint_parts: dict[str, str]  # all that decides what it gives, by name
    inputs: dict[str, Any]  # its arguments
    reason: str | None  # why it has to run; None: what it gave is used again
    known_upfront: bool = True  # False: what its source holds is known only once it is read


class Plan:
    """The steps of a line, one after the other, each resting on the output of those before."""

    def __init__(self, layout: Layout, config: Settings, raw_config: dict[str, Any], overrides: list[str]) -> None:
        self.layout, self.stages = layout, layout.stages
        self.config, self.raw_config, self.overrides = config, raw_config, overrides
        self.store = Store(Path(config.platform.outputs))
        self.steps: dict[str, Step] = {}
        self.hidden = credentials.hidden(raw_config)

    def up_to(self, stage: str) -> tuple[str, ...]:
        """The stages up to `stage`, and itself."""
        return self.stages[: self.stages.index(stage) + 1]

    def before(self, stage: str) -> str:
        """The stage before `stage`; of the first, the last."""
        return self.stages[self.stages.index(stage) - 1]

    def step(self, stage: str) -> Step:
        """What has to be done for `stage`, once the steps before it are planned."""
        arguments = self.layout.fingerprint.arguments(self.layout.module(stage))
        inputs = {name: self._section(name, annotation) for name, annotation in arguments.items()}
        contents = None
        if "source" in inputs:
            contents = fingerprint(self.config.source, digest=self.store.digest)
        fingerprint_parts = self._ingredients(stage, inputs, contents or "")
        key = self.store.keys[stage] = hashed([stage, fingerprint_parts])
        known_upfront = "source" not in inputs or contents is not None or self.config.source_version is not None
        step = Step(stage, key, fingerprint_parts, inputs, None, known_upfront)
        step.reason = self.reason(step)
        self.steps[stage] = step
        return step

    def up_to_date(self, stage: str) -> bool:
        """Whether nothing has to be done for `stage` and all before it, and MLflow has the run that did it."""
        try:
            steps = (self.step(each) for each in self.up_to(stage))
            return all(not step.reason for step in steps) and self._known(stage)
        except Exception:  # whatever it is, the run that follows meets it too, and says it
            return False

    def done(self, stage: str) -> tuple[str, dict[str, str]]:
        """A line that says that nothing has to be done for `stage`, and the runs that did it, by stage."""
        made = {each: self.store.record(each)["run"] for each in self.steps}
        summary = f"{stage} is up to date: {self.store.outcome(stage).summary} (by run {made[stage][:8]})"
        return summary, made

    def explained(self) -> list[str]:
        """For each stage of the line whether it would run, and why."""
        lines = []
        for stage in self.stages:
            step = self.step(stage)
            if not step.reason:
                lines.append(f"{stage:<9} up to date, by run {self.store.record(stage)['run']}")
                continue
            lines.append(f"{stage:<9} would run: {step.reason}")
            if not step.known_upfront:
                return [
                    *lines,
                    *(
                        f"{later:<9} rests on what {stage} reads"
                        for later in self.stages[self.stages.index(stage) + 1 :]
                    ),
                ]
        return lines

    def notice(self, stage: str) -> None:
        """Notes what MLflow says now, at the end of a command, so that the next need not ask."""
        if _state():  # a server is asked each time anyway
            self._asked("aliases", self.config.registered_model)
            self._known(stage)
        self.store.remember()

    def told(self, fingerprint_parts: dict[str, str]) -> dict[str, str]:
        """`fingerprint_parts` as they may be written down: what comes from the environment by its name."""
        return {name: credentials.hide(value, self.hidden) for name, value in fingerprint_parts.items()}

    def _known(self, stage: str) -> bool:
        """Whether MLflow has the run that made `stage`; its answer about aliases has said so already."""
        moves_aliases = self.store.outcome(stage).aliases is not None
        return moves_aliases or self._asked("run", self.store.record(stage)["run"])

    def _asked(self, question: str, about: str) -> Any:
        """What MLflow says of the `aliases` of a registered model, or whether it has a `run`.

        Where the file of the embedded store is as it was when that was noted, it is not asked, and so not imported.
        """
        state = _state()
        if state == GONE:
            return {} if question == "aliases" else False
        if self.store.notes.get("mlflow", {}).get("state") != state or not state:
            self.store.notes["mlflow"] = {"state": state}
        noted = self.store.notes["mlflow"]
        if f"{question} {about}" not in noted:
            from ..mlflow import registry, tracking

            tracking.check_server(server=self.config.platform.server)
            noted[f"{question} {about}"] = registry.aliases(about) if question == "aliases" else tracking.has(about)
        return noted[f"{question} {about}"]

    def _section(self, name: str, annotation: str) -> Any:
        """The value of a stage's argument `name`: a section of the config, as the class `annotation`, or what is no
        part
        of the config."""
        if name == "champion":
            champion = self._asked("aliases", self.config.registered_model).get("champion")
            itself = champion and champion["digest"] == self._candidate()
            # the champion is not compared with itself, but with what it was compared with when it became champion
            return champion["against"] if itself else champion
        if name == "dirty":  # only where a gate looks at it: else each edit would run the stage again
            matters = getattr(getattr(self.config, "gate", None), "clean_tree", False)
            return provenance.tree(self.layout.root).get("git.dirty", "unknown") if matters else "not asked"
        return None if name in UNSEEN else view(getattr(self.config, name), annotation)

    def _candidate(self) -> str | None:
        """The digest of the model that the stages so far have left; None where they have to run first."""
        whole = [stage for stage in reversed(self.steps) if not self.store.why_unusable(stage)]
        return next((model for stage in whole if (model := self.store.outcome(stage).model)), None)

    def _ingredients(self, stage: str, inputs: dict[str, Any], contents: str) -> dict[str, str]:
        """All that decides what `stage` gives: what it rests on and inputs, its code, the lock, Python."""
        found = {CONTENTS: contents} if contents else {}
        if "source" in inputs and self.config.source_version is not None:
            found[VERSION] = self.config.source_version
        for name, value in inputs.items():
            if name == "champion":
                found[name] = f"version {value['version']} ({value['digest'][:8]})" if value else "none"
            elif name not in UNSEEN:
                found |= _flat(name, vars(value) if is_dataclass(value) else value)
        raw_config = [vars(value) if is_dataclass(value) else value for value in inputs.values()]
        code = self.layout.fingerprint
        for module in code.reachable([self.layout.module(stage), *code.named(raw_config)]):
            found[code.path(module)] = code.digest(module)
        found["Python"] = ".".join(platform.python_version_tuple()[:2])
        lock = self.layout.lock.read_text(encoding="utf-8")
        for name, pin in re.findall(r"(?m)^([\w.\-]+)(.*?)[ \\]*$", lock):  # a library may have one for each Python
            found[name] = f"{found[name]}, {pin}" if name in found else pin.removeprefix("==")
        if "model" in inputs:
            found |= {f"model.{name}": number for name, number in self.unlocked().items()}
        return found | ({BEFORE: self.steps[self.before(stage)].key} if stage != self.stages[0] else {})

    def unlocked(self) -> dict[str, str]:
        """The versions of the libraries that the model comes from and the lock does not hold: extras."""
        lock = self.layout.lock.read_text(encoding="utf-8")
        names = {text.partition(".")[0] for text in leaves(self.config.model) if isinstance(text, str)}
        found = {}
        for name in sorted(name for name in names if re.fullmatch(r"\w+", name)):
            if not re.search(rf"(?m)^{name}==", lock):
                with suppress(PackageNotFoundError):
                    found[name] = version(name)
        return found

    def reason(self, step: Step) -> str | None:
        """Why `step` has to run; None where it has not to."""
        if not self.config.reuse:
            return "reuse=false"
        if not step.known_upfront:
            return "a source without source_version is read each time"
        if why_unusable := self.store.why_unusable(step.stage):
            return why_unusable if self.store.path(step.stage).exists() else self._changes(step)
        left = self.store.outcome(step.stage).aliases
        if left is not None and (now := self._asked("aliases", self.config.registered_model)) != left:
            return f"the registry changed: {_holders(left)} -> {_holders(now)}"
        return None

    def _changes(self, step: Step) -> str:
        """What has changed since the output of `step`'s stage that resembles it most."""
        records = [
            record["fingerprint_parts"] for record in self.store.records(step.stage) if "fingerprint_parts" in record
        ]
        if not records:
            return "first run"
        new = self.told(step.fingerprint_parts)
        old = max(records, key=lambda each: len(each.items() & new.items()))
        names = [name for name in new | old if old.get(name) != new.get(name)]
        swapped = [name.removesuffix(TARGET) for name in names if name.endswith(f".{TARGET}")]
        told = [name for name in names if not any(name.startswith(each) and name != each + TARGET for each in swapped)]
        before = self.before(step.stage)
        found = [_change(name, old.get(name), new.get(name), before) for name in told]
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        return ", ".join(found[:SHOWN]) + more or "a value from the environment changed"


def hashed(parts: list[Any]) -> str:
    """32 hexadecimal digits of a hash of `parts`."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _state() -> list[Any]:
    """What changes whenever the embedded store is written to; GONE where it is not there, [] where there is none."""
    address = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}"
    if not address.startswith("sqlite:///") or os.environ.get("MLFLOW_REGISTRY_URI"):
        return []
    file = Path(unquote(address.removeprefix("sqlite:///").partition("?")[0]))
    found: list[Any] = [address]
    for path in (file, file.with_name(f"{file.name}-wal")):
        if path.exists():
            state = path.stat()
            found += [state.st_size, state.st_mtime_ns, state.st_ino]
    if not file.exists():
        return GONE
    with file.open("rb") as stream:
        return [*found, stream.read(28)[24:].hex()]  # SQLite counts its transactions there


def view(section: Any, annotation: str) -> Any:
    """`section`, a dataclass, with the fields of its parent class called `annotation` alone; itself where it has none.

    Objective of Task(kind="regression", ..., metrics=["r2"]) is without `metrics`.
    """
    parents = [each for each in type(section).__mro__[1:] if each.__name__ == annotation.rpartition(".")[2]]
    if not parents or not is_dataclass(parents[0]):
        return section
    return parents[0](**{field.name: getattr(section, field.name) for field in fields(parents[0])})


def _flat(name: str, value: Any) -> dict[str, str]:
    """The leaves of nested mappings as {"model.max_depth": "8"}; a list is a leaf."""
    if is_dataclass(value):
        value = vars(value)
    if not isinstance(value, dict):
        return {name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=vars)}
    leaves: dict[str, str] = {}
    for key, each in value.items():
        leaves |= _flat(f"{name}.{key}", each)
    return leaves or {name: "{}"}


def leaves(value: Any) -> list[Any]:
    """All that is in nested mappings and lists."""
    if isinstance(value, dict | list):
        return [leaf for each in (value.values() if isinstance(value, dict) else value) for leaf in leaves(each)]
    return [value]


def _change(name: str, old: str | None, new: str | None, before: str) -> str:
    """What became of one ingredient, in words."""
    if name.endswith(f".{TARGET}") and old and new:
        short = [text.rpartition(".")[2] for text in (old, new)]
        name, (old, new) = name.removesuffix(f".{TARGET}"), (old, new) if short[0] == short[1] else short
    if name == BEFORE:
        return f"{before} changed"
    if old is None or new is None:
        value = "" if name.endswith(".py") or name == CONTENTS else old or new or ""
        return f"{name} is {'new' if old is None else 'gone'}" + (f" ({value})" if 0 < len(value) <= LONG else "")
    if name.endswith(".py") or name == CONTENTS or max(len(old), len(new)) > LONG:
        return f"{name} changed"
    return f"{name} changed {old} -> {new}"


def _holders(aliases: dict[str, Any]) -> str:
    return ", ".join(f"{alias} is version {held['version']}" for alias, held in sorted(aliases.items())) or "no alias"

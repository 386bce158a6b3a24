"""The steps that bring a stage up to date, each with its key and its reason: without MLflow, or a look at a table."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from contextlib import suppress
from dataclasses import dataclass, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from .. import engines
from ..config import credentials
from ..config.schema import Settings
from ..layout import Layout
from ..result import PAGES, StageResult
from . import bucket, provenance
from .code_fingerprint import CodeFingerprint
from .command_result import CommandResult
from .execution import view
from .source_fingerprint import fingerprint
from .store import Store

UNSEEN = ("autolog", "model_id", "progress", "workspace")  # where a stage works and what is logged: no part of its key
CODE = ("pipeline.execution", "pipeline.store")  # of the machinery: what decides what a stage gives, whichever it is
HANDED = {"champion": "mlflow.registry"}  # where the class of an argument is that a stage need not import
TOGETHER = "engines.spark.boosting"  # what fits a model where engine.fit_workers says so
COPIED = "evaluation.copied"  # what runs instead of the stage that makes a model of the section `model`
TARGET = "_target_"
BEFORE = "the stage before"
VERSION = "source_version"
CONTENTS = "contents of the source"
GONE = ["the embedded store is not there"]
LONG = 60  # characters of a value that are still worth showing
COMPUTED = "imports a module whose name is computed: what changes in that module makes no stage run again"
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
    """The steps of the stages, one after the other, each resting on the output of those before.

    `began`: when the command began, in seconds since 1970. `result` is filled with what the command does.
    """

    def __init__(
        self, layout: Layout, config: Settings, raw_config: dict[str, Any], overrides: list[str], *, began: float
    ) -> None:
        self.layout, self.stages, self.began = layout, layout.stages, began
        self.config, self.raw_config, self.overrides = config, raw_config, overrides
        outputs = config.platform.outputs
        away = bucket.Bucket(outputs) if "://" in outputs else None
        self.store = Store(bucket.local_folder(outputs), away, engines.engine(config.engine, layout))
        self.code = CodeFingerprint(layout.root, layout.package, cache=self.store.root / "code.json")
        self.result = CommandResult("")
        self.steps: dict[str, Step] = {}
        self.hidden = credentials.hidden(raw_config)

    def hide(self, text: str) -> str:
        """`text` without the values of credentials."""
        return credentials.hide(text, self.hidden)

    def up_to(self, stage: str) -> tuple[str, ...]:
        """The stages up to `stage`, and itself."""
        return self.stages[: self.stages.index(stage) + 1]

    def before(self, stage: str) -> str:
        """The stage before `stage`; of the first, the last."""
        return self.stages[self.stages.index(stage) - 1]

    def step(self, stage: str) -> Step:
        """What has to be done for `stage`, once the steps before it are planned."""
        arguments = self.code.arguments(self.module(stage))
        inputs = {name: self._section(name, annotation) for name, annotation in arguments.items()}
        contents = None
        if "source" in inputs:
            contents = fingerprint(self.config.source, digest=self.store.digest)
        fingerprint_parts = self._fingerprint_parts(stage, inputs, contents or "")
        key = self.store.keys[stage] = hashed([stage, fingerprint_parts])
        known_upfront = "source" not in inputs or contents is not None or self.config.source_version is not None
        step = Step(stage, key, fingerprint_parts, inputs, None, known_upfront)
        step.reason = self.reason(step)
        self.steps[stage] = step
        return step

    def up_to_date(self, stage: str) -> bool:
        """Whether nothing has to be done for `stage` and all before it, and MLflow still has the run that made it."""
        try:
            steps = (self.step(each) for each in self.up_to(stage))
            return all(not step.reason for step in steps) and self._has_run(stage)
        except Exception:  # the run that follows meets it too, and says what it is
            return False

    def will_import(self, library: str, stage: str) -> bool:
        """Whether a stage up to `stage` imports `library`, of those that have to run for all that is known by now."""
        planned = list(self.steps.values())
        later = self.up_to(stage)[len(planned) :] if planned else ()
        names = [*(step.stage for step in planned if step.reason), *later]
        reached = {name for each in names for name in self.code.reachable([self.module(each)])}
        return library in self.code.libraries(reached)

    def done(self, stage: str) -> tuple[str, dict[str, str]]:
        """The sentence that `stage` is up to date, and the run that made the output of each stage so far.

        ("train is up to date: ... (by run 1f3a77c0)", {"ingest": "88ee...", ..., "train": "1f3a..."})
        """
        for step in self.steps.values():
            self.note(step, self.store.outcome(step.stage), reused=True)
        made = {each["stage"]: each["run"] for each in self.result.stages}
        summary = f"{stage} is up to date: {self.store.outcome(stage).summary} (by run {made[stage][:8]})"
        self.result.status, self.result.summary = "up to date", [summary]
        return summary, made

    def note(self, step: Step, outcome: StageResult, *, reused: bool) -> None:
        """Adds a step that is up to date to the command's result."""
        folder, run = self.store.path(step.stage), self.store.record(step.stage)["run"]
        about = {"stage": step.stage, "key": step.key, "reused": reused, "run": run, "summary": outcome.summary}
        self.result.stages.append({**about, "reason": None if reused else step.reason})
        self.result.files |= {name: str(folder / name) for name in PAGES if (folder / name).is_file()}
        self.result.add(outcome)

    def explained(self) -> list[str]:
        """A line for each stage: "train     up to date, by run 1f3a...", or "... would run: seed changed 42 -> 7"."""
        lines = []
        for stage in self.stages:
            step = self.step(stage)
            self.result.stages.append({"stage": stage, "key": step.key, "reason": step.reason})
            if not step.reason:
                lines.append(f"{stage:<9} up to date, by run {self.store.record(stage)['run']}")
                continue
            lines.append(f"{stage:<9} would run: {step.reason}")
            if not step.known_upfront:
                later = self.stages[self.stages.index(stage) + 1 :]
                lines += [f"{each:<9} rests on what {stage} reads" for each in later]
                break
        reached = {name for step in self.steps.values() for name in self.modules(step.stage, step.inputs)}
        own = sorted(name for name in reached if not name.startswith("machinery."))
        return lines + [f"note: {place} {COMPUTED}" for place in self.code.unresolved(own)]

    def notice(self, stage: str) -> None:
        """Notes what MLflow answers at the end of a command, so that the next need not import it."""
        if _state():  # a server has to answer each time
            self._answer("aliases", self.config.registered_model)
            self._has_run(stage)
        self.store.remember()

    def written(self, fingerprint_parts: dict[str, str]) -> dict[str, str]:
        """`fingerprint_parts` as they are written down: a value of the environment as the variable's name, and
        expectations as a hash where they may name values of sensitive columns."""
        parts = {name: self.hide(value) for name, value in fingerprint_parts.items()}
        if self.config.columns.sensitive and "expectations" in parts:
            parts["expectations"] = hashed([parts["expectations"]])
        return parts

    def _has_run(self, stage: str) -> bool:
        """Whether MLflow has the run that made `stage`'s output; where aliases are as it left them, it has."""
        moves_aliases = self.store.outcome(stage).aliases is not None
        return moves_aliases or self._answer("run", self.store.record(stage)["run"])

    def _answer(self, question: str, about: str) -> Any:
        """MLflow's answer: the "aliases" of a registered model, or whether there is such a "run".

        To import MLflow takes seconds. So the answer is noted with the state of the embedded store's file, and the note
        is the answer as long as that is the same.
        """
        state = _state()
        if state == GONE:
            return {} if question == "aliases" else False
        if self.store.notes.get("mlflow", {}).get("state") != state or not state:
            self.store.notes["mlflow"] = {"state": state}
        noted = self.store.notes["mlflow"]
        if not isinstance(noted.get(f"{question} {about}"), dict if question == "aliases" else bool):
            from ..mlflow import registry, run_history, stores

            stores.check_server(server=self.config.platform.server)
            with stores.sentences_of_stores():
                noted[f"{question} {about}"] = (
                    registry.aliases(about) if question == "aliases" else run_history.has(about)
                )
        return noted[f"{question} {about}"]

    def _section(self, name: str, annotation: str) -> Any:
        """The value of a stage's argument: the section `name` as the class `annotation`, or what is no section."""
        if name == "champion":
            champion = self._answer("aliases", self.config.registered_model).get("champion")
            itself = champion and champion["digest"] == self._candidate()
            # the champion is not compared with itself, but with what it was compared with when it became champion
            return champion["against"] if itself else champion
        if name == "dirty":  # only where a gate looks at it: else each edit would run the stage again
            matters = getattr(getattr(self.config, "gate", None), "clean_tree", False)
            return provenance.tree(self.layout.root).get("git.dirty", "unknown") if matters else "not asked"
        if name == "now":  # another one each time: so is the key
            return self.began
        return None if name in UNSEEN else view(getattr(self.config, name), annotation)

    def _candidate(self) -> str | None:
        """The digest of the model that the stages so far have left; None where they have to run first."""
        whole = [stage for stage in reversed(self.steps) if not self.store.why_unusable(stage)]
        return next((model for stage in whole if (model := self.store.outcome(stage).model)), None)

    def _fingerprint_parts(self, stage: str, inputs: dict[str, Any], contents: str) -> dict[str, str]:
        """All that decides what `stage` gives, each part under its name: the key is the hash of this.

        {"model.max_depth": "8", "stages/train.py": "4be0...", "polars": "1.9.0", "the stage before": "88ee...", ...}
        """
        parts = {CONTENTS: contents} if contents else {}
        if "source" in inputs and self.config.source_version is not None:
            parts[VERSION] = self.config.source_version
        for name, value in inputs.items():
            if name == "champion":
                parts[name] = f"version {value['version']} ({value['digest'][:8]})" if value else "none"
            elif name not in UNSEEN:
                parts |= _flat(name, vars(value) if is_dataclass(value) else value)
        parts |= {self.code.path(module): self.code.digest(module) for module in self.modules(stage, inputs)}
        parts["Python"] = ".".join(platform.python_version_tuple()[:2])
        lock = self.layout.lock.read_text(encoding="utf-8")
        for name, pin in re.findall(r"(?m)^([\w.\-]+)(.*?)[ \\]*$", lock):  # a library may have one for each Python
            parts[name] = f"{parts[name]}, {pin}" if name in parts else pin.removeprefix("==")
        if "model" in inputs:
            parts |= {f"model.{name}": number for name, number in self.unlocked().items()}
        return parts | ({BEFORE: self.steps[self.before(stage)].key} if stage != self.stages[0] else {})

    def modules(self, stage: str, inputs: dict[str, Any]) -> list[str]:
        """The modules that decide what `stage` gives: what its own, what its `inputs` name and what calls it reach."""
        named = self.code.named([vars(value) if is_dataclass(value) else value for value in inputs.values()])
        handed = [HANDED[name] for name in inputs if name in HANDED]
        handed += [TOGETHER] * bool(getattr(inputs.get("engine"), "fit_workers", None))
        return self.code.reachable([self.module(stage), *named, *self.layout.machinery(*CODE, *handed)])

    def module(self, stage: str) -> str:
        """The module of the function that runs as `stage`: its own, or for a candidate that is there COPIED."""
        replaced = self.config.candidate and "model" in self.code.arguments(f"stages.{stage}")
        return self.layout.machinery(COPIED)[0] if replaced else f"stages.{stage}"

    def unlocked(self) -> dict[str, str]:
        """The versions of the libraries that the model comes from and the lock does not pin: extras."""
        lock = self.layout.lock.read_text(encoding="utf-8")
        names = {text.partition(".")[0] for text in leaves(self.config.model) if isinstance(text, str)}
        names |= self.code.libraries(self.code.reachable(self.code.named(self.config.model)))
        versions = {}
        for name in sorted(name for name in names if re.fullmatch(r"\w+", name)):
            if not re.search(rf"(?m)^{name}==", lock):
                with suppress(PackageNotFoundError):
                    versions[name] = version(name)
        return versions

    def reason(self, step: Step) -> str | None:
        """Why `step` has to run; None where its output is used again."""
        if not self.config.reuse:
            return "reuse=false"
        if not step.known_upfront:
            return "a source without source_version is read each time"
        if why_unusable := self.store.why_unusable(step.stage):
            return why_unusable if self.store.path(step.stage).exists() else self._changes(step)
        left = self.store.outcome(step.stage).aliases
        if left is not None and (now := self._answer("aliases", self.config.registered_model)) != left:
            return f"the registry changed: {_holders(left)} -> {_holders(now)}"
        return None

    def _changes(self, step: Step) -> str:
        """What has changed since the output of `step`'s stage that resembles it most."""
        data, records = self.config.choices["data"], self.store.records(step.stage)
        parts = [each.get("fingerprint_parts") for each in records if each.get("data") == data]
        its = [each for each in parts if isinstance(each, dict)]
        if not its:  # the difference to another dataset says nothing
            return f"first run of {data}" if records else "first run"
        new = self.written(step.fingerprint_parts)
        old = max(its, key=lambda each: len(each.items() & new.items()))
        names = [name for name in new | old if old.get(name) != new.get(name)]
        swapped = [name.removesuffix(TARGET) for name in names if name.endswith(f".{TARGET}")]
        names = [name for name in names if not any(name.startswith(each) and name != each + TARGET for each in swapped)]
        before = self.before(step.stage)
        changes = [_change(name, old.get(name), new.get(name), before) for name in names]
        more = f" and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
        return ", ".join(changes[:SHOWN]) + more or "a value from the environment changed"


def hashed(parts: list[Any]) -> str:
    """32 hexadecimal digits of a hash of `parts`."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _state() -> list[Any]:
    """What changes whenever the embedded store is written to; GONE where it is not there, [] where there is none."""
    address = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}"
    if not address.startswith("sqlite:///") or os.environ.get("MLFLOW_REGISTRY_URI"):
        return []
    file = Path(unquote(address.removeprefix("sqlite:///").partition("?")[0]))
    parts: list[Any] = [address]
    for path in (file, file.with_name(f"{file.name}-wal")):
        if path.exists():
            state = path.stat()
            parts += [state.st_size, state.st_mtime_ns, state.st_ino]
    if not file.is_file():
        return [] if file.exists() else GONE
    with file.open("rb") as stream:
        return [*parts, stream.read(28)[24:].hex()]  # SQLite counts its transactions there


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
    """How one part of a fingerprint differs, in words."""
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

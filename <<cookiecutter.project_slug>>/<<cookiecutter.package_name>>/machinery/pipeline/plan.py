"""What it takes to bring a stage up to date, and why: told without MLflow, scikit-learn, or a look at a table."""

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

from ..config import credentials
from ..config.compose import ROOT, Config
from ..data import sources
from . import code_fingerprint, provenance
from .store import Store

LINE = ("ingest", "validate", "split", "train", "evaluate", "register")
OPEN = ("source", "model")  # sections of `_target_` and its arguments: a stage gets the call that they describe
UNSEEN = ("model_id",)  # MLflow's name for what the stage before gave: not part of the key
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
    key: str  # a hash of the ingredients, and so the name of what the stage gives
    ingredients: dict[str, str]  # all that decides what it gives, by name
    sees: dict[str, Any]  # its arguments
    reason: str | None  # why it has to run; None: what it gave is used again
    settled: bool = True  # False: what its source holds is known only once it is read


class Plan:
    """The steps of a line, one after the other, each resting on the output of those before."""

    def __init__(self, config: Config, stated: dict[str, Any], overrides: list[str]) -> None:
        self.config, self.stated, self.overrides = config, stated, overrides
        self.store = Store(Path(config.platform.outputs))
        self.steps: dict[str, Step] = {}
        self.hidden = credentials.hidden(stated)

    def step(self, stage: str) -> Step:
        """What has to be done for `stage`, once the steps before it are planned."""
        sees = {name: self._section(name) for name in code_fingerprint.arguments(f"stages.{stage}")}
        contents = None
        if "source" in sees:
            contents = sources.fingerprint(self.config.source, digest=self.store.digest)
        ingredients = self._ingredients(stage, sees, contents or "")
        key = self.store.keys[stage] = hashed([stage, ingredients])
        settled = "source" not in sees or contents is not None or self.config.source_version is not None
        step = Step(stage, key, ingredients, sees, None, settled)
        step.reason = self.reason(step)
        self.steps[stage] = step
        return step

    def up_to_date(self, stage: str) -> bool:
        """Whether nothing has to be done for `stage` and all before it, and MLflow has the run that did it."""
        try:
            steps = (self.step(each) for each in LINE[: LINE.index(stage) + 1])
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
        for stage in LINE:
            step = self.step(stage)
            if not step.reason:
                lines.append(f"{stage:<9} up to date, by run {self.store.record(stage)['run']}")
                continue
            lines.append(f"{stage:<9} would run: {step.reason}")
            if not step.settled:
                return [*lines, *(f"{later:<9} rests on what {stage} reads" for later in LINE[LINE.index(stage) + 1 :])]
        return lines

    def notice(self, stage: str) -> None:
        """Notes what MLflow says now, at the end of a command, so that the next need not ask."""
        if _state():  # a server is asked each time anyway
            self._asked("aliases", self.config.registered_model)
            self._known(stage)
        self.store.remember()

    def told(self, ingredients: dict[str, str]) -> dict[str, str]:
        """`ingredients` as they may be written down: what comes from the environment by its name."""
        return {name: credentials.hide(value, self.hidden) for name, value in ingredients.items()}

    def _known(self, stage: str) -> bool:
        """Whether MLflow has the run that made `stage`; for `register` its answer about aliases has said so already."""
        return stage == "register" or self._asked("run", self.store.record(stage)["run"])

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

            tracking.reach(server=self.config.platform.server)
            noted[f"{question} {about}"] = registry.aliases(about) if question == "aliases" else tracking.has(about)
        return noted[f"{question} {about}"]

    def _section(self, name: str) -> Any:
        """What a stage sees by the argument `name`: a section of the config, or something outside of it."""
        if name == "champion":
            champion = self._asked("aliases", self.config.registered_model).get("champion")
            trained = None if self.store.flaw("train") else self.store.outcome("train").facts["digest"]
            itself = champion and champion["digest"] == trained
            # the champion is not compared with itself, but with what it was compared with when it became champion
            return champion["against"] if itself else champion
        if name == "dirty":
            return provenance.tree(ROOT).get("git.dirty", "unknown") if self.config.gate.clean_tree else "not asked"
        return None if name in UNSEEN else getattr(self.config, name)

    def _ingredients(self, stage: str, sees: dict[str, Any], contents: str) -> dict[str, str]:
        """All that decides what `stage` gives: what it rests on and sees, its code, the lock, Python."""
        found = {CONTENTS: contents} if contents else {}
        if "source" in sees and self.config.source_version is not None:
            found[VERSION] = self.config.source_version
        for name, value in sees.items():
            if name == "champion":
                found[name] = f"version {value['version']} ({value['digest'][:8]})" if value else "none"
            elif name not in UNSEEN:
                found |= _flat(name, vars(value) if is_dataclass(value) else value)
        stated = [vars(value) if is_dataclass(value) else value for value in sees.values()]
        targets = [leaf for leaf in leaves(stated) if isinstance(leaf, str)]
        for module in code_fingerprint.reached(f"stages.{stage}", targets):
            found[f"{module.replace('.', '/')}.py"] = code_fingerprint.digest(module)
        found["Python"] = ".".join(platform.python_version_tuple()[:2])
        lock = (ROOT / "requirements.txt").read_text(encoding="utf-8")
        for name, pin in re.findall(r"(?m)^([\w.\-]+)(.*?)[ \\]*$", lock):  # a library may have one for each Python
            found[name] = f"{found[name]}, {pin}" if name in found else pin.removeprefix("==")
        if "model" in sees:
            found |= {f"model.{name}": number for name, number in self.unlocked().items()}
        return found | ({BEFORE: self.steps[LINE[LINE.index(stage) - 1]].key} if stage != LINE[0] else {})

    def unlocked(self) -> dict[str, str]:
        """The versions of the libraries that the model comes from and the lock does not hold: extras."""
        lock = (ROOT / "requirements.txt").read_text(encoding="utf-8")
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
        if not step.settled:
            return "a source without source_version is read each time"
        if flaw := self.store.flaw(step.stage):
            return flaw if self.store.path(step.stage).exists() else self._changes(step)
        if step.stage == "register":
            left = self.store.outcome("register").facts["aliases"]
            if (now := self._asked("aliases", self.config.registered_model)) != left:
                return f"the registry changed: {_holders(left)} -> {_holders(now)}"
        return None

    def _changes(self, step: Step) -> str:
        """What has changed since the output of `step`'s stage that resembles it most."""
        records = [record["ingredients"] for record in self.store.records(step.stage) if "ingredients" in record]
        if not records:
            return "first run"
        new = self.told(step.ingredients)
        old = max(records, key=lambda each: len(each.items() & new.items()))
        names = [name for name in new | old if old.get(name) != new.get(name)]
        swapped = [name.removesuffix(TARGET) for name in names if name.endswith(f".{TARGET}")]
        told = [name for name in names if not any(name.startswith(each) and name != each + TARGET for each in swapped)]
        before = LINE[LINE.index(step.stage) - 1]
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

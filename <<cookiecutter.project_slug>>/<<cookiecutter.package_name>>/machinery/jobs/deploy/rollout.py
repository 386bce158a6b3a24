"""A roll-out: the next server started and compared, switched to in one step, and the one before it ended.

Everything of a deployment lies in its folder: a folder for each server, the links `main` and `challenger` to those that
answer, and nginx's configuration. What no link leads to is nobody's: whoever comes next removes it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError, ProjectError
from ...locks import locked
from ...mlflow import model_format, registry, stores
from ...result import StageResult
from ...serving import inputs, server_check
from ...serving.request import EXAMPLES
from . import proxy, servers

if TYPE_CHECKING:
    from ...config.schema import Deploy
    from ...mlflow.registry import ModelVersion
    from ...pipeline.store import Store

MAIN, CHALLENGER, ABOUT, SETTINGS = "main", "challenger", "deployed.json", "settings.json"
_SETTLE = 1.0  # seconds for what nginx had begun to ask of the server before
_MANAGERS = ("local", "uv", "virtualenv", "conda")
_LONGEST = 70  # letters of a folder's path: those of a socket are 100


class Deployment:
    """The chosen option of conf/deploy/, and what runs in its folder; on behalf of `who`."""

    def __init__(self, deploy: Deploy, store: Store, choices: dict[str, str], who: str) -> None:
        _refuse(deploy)
        self.deploy, self.store, self.who = deploy, store, who
        self.place, self.data = choices["deploy"], choices["data"]
        self.folder, self.address = Path(deploy.folder), proxy.reached_at(deploy)
        self.tags = {"deploy": self.place, "address": self.address, "approver": who}

    def roll_out(self, number: str | None = None, decide: Callable[[], Any] = lambda: None) -> StageResult:
        """Lets the version `number`, or the one that deploy.alias names, answer; `decide` is called once it could.

        Raises ProjectError, with all as it was before, where a server does not start or answers wrongly.
        """
        proxy.nginx()
        with stores.using(self.deploy.registry), self._alone():
            wanted = number or self.deploy.alias
            main = inputs.version(self.deploy.model, wanted, data=self.data, key="deploy.alias")
            challenger, before = self._challenger(main), self._linked(MAIN)
            replaced = _about(before)
            both = [main, challenger] if challenger else [main]
            columns = sorted({name for each in both for name in model_format.taken(each.uri)})
            home, other = self._server(main, columns), self._server(challenger, columns) if challenger else None
            proxy.run(self.deploy, self.folder, self.store)
            decide()
            self._turn(MAIN, home)
            self._turn(CHALLENGER, other)
            if home != before:
                if (replaced.get("model"), replaced.get("version")) != (main.name, main.version):
                    self._end_tag(replaced)
                text = f"since {_now()} by {self.who}, at {self.address} of {socket.gethostname()}"
                registry.note(main, {f"deployed.{self.place}": text})
                time.sleep(_SETTLE)
            hides = re.search("[@=]", self.deploy.cache or "")  # it may hold a password
            settings = {name: value for name, value in asdict(self.deploy).items() if name != "cache" or not hides}
            self.store.replace(self.folder / SETTINGS, json.dumps(settings, indent=2))
        return self._result(main, challenger, replaced, is_new=home != before)

    def status(self) -> StageResult:
        """What answers, since when, by whom; an alarm where something does not."""
        homes = {name: home for name in (MAIN, CHALLENGER) if (home := self._linked(name))}
        if not homes:
            return StageResult(f"{self.place}: nothing is deployed in {self.folder}")
        runs, again = proxy.process(self.folder) is not None, f"`-e deploy` with deploy={self.place}"
        lines, is_whole = [f"{self.place} at {self.address}" + ", where no nginx runs" * (not runs)], runs
        for name, home in homes.items():
            about = {"model": "nothing known", "version": "", "at": "", "by": ""} | _about(home)
            health = "answers" if servers.version(home) else "does not answer"
            is_whole &= health == "answers"
            lines.append("  {}: {model} version {version}, since {at} by {by}; {}".format(name, health, **about))
        lines += [f"  {again} starts what does not run"] * (not is_whole)
        with suppress(ProjectError), stores.sentences_of_stores(), stores.using(self.deploy.registry):
            held = registry.aliases(self.deploy.model).get(self.deploy.alias, {}).get("version")
            if held not in (None, _about(homes.get(MAIN)).get("version")):
                lines.append(f"  the {self.deploy.alias} is version {held}: {again} switches to it")
        return StageResult("\n".join(lines), tags=self.tags, code=0 if is_whole else 3)

    def stop(self) -> StageResult:
        """Ends all that runs, once it has answered what it was asked."""
        with self._alone():
            home, notes = self._linked(MAIN), []
            ended = _about(home)
            self._turn(MAIN, None)
            self._turn(CHALLENGER, None)
        if not home:
            return StageResult(f"{self.place}: nothing was deployed in {self.folder}")
        try:
            with stores.sentences_of_stores(), stores.using(self.deploy.registry):
                self._end_tag(ended)
        except ProjectError as error:
            notes = [f"the version does not say until when it answered: {error}"]
        what = "{model} version {version}".format(**ended) if ended else "it"
        return StageResult(f"{self.place}: {what} answers no more at {self.address}", tags=self.tags, notes=notes)

    def _linked(self, name: str) -> Path | None:
        """The folder of the server that the link `name` leads to."""
        link = self.folder / name
        return self.folder / os.readlink(link) if link.is_symlink() else None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One roll-out at a time; before and after it, what no link leads to is ended and removed, nginx before it."""
        with locked(self.folder / "deployment"):
            self._clear()
            try:
                yield
            finally:
                self._clear()

    def _clear(self) -> None:
        kept = {home.name for name in (MAIN, CHALLENGER) if (home := self._linked(name))}
        if not kept:
            proxy.stop(self.folder, patience=self.deploy.timeout)
            (self.folder / SETTINGS).unlink(missing_ok=True)
        gone = [each for name, those in servers.running(self.folder).items() if name not in kept for each in those]
        servers.finish(gone, patience=self.deploy.timeout)
        self.store.delete([home for home in self.folder.glob("[0-9]*-*") if home.is_dir() and home.name not in kept])

    def _challenger(self, main: ModelVersion) -> ModelVersion | None:
        """The version that gets a share of the requests, or their copies; None where none is to, or there is none."""
        if not (self.deploy.challenger_share or self.deploy.mirror):
            return None
        name, aliases = self.deploy.challenger, registry.aliases(self.deploy.model)
        number = aliases.get(name, {}).get("version", name)
        return registry.version(self.deploy.model, number) if number != main.version else None

    def _server(self, version: ModelVersion, columns: list[str]) -> Path:
        """The folder of a server that answers as `version` did: of one that runs as it should, else of a new one."""
        wanted = {"model": version.name, "version": version.version, "files": version.noted.files}
        wanted |= {name: getattr(self.deploy, name) for name in ("workers", "timeout", "env_manager")}
        target = version.noted.trained.target if version.noted.trained else None
        settings = servers.layers(self.deploy, target, columns)
        wanted["layers"] = hashlib.sha256(json.dumps(settings).encode()).hexdigest()  # an address may hold a password
        for home in filter(None, map(self._linked, (MAIN, CHALLENGER))):
            if wanted.items() <= _about(home).items() and servers.version(home):
                return home
        home = self.folder / f"{version.version}-{uuid.uuid4().hex[:8]}"
        try:
            model_format.download(version.uri, home / "model", files=version.noted.files)
            servers.start(home, self.deploy, settings)
            _compare(home, version, timeout=self.deploy.timeout)
        except ProjectError as error:
            log = home / servers.LOG
            texts = {"server.txt": log.read_text("utf-8", "replace")[-100_000:]} if log.exists() else {}
            raise ProjectError(f"{version.title}: {error}", StageResult(str(error), texts=texts)) from error
        self.store.replace(home / ABOUT, json.dumps(wanted | {"at": _now(), "by": self.who}, indent=2))
        return home

    def _turn(self, name: str, home: Path | None) -> None:
        """Lets the link `name` lead to `home`, in one step; None: removes it."""
        link, draft = self.folder / name, self.folder / f".{name}"
        draft.unlink(missing_ok=True)
        if home is None:
            return link.unlink(missing_ok=True)
        os.symlink(home.name, draft)
        return os.replace(draft, link)

    def _end_tag(self, about: dict[str, Any]) -> None:
        """Writes on the version that answered until now until when."""
        tag, old = f"deployed.{self.place}", about and registry.version(about["model"], about["version"])
        if old and (text := old.tags.get(tag, "")).startswith("since "):
            registry.note(old, {tag: f"{text}, until {_now()}"})

    def _result(
        self, main: ModelVersion, challenger: ModelVersion | None, replaced: dict[str, Any], *, is_new: bool
    ) -> StageResult:
        deploy, tags = self.deploy, self.tags | {"deployed": f"{main.name}/{main.version}"}
        how = "" if is_new else " as before, nothing was done"
        old = ", in place of {model} version {version}".format(**replaced) if replaced and is_new else ""
        lines = [f"{main.title} answers at {self.address} ({self.place}){how}{old}"]
        no_key = "deploy.log_key names no column: labels that come later are joined by one, deploy.log_key=[id]"
        notes = [no_key] if deploy.log_predictions and not deploy.log_key else []
        if challenger:
            tags["challenger"] = f"{challenger.name}/{challenger.version}"
            drawn = f"drawn by {deploy.sticky}" if deploy.sticky else "drawn for each"
            share = [f"  version {challenger.version} answers {deploy.challenger_share:.1%} of them, {drawn}"]
            shadow = [f"  version {challenger.version} is asked too, and its answers go to nobody"]
            lines += share * bool(deploy.challenger_share) + shadow * deploy.mirror
        elif deploy.challenger_share or deploy.mirror:
            notes += [f"{deploy.model} has no other version as {deploy.challenger}: {main.title} answers alone"]
        return StageResult("\n".join(lines), tags=tags, notes=notes)


def as_started(deploy: Deploy, overrides: list[str]) -> Deploy:
    """`deploy` as its deployment was started, where it runs, but for what the `overrides` of this command say."""
    typed = {word.lstrip("+").partition("=")[0] for word in overrides}
    with suppress(OSError, ValueError):
        settings = json.loads(Path(deploy.folder, SETTINGS).read_text("utf-8"))
        kept = {name: settings[name] for name in asdict(deploy) if name in settings and f"deploy.{name}" not in typed}
        sensitive = dict.fromkeys([*kept.get("sensitive", []), *deploy.sensitive])  # whoever said so
        own = {"folder": deploy.folder, "alias": deploy.alias, "sensitive": [*sensitive]}
        return replace(deploy, **kept | own)
    return deploy


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


def _about(home: Path | None) -> dict[str, Any]:
    """What is written down of the server in `home`; nothing where that is gone."""
    try:
        return json.loads((home / ABOUT).read_text("utf-8")) if home else {}
    except (OSError, ValueError):
        return {}


def _compare(home: Path, version: ModelVersion, *, timeout: float) -> None:
    """Raises ProjectError where the server in `home` is another version than `version`, or answers otherwise."""
    said, file = servers.version(home) or {}, home / "model" / EXAMPLES
    if (said.get("model"), said.get("version")) != (version.name, version.version):
        raise ProjectError(f"the server says that it is {said.get('model')} version {said.get('version')}")
    examples = json.loads(file.read_text("utf-8")).get("examples") if file.exists() else None
    if not examples:
        raise ProjectError("no answers are recorded with it, to compare the server's with: train it again")
    try:
        answers = servers.ask(home, "/invocations", examples["request"].encode(), timeout=timeout)["predictions"]
    except OSError as error:
        raise ProjectError(f"the server does not answer the recorded examples: {error}") from error
    if not server_check.alike(answers, examples["answers"]):
        raise ProjectError("the server answers the recorded examples otherwise than the model did when it was trained")


def _refuse(deploy: Deploy) -> None:
    """Raises ConfigError for what cannot be deployed so."""
    right = {
        "challenger_share": (0 <= deploy.challenger_share < 1, "it is a share of the requests, from 0 to below 1"),
        "sticky": (re.fullmatch(r"[A-Za-z0-9-]+", deploy.sticky or "-"), "it is a header's name"),
        "host": (re.fullmatch(r"[\w.:*-]+", deploy.host), "it is an address of this machine, such as 127.0.0.1"),
        "env_manager": (deploy.env_manager in _MANAGERS, f"it is one of {', '.join(_MANAGERS)}"),
        "log_megabytes": (deploy.log_megabytes > 0, "it is more than 0"),
        "folder": (len(os.path.relpath(deploy.folder)) <= _LONGEST, f"at most {_LONGEST} letters: sockets lie in it"),
    }
    for key in ("workers", "timeout", "log_seconds", "cache_seconds"):
        right[key] = (getattr(deploy, key) >= 1, "it is at least 1")
    for key, (is_right, words) in right.items():
        if not is_right:
            raise ConfigError(f"deploy.{key}={getattr(deploy, key)}: {words}")
    if not hasattr(socket, "AF_UNIX"):
        raise ConfigError("deploy needs a machine with sockets in folders: Linux, macOS or WSL")

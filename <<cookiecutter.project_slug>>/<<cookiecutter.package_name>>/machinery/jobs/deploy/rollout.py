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
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError, ProjectError
from ...locks import locked
from ...mlflow import model_format, registry
from ...result import StageResult
from ...serving import inputs, server_check
from . import proxy, servers

if TYPE_CHECKING:
    from ...config.schema import Deploy
    from ...mlflow.registry import ModelVersion
    from ...pipeline.store import Store

MAIN, CHALLENGER, ABOUT = "main", "challenger", "deployed.json"
_SETTLE = 1.0  # seconds for what nginx had begun to ask of the server before
_MANAGERS = ("local", "uv", "virtualenv", "conda")
_LONGEST = 70  # letters of a folder's path: those of a socket are 100


class Deployment:
    """One option of conf/deploy/, called `place`, and what runs in its folder."""

    def __init__(self, deploy: Deploy, store: Store, *, place: str, data: str, who: str) -> None:
        _refuse(deploy)
        self.deploy, self.store, self.place, self.data, self.who = deploy, store, place, data, who
        self.folder, self.address = Path(deploy.folder), proxy.reached_at(deploy)

    def roll_out(self, number: str | None = None, decide: Callable[[], Any] = lambda: None) -> StageResult:
        """Lets the version `number`, or the one that deploy.alias names, answer; `decide` is called once it could.

        Raises ProjectError, with all as it was before, where a server does not start or answers wrongly.
        """
        proxy.nginx()
        with self._alone():
            main = inputs.version(self.deploy.model, number or self.deploy.alias, data=self.data)
            challenger, before = self._challenger(main), self.linked(MAIN)
            replaced = _about(before) if before else {}
            try:
                home = self._server(main)
                other = self._server(challenger) if challenger else None
                proxy.run(self.deploy, self.folder, self.store)
                decide()
            except BaseException:
                if not before:
                    proxy.stop(self.folder, patience=0)
                raise
            self._turn(MAIN, home)
            self._turn(CHALLENGER, other)
            if home != before:
                self._write_down(main, replaced)
                time.sleep(_SETTLE)
        return self._result(main, challenger, replaced, is_new=home != before)

    def status(self) -> StageResult:
        """What answers, since when, by whom, in how many processes."""
        lines, running = [], servers.running(self.folder) if self.folder.exists() else {}
        for name in (MAIN, CHALLENGER):
            if home := self.linked(name):
                about, said = _about(home), servers.version(home)
                health = f"answers, {len(running.get(home.resolve(), []))} processes" if said else "does not answer"
                what = f"{about.get('model')} version {about.get('version')}"
                lines.append(f"  {name}: {what}, since {about.get('at')} by {about.get('by')}; {health}")
        if not lines:
            return StageResult(f"{self.place}: nothing is deployed in {self.folder}")
        by = "" if proxy.process(self.folder) else ", but nginx does not run"
        return StageResult("\n".join([f"{self.place} at {self.address}{by}", *lines]))

    def stop(self) -> StageResult:
        """Ends all that runs, once it has answered what it was asked."""
        if not self.folder.exists():
            return self.status()
        with self._alone():
            what = [_about(home) for name in (MAIN, CHALLENGER) if (home := self.linked(name))]
            proxy.stop(self.folder, patience=self.deploy.timeout)
            for name in (MAIN, CHALLENGER):
                self._turn(name, None)
        for each in what[:1]:
            self._end_tag(each)
        ended = " and ".join(dict.fromkeys(f"{each.get('model')} version {each.get('version')}" for each in what))
        return StageResult(f"{self.place}: {ended or 'nothing'} answers no more", tags=self._tags())

    def linked(self, name: str) -> Path | None:
        """The folder of the server that the link `name` leads to."""
        link = self.folder / name
        return self.folder / os.readlink(link) if link.is_symlink() else None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One roll-out at a time; before and after it, what no link leads to is ended and removed."""
        with locked(self.folder / "deployment"):
            self._clear()
            try:
                yield
            finally:
                self._clear()

    def _clear(self) -> None:
        kept = {home.name for name in (MAIN, CHALLENGER) if (home := self.linked(name))}
        for home, processes in servers.running(self.folder).items():
            if home.name not in kept:
                servers.finish(processes, patience=self.deploy.timeout)
        homes = [home for home in self.folder.glob("[0-9]*-*") if home.is_dir() and home.name not in kept]
        self.store.delete(homes)

    def _challenger(self, main: ModelVersion) -> ModelVersion | None:
        """The version that gets a share of the requests, or their copies; None where none is to, or there is none."""
        if not (self.deploy.challenger_share or self.deploy.mirror):
            return None
        name, aliases = self.deploy.challenger, registry.aliases(self.deploy.model)
        number = aliases.get(name, {}).get("version", name)
        return registry.version(self.deploy.model, number) if number != main.version else None

    def _server(self, version: ModelVersion) -> Path:
        """The folder of a server that answers as `version` did: of one that runs as it should, else of a new one."""
        wanted = {"model": version.name, "version": version.version, "files": version.noted.files}
        wanted |= {name: getattr(self.deploy, name) for name in ("workers", "timeout", "env_manager")}
        settings = servers.layers(self.deploy, version.noted.trained.target if version.noted.trained else None)
        wanted["layers"] = hashlib.sha256(json.dumps(settings).encode()).hexdigest()  # an address may hold a password
        for home in filter(None, map(self.linked, (MAIN, CHALLENGER))):
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
        about = wanted | {"at": _now(), "by": self.who}
        self.store.replace(home / ABOUT, json.dumps(about, indent=2))
        return home

    def _turn(self, name: str, home: Path | None) -> None:
        """Lets the link `name` lead to `home`, in one step; None: removes it."""
        draft = self.folder / f".{name}"
        draft.unlink(missing_ok=True)
        if home is None:
            (self.folder / name).unlink(missing_ok=True)
            return
        os.symlink(home.name, draft)
        os.replace(draft, self.folder / name)

    def _write_down(self, version: ModelVersion, replaced: dict[str, Any]) -> None:
        """Writes on `version` where it answers, since when and by whom, and on the one before it until when."""
        text = f"since {_now()} by {self.who}, at {self.address} of {socket.gethostname()}"
        registry.note(version, {f"deployed.{self.place}": text})
        if (replaced.get("model"), replaced.get("version")) != (version.name, version.version):
            self._end_tag(replaced)

    def _end_tag(self, about: dict[str, Any]) -> None:
        tag, old = f"deployed.{self.place}", about and registry.version(about["model"], about["version"])
        if old and (text := old.tags.get(tag, "")).startswith("since "):
            registry.note(old, {tag: f"{text}, until {_now()}"})

    def _tags(self) -> dict[str, str]:
        return {"deploy": self.place, "address": self.address, "approver": self.who}

    def _result(
        self, main: ModelVersion, challenger: ModelVersion | None, replaced: dict[str, Any], *, is_new: bool
    ) -> StageResult:
        what = "answers as before, nothing was done" if not is_new else "answers"
        old = f"{replaced['model']} version {replaced['version']}" if replaced and is_new else ""
        by = f", in place of {old}" if old and old != main.title else ", in place of an older server" if old else ""
        lines = [f"{main.title} {what} at {self.address} ({self.place}){by}"]
        if challenger and self.deploy.challenger_share:
            drawn = f"drawn by {self.deploy.sticky}" if self.deploy.sticky else "drawn for each"
            lines.append(f"  version {challenger.version} answers {self.deploy.challenger_share:.1%} of them, {drawn}")
        if challenger and self.deploy.mirror:
            lines.append(f"  version {challenger.version} is asked too, and its answers go to nobody")
        wants = bool(self.deploy.challenger_share or self.deploy.mirror)
        notes = [f"{self.deploy.model} has no other version as {self.deploy.challenger}: {main.title} answers alone"]
        tags = self._tags() | {"deployed": f"{main.name}/{main.version}"}
        tags |= {"challenger": f"{challenger.name}/{challenger.version}"} if challenger else {}
        return StageResult("\n".join(lines), tags=tags, notes=notes if wants and not challenger else [])


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


def _about(home: Path) -> dict[str, Any]:
    """What is written down of the server in `home`; nothing where that is gone."""
    try:
        return json.loads((home / ABOUT).read_text("utf-8"))
    except (OSError, ValueError):
        return {}


def _compare(home: Path, version: ModelVersion, *, timeout: float) -> None:
    """Raises ProjectError where the server in `home` is another version than `version`, or answers otherwise."""
    said = servers.version(home) or {}
    if (said.get("model"), said.get("version")) != (version.name, version.version):
        raise ProjectError(f"the server says that it is {said.get('model')} version {said.get('version')}")
    file = home / "model" / server_check.EXAMPLES
    examples = json.loads(file.read_text("utf-8")).get("examples") if file.exists() else None
    if not examples:
        raise ProjectError("no answers are recorded with it, to compare the server's with: train it again")
    try:
        answers = servers.ask(home, "/invocations", examples["request"], timeout=timeout)["predictions"]
    except OSError as error:
        raise ProjectError(f"the server does not answer the recorded examples: {error}") from error
    if not server_check.alike(answers, examples["answers"]):
        raise ProjectError("the server answers the recorded examples otherwise than the model did when it was trained")


def _refuse(deploy: Deploy) -> None:
    """Raises ConfigError for what cannot be deployed so."""
    wrong = {
        "challenger_share": not 0 <= deploy.challenger_share < 1 and "it is a share of the requests, from 0 to below 1",
        "sticky": deploy.sticky and not re.fullmatch(r"[A-Za-z0-9-]+", deploy.sticky) and "it is a header's name",
        "host": not re.fullmatch(r"[\w.:*-]+", deploy.host) and "it is an address of this machine, such as 127.0.0.1",
        "port": not 0 < deploy.port < 65536 and "it is between 1 and 65535",
        "workers": deploy.workers < 1 and "at least one process answers",
        "timeout": deploy.timeout < 1 and "it is at least one second",
        "env_manager": deploy.env_manager not in _MANAGERS and f"it is one of {', '.join(_MANAGERS)}",
        "log_seconds": deploy.log_seconds < 1 and "it is at least one second",
        "log_megabytes": deploy.log_megabytes <= 0 and "it is more than 0",
        "cache_seconds": deploy.cache_seconds < 1 and "it is at least one second",
        "folder": len(os.path.relpath(deploy.folder)) > _LONGEST and f"at most {_LONGEST} letters: sockets lie in it",
    }
    for key, why in wrong.items():
        if why:
            raise ConfigError(f"deploy.{key}={getattr(deploy, key)}: {why}")
    if not hasattr(socket, "AF_UNIX"):
        raise ConfigError("deploy needs a machine with sockets in folders: Linux, macOS or WSL")

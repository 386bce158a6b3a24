"""Which version is champion: one change at a time, and every change written down on the registered model."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import NamedTuple

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from ..errors import ProjectError, Unavailable
from . import version_tags
from .version_tags import LONGEST

PATIENCE = 60  # seconds that one change may take, some requests: after them, whoever was at it is taken for dead
STAMP = "alias %Y-%m-%d %H:%M:%S.%f UTC"  # the name of the tag that tells of a change


class Change(NamedTuple):
    when: datetime  # by the registry's clock
    alias: str
    old: str | None
    new: str | None
    who: str
    why: str


def holders(name: str) -> dict[str, str]:
    """The version that holds each alias of the registered model `name`. Raises ProjectError where there is no such
    model."""
    try:
        held = MlflowClient().get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise ProjectError(
                f"there is no registered model {name}: `-P data=...` says which dataset's is meant"
            ) from error
        raise
    return {alias: str(version) for alias, version in held.items()}


def history(name: str) -> list[Change]:
    """Every change of an alias of the registered model `name`, the newest first."""
    changes = []
    for key, text in MlflowClient().get_registered_model(name).tags.items():
        match = re.fullmatch(r"(\w+): (\S+) -> (\S+) by (.*?): (.*)", text, re.DOTALL)
        if key.startswith("alias ") and match:
            when = datetime.strptime(key, STAMP).replace(tzinfo=UTC)
            old, new = (None if each == "none" else each for each in match.group(2, 3))
            changes.append(Change(when, match[1], old, new, match[4], match[5]))
    return sorted(changes, reverse=True)


def promote(name: str, version: str, *, over: str | None, who: str, why: str, since: float = 0) -> None:
    """Makes `version` champion, and the champion that it replaces `previous`.

    Raises ProjectError where another than `over` is champion by now, or the champion has changed after `since` (seconds
    since 1970): whoever decided this has not seen it.
    """
    with _alone(name) as turn:
        held = holders(name)
        if (champion := held.get("champion")) == version:
            raise ProjectError(f"{name} version {version} is champion already")
        _refuse_late(turn, champion, over, since)
        if champion:
            _move(turn, "previous", held.get("previous"), champion, who, f"version {version} replaces it")
        _move(turn, "champion", champion, version, who, why)
        if held.get("challenger") == version:
            _move(turn, "challenger", version, None, who, "it is champion")


def challenge(name: str, version: str, *, who: str, why: str) -> None:
    """Makes `version` challenger, unless it is champion."""
    with _alone(name) as turn:
        held = holders(name)
        if version not in (held.get("champion"), held.get("challenger")):
            _move(turn, "challenger", held.get("challenger"), version, who, why)


def roll_back(name: str, *, over: str | None, who: str, why: str, since: float = 0) -> tuple[str | None, str]:
    """Makes `previous` champion again; gives the number of the version that was champion, and of the one that is.

    There may be none that was: its version may be deleted. `previous` is then the version that had been champion
    before it, as far as that is known. Raises ProjectError as promote does, and where there is nothing to go back to.
    """
    with _alone(name) as turn:
        held = holders(name)
        champion, previous = held.get("champion"), held.get("previous")
        _refuse_late(turn, champion, over, since)
        if not previous or previous == champion or not _is_there(name, previous):
            raise ProjectError(
                f"{name} has no previous champion to go back to: `-e promote -P version=...` makes any version champion"
            )
        noted = version_tags.from_tags(turn.client.get_model_version(name, previous).tags)
        if not (noted.trained or noted.approver):
            raise ProjectError(
                f"{name} version {previous}, the champion before, was not registered by this project: `-e promote -P "
                "version=...` makes any version champion"
            )
        reigns = [each.old for each in history(name) if (each.alias, each.new) == ("champion", previous)]
        before = next((each for each in reigns if each != champion and _is_worthy(turn, each)), None)
        if champion:  # first: what was taken back must not come again by itself, whatever happens to this process
            note = f"on {datetime.now(UTC):%Y-%m-%d} by {who}: {why}"
            for tag, text in version_tags.to_tags(rolled_back=note).items():
                turn.client.set_model_version_tag(name, champion, tag, text)
        _move(turn, "champion", champion, previous, who, why)
        _move(turn, "previous", previous, before, who, f"version {previous} is champion again")
    return champion, previous


class _Turn(NamedTuple):
    """The right to change the aliases of the registered model `name`, as long as `lock` says `note`."""

    client: MlflowClient
    name: str
    lock: str
    note: str
    ahead: float  # seconds that the registry's clock is ahead of this machine's

    def lasts(self) -> bool:
        return _noted(self.client, self.lock)[0] == self.note


def _move(turn: _Turn, alias: str, old: str | None, new: str | None, who: str, why: str) -> None:
    """Gives `alias` to the version `new`, or to none, and writes it down.

    Before it is done: a note of what did not happen does less harm than a change that nobody can explain.
    """
    if not turn.lasts():
        raise Unavailable(
            f"{turn.name}: this took so long that somebody else's change was let in: give the command again"
        )
    if not new:
        try:
            turn.client.delete_registered_model_alias(turn.name, alias)
        except MlflowException as error:
            if error.error_code != "PERMISSION_DENIED":
                raise
            return  # MLflow wants MANAGE for this, and EDIT for all else: it stays, and does no harm
    if old != new:
        now = datetime.fromtimestamp(time.time() + turn.ahead, UTC)
        text = f"{alias}: {old or 'none'} -> {new or 'none'} by {who}: {why}"
        turn.client.set_registered_model_tag(turn.name, f"{now:{STAMP}}", text[:LONGEST])
    if new:
        turn.client.set_registered_model_alias(turn.name, alias, new)


def _refuse_late(turn: _Turn, champion: str | None, over: str | None, since: float) -> None:
    last = next((each for each in history(turn.name) if each.alias == "champion"), None)
    if champion != over or (last and last.when.timestamp() > since + turn.ahead and since):
        by = f", by {last.who}: {last.why}" if last and last.new == champion else ""
        what = f"version {champion} of {turn.name} became champion" if champion else f"{turn.name} lost its champion"
        raise ProjectError(f"{what} meanwhile{by}: look at it, and give the command again")


def _is_worthy(turn: _Turn, version: str | None) -> bool:
    """Whether there is such a version, and nobody took it back."""
    if not version or not _is_there(turn.name, version):
        return False
    return not version_tags.from_tags(turn.client.get_model_version(turn.name, version).tags).rolled_back


def _is_there(name: str, version: str | None) -> bool:
    try:
        return bool(version and MlflowClient().get_model_version(name, version))
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise


@contextmanager
def _alone(name: str) -> Iterator[_Turn]:
    """Sees to it that nobody else changes the aliases of `name`, on whatever machine.

    MLflow has no lock; the one thing that it lets only one of many do is to create a registered model. Raises
    ProjectError
    where this user may not change aliases, and where a dead process's lock cannot be taken away.
    """
    client, lock = MlflowClient(), f"{name}.promotion"
    note = f"held while an alias of {name} changes: {uuid.uuid4().hex}"
    try:
        turn = _Turn(client, name, lock, note, _wait(client, lock, note))
        try:
            yield turn
        finally:
            with suppress(MlflowException):  # what is done is done; who comes next waits a little longer
                if turn.lasts():
                    client.delete_registered_model(lock)
    except MlflowException as error:
        if error.error_code != "PERMISSION_DENIED":
            raise
        raise ProjectError(
            f"this user may not change the aliases of {name}: MLflow's permission EDIT is needed"
        ) from error


def _wait(client: MlflowClient, lock: str, note: str) -> float:
    """Makes `lock`, once nobody else has it; gives the seconds that the registry's clock is ahead."""
    since, seen = time.monotonic(), None
    while True:
        try:
            client.create_registered_model(lock, description=note)
        except MlflowException as error:  # the second: there it was, and was gone when MLflow looked at it
            if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"):
                raise
        else:
            if time.monotonic() - since > PATIENCE:  # who else has waited as long may be about to take it away
                time.sleep(1)
        now, (held, made) = time.time(), _noted(client, lock)
        if held == note:  # also where the answer to an earlier attempt was lost
            return made - now
        if held != seen:  # its age is not asked: clocks differ
            since, seen = time.monotonic(), held
        elif time.monotonic() - since > PATIENCE:
            _remove(client, lock)
        time.sleep(0.1)


def _remove(client: MlflowClient, lock: str) -> None:
    """Takes away the lock of a process that is taken for dead."""
    try:
        client.delete_registered_model(lock)
    except MlflowException as error:
        if error.error_code == "PERMISSION_DENIED":
            raise ProjectError(
                f"the registered model {lock} is the lock of a process that seems to be dead, and not this user's: "
                "its owner or an administrator has to delete it"
            ) from error
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise


def _noted(client: MlflowClient, lock: str) -> tuple[str | None, float]:
    """What `lock` says, and when it was made by the registry's clock; None where this user sees none."""
    try:
        model = client.get_registered_model(lock)
        return model.description, model.creation_timestamp / 1000
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "PERMISSION_DENIED"):
            return None, 0
        raise

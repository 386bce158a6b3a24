"""Which version is champion: one change at a time, and every change written down on the registered model."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import NamedTuple

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from ..errors import ProjectError, Unavailable
from . import catalog, registry, run_history, version_tags
from .version_tags import LONGEST

PATIENCE = 60  # seconds that one change may take, some requests: after them, whoever was at it is taken for dead
STAMP = "alias %Y-%m-%d %H:%M:%S.%f UTC"  # the name of the tag that tells of a change, and its number
INTENT = "alias.change"  # the tag that holds what is about to be done: whoever comes next does what is left of it


class Change(NamedTuple):
    number: int  # in their order, whatever clocks say
    when: datetime  # by the registry's clock
    alias: str
    old: str | None
    new: str | None
    who: str
    why: str


def holders(name: str) -> dict[str, str]:
    """The version that holds each alias of the registered model `name`, once a change that was left half done is done.

    Raises ProjectError where there is no such model.
    """
    try:
        intent = _intent(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        sentence = f"there is no registered model {name}: `-P data=...` says which dataset's is meant"
        raise ProjectError(sentence) from error
    if intent and not intent.done:
        with _alone(name):
            pass
    return _held(name)


def history(name: str) -> list[Change]:
    """Every change of an alias of the registered model `name`, the newest first."""
    changes, form = [], catalog.name_of(STAMP)
    for key, text in catalog.from_registry(MlflowClient().get_registered_model(name).tags).items():
        stamp = re.fullmatch(r"(alias .* UTC)(?: (\d+))?", key)
        match = re.fullmatch(r"(\w+): (\S+) -> (\S+) by (.*?): (.*)", text, re.DOTALL)
        if stamp and match:
            when = datetime.strptime(stamp[1], form).replace(tzinfo=UTC)
            old, new = (None if each == "none" else each for each in match.group(2, 3))
            changes.append(Change(int(stamp[2] or 0), when, match[1], old, new, match[4], match[5]))
    return sorted(changes, reverse=True)


def promote(
    name: str, version: str, *, over: str | None, who: str, why: str, since: float = 0, **tags: str
) -> str | None:
    """Makes `version`, which gets `tags`, champion, and the champion that it replaces `previous`; gives the number of
    that.

    Raises ProjectError where another than `over` is champion by now, or the champion has changed after `since` (seconds
    since 1970): whoever decided this has not seen it.
    """
    with _alone(name) as turn:
        held, last = _held(name), _intent(name)
        if (champion := held.get("champion")) == version:
            if last and _is_repeated(turn, last, "promote", champion):
                return last.old
            raise ProjectError(f"{name} version {version} is champion already")
        _refuse_late(turn, champion, over, since)
        moves: list[_Move] = []
        if held.get("previous") == version:  # it is never both
            moves.append(("previous", held.pop("previous"), None, "it is champion"))
        moves.append(("champion", champion, version, why[:LONGEST]))
        if champion:
            moves.append(("previous", held.get("previous"), champion, f"version {version} replaces it"))
        if held.get("challenger") == version:
            moves.append(("challenger", version, None, "it is champion"))
        _carry_out(turn, _Intent("promote", champion, version, who, _active(), moves, {version: tags}))
    return champion


def challenge(name: str, version: str, *, who: str, why: str) -> None:
    """Makes `version` challenger, unless it is champion."""
    with _alone(name) as turn:
        held = _held(name)
        if version not in (held.get("champion"), held.get("challenger")):
            _move(turn, "challenger", held.get("challenger"), version, who, why)


def roll_back(name: str, *, over: str | None, who: str, why: str, since: float = 0) -> tuple[str | None, str]:
    """Makes `previous` champion again; gives the number of the version that was champion, and of the one that is.

    There may be none that was: its version may be deleted. `previous` is then the version that had been champion
    before it, as far as that is known. Raises ProjectError as promote does, and where there is nothing to go back to.
    """
    with _alone(name) as turn:
        held, last = _held(name), _intent(name)
        champion, previous = held.get("champion"), held.get("previous")
        if last and champion and _is_repeated(turn, last, "rollback", champion):
            return last.old, champion
        _refuse_late(turn, champion, over, since)
        target = registry.version(name, previous) if previous and previous != champion else None
        if not (previous and target and (target.noted.trained or target.noted.approver)):
            reason = target.foreign if target else f"{name} has no previous champion to go back to"
            raise ProjectError(f"{reason}: `-e promote -P version=...` makes any version champion")
        reigns = [each.old for each in history(name) if (each.alias, each.new) == ("champion", previous)]
        before = next((each for each in reigns if each not in (champion, previous) and _is_worthy(name, each)), None)
        note = f"on {datetime.now(UTC):%Y-%m-%d} by {who}: {why}"
        tags = {champion: version_tags.to_tags(rolled_back=note)} if champion else {}  # it must not come by itself
        again = ("previous", previous, before, f"version {previous} is champion again")
        moves: list[_Move] = [again, ("champion", champion, previous, why[:LONGEST])]
        _carry_out(turn, _Intent("rollback", champion, previous, who, _active(), moves, tags))
    return champion, previous


_Move = tuple[str, str | None, str | None, str]  # an alias, the version that it leaves, the one that it goes to, why


class _Intent(NamedTuple):
    """A change of several steps, written down before the first: a killed process leaves no half of it."""

    command: str
    old: str | None  # the champion before
    new: str  # and after
    who: str
    run: str  # of the command that makes it
    moves: list[_Move]
    tags: dict[str, dict[str, str]]  # of versions
    done: bool = False


def _intent(name: str) -> _Intent | None:
    """The last change of several steps; None where there is none."""
    try:
        tags = catalog.from_registry(MlflowClient().get_registered_model(name).tags)
        return _Intent(*json.loads(tags.get(catalog.name_of(INTENT), "")))
    except (ValueError, TypeError):
        return None


def _carry_out(turn: _Turn, intent: _Intent) -> None:
    """Takes the steps of `intent` that have not been taken yet."""
    _keep(turn, intent)
    for number, tags in intent.tags.items():
        for tag, text in catalog.to_registry(tags).items() if registry.version(turn.name, number) else ():
            turn.client.set_model_version_tag(turn.name, number, tag, text)
    for alias, old, new, why in intent.moves:
        if _held(turn.name).get(alias) != new and (not new or registry.version(turn.name, new)):
            _move(turn, alias, old, new, intent.who, why)
    _keep(turn, intent._replace(done=True))


def _keep(turn: _Turn, intent: _Intent) -> None:
    _tag(turn, INTENT, json.dumps(intent))


def _tag(turn: _Turn, tag: str, text: str) -> None:
    for key, part in catalog.to_registry({tag: text}).items():
        turn.client.set_registered_model_tag(turn.name, key, part)


def _is_repeated(turn: _Turn, last: _Intent, command: str, champion: str) -> bool:
    """Whether `last` is what `command` wants, done by a process that was killed before it could say so."""
    is_it = (last.command, last.new) == (command, champion) and last.run and run_history.has(last.run)
    if not is_it or turn.client.get_run(last.run).info.status not in ("KILLED", "FAILED"):
        return False
    _keep(turn, last._replace(run=""))  # once
    return True


def _active() -> str:
    active = mlflow.active_run()
    return active.info.run_id if active else ""


def _held(name: str) -> dict[str, str]:
    return {alias: str(version) for alias, version in MlflowClient().get_registered_model(name).aliases.items()}


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
        raise Unavailable(f"{turn.name}: this took so long that another's change was let in: give the command again")
    changes = history(turn.name)
    last = next((each for each in changes if each.alias == alias), None)
    if old != new and not (last and last[3:6] == (old, new, who)):  # noted by a process that was killed then
        now, number = datetime.fromtimestamp(time.time() + turn.ahead, UTC), changes[0].number + 1 if changes else 1
        text = f"{alias}: {old or 'none'} -> {new or 'none'} by {who}: {why}"
        _tag(turn, f"{now:{STAMP}} {number}", text[: catalog.PART if catalog.is_used() else LONGEST])
        for each in changes[catalog.CHANGES :] if catalog.is_used() else ():
            key = catalog.name_of(f"{each.when:{STAMP}} {each.number}")
            turn.client.delete_registered_model_tag(turn.name, key)
    if new:
        turn.client.set_registered_model_alias(turn.name, alias, new)
        return
    try:
        turn.client.delete_registered_model_alias(turn.name, alias)
    except MlflowException as error:
        if error.error_code != "PERMISSION_DENIED":
            raise  # MLflow wants MANAGE for this, and EDIT for all else: it stays, and does no harm


def _refuse_late(turn: _Turn, champion: str | None, over: str | None, since: float) -> None:
    last = next((each for each in history(turn.name) if each.alias == "champion"), None)
    when, now = last.when.timestamp() - turn.ahead if last else 0, time.time()
    if champion != over or (since and since < when <= now):  # later than now: a clock was set back since
        by = f", by {last.who}: {last.why}" if last and last.new == champion else ""
        what = f"version {champion} of {turn.name} became champion" if champion else f"{turn.name} lost its champion"
        raise ProjectError(f"{what} meanwhile{by}: look at it, and give the command again")


def _is_worthy(name: str, number: str | None) -> bool:
    """Whether there is such a version, and nobody took it back."""
    version = registry.version(name, number) if number else None
    return bool(version and not version.noted.rolled_back)


@contextmanager
def _alone(name: str) -> Iterator[_Turn]:
    """Sees to it that nobody else changes the aliases of `name`, on whatever machine.

    MLflow has no lock; the one thing that it lets only one of many do is to create a registered model. Raises
    ProjectError
    where this user may not change aliases, and where a dead process's lock cannot be taken away.
    """
    client, lock = MlflowClient(), f"{name}{'_' if catalog.is_used() else '.'}promotion"  # three levels, not four
    note = f"held while an alias of {name} changes: {uuid.uuid4().hex}"
    try:
        turn = _Turn(client, name, lock, note, _wait(client, lock, note))
        try:
            if (intent := _intent(name)) and not intent.done:
                _carry_out(turn, intent)
            yield turn
        finally:
            with suppress(MlflowException):  # what is done is done; who comes next waits a little longer
                if turn.lasts():
                    client.delete_registered_model(lock)
    except MlflowException as error:
        if error.error_code != "PERMISSION_DENIED":
            raise
        sentence = f"this user may not change the aliases of {name}: MLflow's permission EDIT is needed"
        raise ProjectError(sentence) from error


def _wait(client: MlflowClient, lock: str, note: str) -> float:
    """Makes `lock`, once nobody else has it; gives the seconds that the registry's clock is ahead."""
    since, seen = time.monotonic(), None
    while True:
        now = time.time()
        try:
            client.create_registered_model(lock, description=note)
        except MlflowException as error:  # the second: there it was, and was gone when MLflow looked at it
            if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"):
                raise
        else:
            if time.monotonic() - since > PATIENCE:  # who else has waited as long may be about to take it away
                time.sleep(1)
        held, made = _noted(client, lock)
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

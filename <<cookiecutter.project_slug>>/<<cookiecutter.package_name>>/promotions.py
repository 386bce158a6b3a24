"""Which version is champion: one change at a time, and every change written down on the registered model."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import NamedTuple

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from .errors import Refused

PATIENCE = 30  # seconds that one change may take: after them, whoever was at it is taken for dead
STAMP = "alias %Y-%m-%d %H:%M:%S.%f UTC"  # the name of the tag that tells of a change


class Change(NamedTuple):
    when: datetime
    alias: str
    old: str | None
    new: str | None
    who: str
    why: str


def holders(name: str) -> dict[str, str]:
    """The version that holds each alias of the registered model `name`. Raises Refused where there is no such model."""
    try:
        held = MlflowClient().get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise Refused(
                f"there is no registered model {name}: `-P data=...` says which dataset's is meant"
            ) from error
        raise
    return {alias: str(version) for alias, version in held.items()}


def history(name: str) -> list[Change]:
    """Every change of an alias of the registered model `name`, the newest first."""
    found = []
    for key, text in MlflowClient().get_registered_model(name).tags.items():
        told = re.fullmatch(r"(\w+): (\S+) -> (\S+) by (.*?): (.*)", text, re.DOTALL)
        if key.startswith("alias ") and told:
            when = datetime.strptime(key, STAMP).replace(tzinfo=UTC)
            old, new = (None if each == "none" else each for each in told.group(2, 3))
            found.append(Change(when, told[1], old, new, told[4], told[5]))
    return sorted(found, reverse=True)


def promote(name: str, version: str, *, over: str | None, who: str, why: str, since: float = 0) -> None:
    """Makes `version` champion, and the champion that it replaces `previous`.

    Raises Refused where another than `over` is champion by now, or the champion has changed after `since` (seconds
    since 1970): whoever decided this has not seen it.
    """
    client = MlflowClient()
    with _alone(client, name):
        held = holders(name)
        if (champion := held.get("champion")) == version:
            raise Refused(f"{name} version {version} is champion already")
        _refuse_late(name, held.get("champion"), over, since)
        if champion:
            _move(client, name, "previous", held.get("previous"), champion, who, f"version {version} replaces it")
        _move(client, name, "champion", champion, version, who, why)
        if held.get("challenger") == version:
            _move(client, name, "challenger", version, None, who, "it is champion")


def challenge(name: str, version: str, *, who: str, why: str) -> None:
    """Makes `version` challenger, unless it is champion."""
    client = MlflowClient()
    with _alone(client, name):
        held = holders(name)
        if version not in (held.get("champion"), held.get("challenger")):
            _move(client, name, "challenger", held.get("challenger"), version, who, why)


def roll_back(name: str, *, over: str | None, who: str, why: str, since: float = 0) -> tuple[str, str]:
    """Makes `previous` champion again; gives the number of the version that was champion, and of the one that is.

    `previous` is then the version that had been champion before it, as far as that is known. Raises Refused as promote
    does, and where there is nothing to go back to.
    """
    client = MlflowClient()
    with _alone(client, name):
        held = holders(name)
        _refuse_late(name, held.get("champion"), over, since)
        champion, previous = held.get("champion"), held.get("previous")
        if not champion or not previous:
            raise Refused(f"{name} has no previous champion to go back to")
        before = next((each.old for each in history(name) if (each.alias, each.new) == ("champion", previous)), None)
        _move(client, name, "champion", champion, previous, who, why)
        client.set_model_version_tag(name, champion, "rolled_back", f"on {datetime.now(UTC):%Y-%m-%d} by {who}: {why}")
        before = before if before != champion and before and _is_there(client, name, before) else None
        _move(client, name, "previous", previous, before, who, f"version {previous} is champion again")
    return champion, previous


def _move(client: MlflowClient, name: str, alias: str, old: str | None, new: str | None, who: str, why: str) -> None:
    """Gives `alias` to the version `new`, or to none, and writes it down."""
    if new:
        client.set_registered_model_alias(name, alias, new)
    elif old:
        client.delete_registered_model_alias(name, alias)
    if old != new:
        client.set_registered_model_tag(
            name, f"{datetime.now(UTC):{STAMP}}", f"{alias}: {old or 'none'} -> {new or 'none'} by {who}: {why}"
        )


def _refuse_late(name: str, champion: str | None, over: str | None, since: float) -> None:
    last = next((each for each in history(name) if each.alias == "champion"), None)
    if champion != over or (last and last.when.timestamp() > since > 0):
        told = f", by {last.who}: {last.why}" if last else ""
        raise Refused(
            f"version {champion} of {name} became champion meanwhile{told}: look at it, and give the command again"
        )


def _is_there(client: MlflowClient, name: str, version: str) -> bool:
    with suppress(MlflowException):
        return bool(client.get_model_version(name, version))
    return False


@contextmanager
def _alone(client: MlflowClient, name: str) -> Iterator[None]:
    """Sees to it that nobody else changes the aliases of `name`, on whatever machine.

    MLflow has no lock; the one thing that it lets only one of many do is to create a registered model.
    """
    lock, since, seen = f"{name}.promotion", time.monotonic(), None
    while True:
        try:
            client.create_registered_model(lock, description=f"held while an alias of {name} changes")
            break
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        with suppress(MlflowException):  # it may be gone by now
            held = client.get_registered_model(lock).creation_timestamp
            since, seen = (since, seen) if held == seen else (time.monotonic(), held)
            if time.monotonic() - since > PATIENCE:
                client.delete_registered_model(lock)
        time.sleep(0.1)
    try:
        yield
    finally:
        client.delete_registered_model(lock)

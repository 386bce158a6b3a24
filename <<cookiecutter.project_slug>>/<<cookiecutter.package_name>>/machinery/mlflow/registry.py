"""Versions of registered models: which there are, what holds an alias, what is written on each."""

from __future__ import annotations

import io
import re
import tempfile
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from ..result import APPROVED, PAGES
from . import catalog, stores, version_tags
from .version_tags import VersionTags


@dataclass(frozen=True)
class ModelVersion:
    """A version in the registry, and what this package wrote down about it."""

    name: str
    version: str
    digest: str  # of what the model answers; see models.digest
    tags: dict[str, str]

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.version}"

    @property
    def title(self) -> str:
        return f"{self.name} version {self.version}"

    @property
    def foreign(self) -> str:
        """That this project has not registered it, in words; "" where it has."""
        what = "was not registered by this project: which rows it knows cannot be told"
        return "" if self.noted.trained else f"{self.title} {what}"

    @property
    def noted(self) -> VersionTags:
        """What this project has written on it."""
        return version_tags.from_tags(self.tags)


def aliases(name: str) -> dict[str, dict[str, Any]]:
    """What holds each alias of `name`: its version, what it answers (a digest), and what it was compared `against`."""
    client = MlflowClient()
    try:
        held = client.get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return {}
        raise
    holders = {alias: version(name, number) for alias, number in sorted(held.items())}
    return {
        alias: {"version": each.version, "digest": each.digest, "against": each.noted.against}
        for alias, each in holders.items()
        if each
    }


def version(name: str, number: str) -> ModelVersion | None:
    """The version `number` of `name`, if there is one."""
    try:
        return registered(MlflowClient().get_model_version(name, number))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def registered_at(version: ModelVersion) -> datetime:
    """When `version` was registered."""
    held = MlflowClient().get_model_version(version.name, version.version)
    return datetime.fromtimestamp((held.creation_timestamp or 0) / 1000, UTC)


def versions(name: str) -> list[str]:
    """The numbers of all versions of `name`, the oldest first."""
    return sorted((str(each.version) for each in MlflowClient().search_model_versions(f"name = '{name}'")), key=int)


def twin(name: str, digest: str) -> ModelVersion | None:
    """The newest version of `name` that is the same model."""
    if catalog.is_used():  # it searches by the name alone, and gives no tags
        each = (version(name, number) for number in reversed(versions(name)))
        return next((one for one in each if one and one.digest == digest), None)
    twins = MlflowClient().search_model_versions(f"name = '{name}' and tags.digest = '{digest}'")
    return registered(max(twins, key=lambda each: int(each.version))) if twins else None


def register(name: str, model_id: str, *, tags: dict[str, str]) -> ModelVersion:
    """A new version of `name` out of a logged model."""
    with redirect_stderr(io.StringIO()):  # MLflow says there that it did what it did
        return registered(mlflow.register_model(f"models:/{model_id}", name, tags=catalog.to_registry(tags)))


def describe(version: ModelVersion, description: str, about: str, tags: dict[str, str]) -> None:
    """Gives `version` its `description`, with the date, and its model what it is `about` and `tags`, if it has none."""
    client, name = MlflowClient(), version.name
    client.update_model_version(name, version.version, f"{description}\n- **registered**: {datetime.now(UTC):%Y-%m-%d}")
    if not client.get_registered_model(name).description:
        client.update_registered_model(name, about)
        held = partial(client.get_registered_model, name)
        stores.describe_once(catalog.to_registry(tags), partial(client.set_registered_model_tag, name), held)


def note(version: ModelVersion, tags: dict[str, str]) -> ModelVersion:
    """`version` with `tags` on it."""
    for name, value in catalog.to_registry(tags).items():
        MlflowClient().set_model_version_tag(version.name, version.version, name, value)
    return replace(version, tags={**version.tags, **tags})


def approval_tags(version: ModelVersion, *, who: str, why: str) -> dict[str, str]:
    """Tags of `version`: who made it champion, when and why; that it was once taken back counts no more."""
    again = {"rolled_back": ""} if "rolled_back" in version.tags else {}  # to delete it takes a permission more
    return version_tags.to_tags(approver=who, approved=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", reason=why, **again)


def sign_card(version: ModelVersion, approved: str) -> str:
    """Writes into the model card of `version` who `approved` it; gives the card's text, "" where it is gone."""
    client, card, says = MlflowClient(), PAGES[1], " ".join(approved.replace("<", "\\<").split())
    run_id = client.get_model_version(version.name, version.version).run_id or ""
    try:
        with tempfile.TemporaryDirectory() as folder:
            text = Path(client.download_artifacts(run_id, card, folder)).read_text(encoding="utf-8")
    except (MlflowException, OSError):
        return ""
    text = re.sub(rf"(?<=\*\*{APPROVED}\*\*: ).*", lambda _: says, text)
    with suppress(MlflowException, OSError):  # who may move the alias need not be allowed to write to another's run
        client.log_text(run_id, text, card)
    return text


def registered(entity: Any) -> ModelVersion:
    """What MLflow says of a version, as this package has it."""
    tags = catalog.from_registry(entity.tags)
    return ModelVersion(entity.name, str(entity.version), tags.get("digest", ""), tags)

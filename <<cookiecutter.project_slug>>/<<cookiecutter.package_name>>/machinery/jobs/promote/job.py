"""A version made champion by hand, and who decided it."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from ...errors import ConfigError, ProjectError, close
from ...mlflow import aliases, registry
from ...result import PAGES, StageResult
from .. import decided_and_deployed, decided_at
from . import Arguments
from .copies import copied_to

if TYPE_CHECKING:
    from ...config.schema import Deploy, Environment
    from ...layout import Layout
    from ...pipeline.store import Store


def promote(
    store: Store,
    *,
    version: str,
    approver: str,
    reason: str | None,
    registered_model: str,
    began: float,
    to: str | None,
    environments: dict[str, Environment],
    overrides: list[str],
    layout: Layout,
    deploy: Deploy | None,
    choices: dict[str, str],
) -> StageResult:
    """Moves the alias `champion`, and writes approver, date and reason on the version; or copies it `to` elsewhere.

    Of the model that `deploy` answers by, in its registry, where a deployment is chosen.

    Raises ProjectError for a version that there is not, for one that has failed the gate and no reason, and where
    another
    became champion after this command was given.
    """
    with decided_at(deploy if to is None else None, registered_model) as registered_model:
        over = aliases.holders(registered_model).get("champion")
        candidate = registry.version(registered_model, version)
        if candidate is None:
            known = ", ".join(registry.versions(registered_model))
            raise ProjectError(f"version={version}: {registered_model} has no such version; it has {known}")
        if not approver.strip():
            raise ConfigError("approver is empty: name who decides this")
        if candidate.noted.gate == "failed" and not reason:
            raise ProjectError(f"version {version} failed the gate ({candidate.noted.reasons}): say why as reason=...")
        if candidate.foreign and not reason:
            raise ProjectError(f"{candidate.foreign}; where it is to be champion all the same, say why as reason=...")
        why, at = reason or "approved", (deploy, store, choices, approver, overrides)
        if to is not None:
            own = [field.name for field in fields(Arguments)]
            typed = [word for word in overrides if word.lstrip("+").partition("=")[0] not in own]
            if (there := environments.get(to)) is None:
                raise ConfigError(f"to={to}: environments has no such key{close(to, environments)}")
            result = copied_to(to, there, candidate, store, typed, layout, f"by {approver}: {why}")
            if result.facts["alias"] == "champion":
                result.summary += decided_and_deployed(lambda: 0, there.registered_model, None, at)[1]
            return result
        version, tags = candidate.version, registry.approval_tags(candidate, who=approver, why=why)
        over, deployed = decided_and_deployed(
            lambda: aliases.promote(registered_model, version, over=over, who=approver, why=why, since=began, **tags),
            *(registered_model, version, at),
        )
        card = registry.sign_card(candidate, f"{approver}, {tags['approved']}: {why}")
        return StageResult(
            f"{registered_model} version {version} is champion, approved by {approver}"
            + (f"; version {over} is previous" if over else "")
            + deployed,
            tags={"registered": f"{registered_model}/{version}", "approver": approver, "reason": why},
            texts={PAGES[1]: card} if card else {},
        )

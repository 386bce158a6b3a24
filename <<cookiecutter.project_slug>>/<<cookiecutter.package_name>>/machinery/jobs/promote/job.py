"""A version made champion by hand, and who decided it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import ConfigError, ProjectError
from ...mlflow import aliases, registry
from ...result import PAGES, StageResult
from .. import decided_and_deployed

if TYPE_CHECKING:
    from ...config.schema import Deploy
    from ...pipeline.store import Store


def promote(
    store: Store,
    *,
    version: str,
    approver: str,
    reason: str | None,
    registered_model: str,
    began: float,
    deploy: Deploy | None,
    choices: dict[str, str],
) -> StageResult:
    """Moves the alias `champion`, and writes approver, date and reason on the version.

    Raises ProjectError for a version that there is not, for one that has failed the gate and no reason, and where
    another
    became champion after this command was given.
    """
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
    why = reason or "approved"
    version, tags = candidate.version, registry.approval_tags(candidate, who=approver, why=why)
    over, deployed = decided_and_deployed(
        lambda: aliases.promote(registered_model, version, over=over, who=approver, why=why, since=began, **tags),
        version,
        deploy,
        store,
        choices=choices,
        who=approver,
    )
    card = registry.sign_card(candidate, f"{approver}, {tags['approved']}: {why}")
    return StageResult(
        f"{registered_model} version {version} is champion, approved by {approver}"
        + (f"; version {over} is previous" if over else "")
        + deployed,
        tags={"registered": f"{registered_model}/{version}", "approver": approver, "reason": why},
        texts={PAGES[1]: card} if card else {},
    )

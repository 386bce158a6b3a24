"""The champion taken back, and the one before it put in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...mlflow import aliases
from ...pipeline import provenance
from ...result import StageResult
from .. import decided_and_deployed, decided_at

if TYPE_CHECKING:
    from ...config.schema import Deploy
    from ...pipeline.store import Store


def rollback(
    store: Store,
    *,
    approver: str | None,
    reason: str | None,
    registered_model: str,
    began: float,
    overrides: list[str],
    deploy: Deploy | None,
    choices: dict[str, str],
) -> StageResult:
    """Makes `previous` champion again; the version taken back is no more promoted but by hand.

    Of the model that `deploy` answers by, in its registry, where a deployment is chosen.
    """
    who, why = approver or provenance.user(), reason or "rolled back"
    with decided_at(deploy, registered_model) as registered_model:
        held = aliases.holders(registered_model)
        (old, new), deployed = decided_and_deployed(
            lambda: aliases.roll_back(registered_model, over=held.get("champion"), who=who, why=why, since=began),
            *(registered_model, held.get("previous"), (deploy, store, choices, who, overrides)),
        )
    return StageResult(
        f"{registered_model} version {new} is champion again; "
        + (f"version {old} was taken back by {who}" if old else "the version after it is gone")
        + deployed,
        tags={"registered": f"{registered_model}/{new}", "approver": who, "reason": why},
    )

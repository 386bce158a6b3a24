"""The champion taken back, and the one before it put in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...mlflow import aliases
from ...pipeline import provenance
from ...result import StageResult

if TYPE_CHECKING:
    from ...pipeline.store import Store


def rollback(
    store: Store, *, approver: str | None, reason: str | None, registered_model: str, began: float
) -> StageResult:
    """Makes `previous` champion again; the version taken back is no more promoted but by hand."""
    who, why = approver or provenance.user(), reason or "rolled back"
    over = aliases.holders(registered_model).get("champion")
    old, new = aliases.roll_back(registered_model, over=over, who=who, why=why, since=began)
    return StageResult(
        f"{registered_model} version {new} is champion again; "
        + (f"version {old} was taken back by {who}" if old else "the version after it is gone"),
        tags={"registered": f"{registered_model}/{new}", "approver": who, "reason": why},
    )

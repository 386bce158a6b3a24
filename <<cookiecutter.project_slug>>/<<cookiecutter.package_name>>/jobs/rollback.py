"""The champion taken back, and the one before it put in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import machines, promotions
from ..outcomes import Outcome

if TYPE_CHECKING:
    from ..store import Store


def rollback(store: Store, *, approver: str | None, reason: str | None, registered_model: str, began: float) -> Outcome:
    """Makes `previous` champion again; the version taken back is no more promoted but by hand."""
    who, why = approver or machines.user(), reason or "rolled back"
    over = promotions.holders(registered_model).get("champion")
    old, new = promotions.roll_back(registered_model, over=over, who=who, why=why, since=began)
    return Outcome(
        f"{registered_model} version {new} is champion again; "
        + (f"version {old} was taken back by {who}" if old else "the version after it is gone"),
        tags={"registered": f"{registered_model}/{new}", "approver": who, "reason": why},
    )

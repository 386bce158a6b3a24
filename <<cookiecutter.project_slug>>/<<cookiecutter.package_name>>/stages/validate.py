"""The table checked by its expectations: the line goes on with the same table, or stops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..machinery.data import roles, validator
from ..machinery.errors import DataError
from ..machinery.result import StageResult

if TYPE_CHECKING:
    from ..machinery.config.schema import Columns
    from ..machinery.pipeline.store import Store


def validate(store: Store, *, expectations: list[dict[str, Any]], columns: Columns) -> StageResult:
    """Raises DataError where an expectation fails, listing each, and where a column that the line needs is
    missing."""
    roles.refuse_missing(columns, store.table("ingest").collect_schema().names())
    failed, notes, texts = validator.held_to(store, "ingest", expectations, sensitive=columns.sensitive)
    met = len(expectations) - len(failed)
    outcome = StageResult(
        f"{met} of {len(expectations)} expectations met" if expectations else "no expectations to hold the table to",
        scores={"expectations": len(expectations), "expectations_failed": len(failed)}
        | ({"data_quality_score": met / len(expectations)} if expectations else {}),
        notes=notes,
        texts=texts,
    )
    if failed:
        listed = "".join(f"\n  {line}" for line in failed)
        raise DataError(f"{len(failed)} of {len(expectations)} expectations failed:{listed}", outcome)
    return outcome

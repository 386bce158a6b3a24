"""The table held to its expectations: the line goes on with the same table, or stops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import expectations as expected
from ..errors import Refused
from ..outcomes import Outcome

if TYPE_CHECKING:
    from ..config import Columns
    from ..store import Store


def validate(store: Store, *, expectations: list[dict[str, Any]], columns: Columns) -> Outcome:
    """Raises Refused where an expectation fails, listing each, and where a column that the line needs is missing."""
    table = store.table("ingest")
    names = table.collect_schema().names()
    for key, wanted in {"target": [columns.target], "key": columns.key, "drop": columns.drop}.items():
        for column in wanted:
            if column not in names:
                raise Refused(f"columns.{key}={column}: the table has no such column; it has {', '.join(names)}")
    suite = expected.suite(expectations)
    result = expected.validate(table.collect().to_pandas(), suite)
    failed = expected.failures(result)
    met = len(expectations) - len(failed)
    outcome = Outcome(
        f"{met} of {len(expectations)} expectations met",
        scores={"expectations": len(expectations), "expectations_failed": len(failed)},
        texts={"expectations.html": expected.page(result)},
    )
    if failed:
        listed = "".join(f"\n  {line}" for line in failed)
        raise Refused(f"{len(failed)} of {len(expectations)} expectations failed:{listed}", outcome)
    return outcome

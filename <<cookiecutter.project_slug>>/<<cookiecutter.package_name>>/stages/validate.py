"""The table held to its expectations: the line goes on with the same table, or stops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..machinery.data import expectations as expected
from ..machinery.errors import ConfigError, DataError
from ..machinery.result import StageResult

if TYPE_CHECKING:
    from ..config import Columns
    from ..machinery.pipeline.store import Store


def validate(store: Store, *, expectations: list[dict[str, Any]], columns: Columns) -> StageResult:
    """Raises DataError where an expectation fails, listing each, and where a column that has a role is missing."""
    table = store.table("ingest")
    names = table.collect_schema().names()
    if "split" in names:
        raise DataError("the table has a column split, which is the name of the one that this project adds: rename it")
    for role, wanted in _roles(columns).items():
        for column in wanted:
            if column not in names:
                raise DataError(f"columns.{role}={column}: the table has no such column; it has {_some(names)}")
            if role != "target" and column == columns.target:
                raise ConfigError(f"columns.{role} names {column}, which is columns.target: it can be one of them")
    suite = expected.suite(expectations)
    result = expected.masked(expected.validate(expected.frame(table, expectations), suite), columns.sensitive)
    failed = expected.failures(result)
    met = len(expectations) - len(failed)
    outcome = StageResult(
        f"{met} of {len(expectations)} expectations met" if expectations else "no expectations to hold the table to",
        scores={"expectations": len(expectations), "expectations_failed": len(failed)},
        texts={"expectations.html": expected.page(result)},
    )
    if failed:
        listed = "".join(f"\n  {line}" for line in failed)
        raise DataError(f"{len(failed)} of {len(expectations)} expectations failed:{listed}", outcome)
    return outcome


def _roles(columns: Columns) -> dict[str, list[str]]:
    """The columns named for each role."""
    stated = vars(columns)
    return {role: names if isinstance(names, list) else [names] for role, names in stated.items() if names}


def _some(names: list[str], most: int = 20) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

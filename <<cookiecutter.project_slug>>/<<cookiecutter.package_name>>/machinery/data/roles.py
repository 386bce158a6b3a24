"""The columns that the configuration names for a role, such as columns.target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ConfigError, DataError

if TYPE_CHECKING:
    from ..config.schema import Columns

SHOWN = 20  # names of columns in a sentence


def refuse_missing(columns: Columns, names: Sequence[str]) -> None:
    """Raises DataError where a table with the columns `names` lacks one that has a role, or has the name `split`."""
    if "split" in names:
        raise DataError("the table has a column split, which is the name of the one that this project adds: rename it")
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    for role, value in vars(columns).items():
        for column in value if isinstance(value, list) else [value] if value else []:
            if column not in names:
                there = ", ".join(names[:SHOWN]) + more
                raise DataError(f"columns.{role}={column}: the table has no such column; it has {there}")
            if role != "target" and column == columns.target:
                raise ConfigError(f"columns.{role} names {column}, which is columns.target: it can be one of them")

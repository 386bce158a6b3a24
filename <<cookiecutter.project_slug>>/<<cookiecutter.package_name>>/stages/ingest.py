"""The source's table, as it is, in the store."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import polars as pl

from ..errors import Refused
from ..outcomes import Outcome

if TYPE_CHECKING:
    from ..store import Store


def ingest(store: Store, *, source: Callable[[], pl.LazyFrame | pl.DataFrame]) -> Outcome:
    """Streams what `source` gives to Parquet. Raises Refused for a source that cannot be read or has no rows."""
    try:
        table = source().lazy()
        schema = table.collect_schema()
        digest = store.save_table("ingest", table)
    except Refused:  # of the store
        raise
    except FileNotFoundError as error:
        raise Refused(
            f"the source is not there: {error} (a relative path is looked for in the folder of the command, then in "
            "the project's)"
        ) from error
    except ImportError as error:
        raise Refused(f"the source needs another package (`uv add` it, then `make lock`): {_line(error)}") from error
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise Refused(f"the source cannot be read: {_line(error)}") from error
    rows = store.table("ingest").select(pl.len()).collect().item()
    if not rows:
        raise Refused("the source has no rows")
    facts = {"rows": rows, "columns": {name: str(dtype) for name, dtype in schema.items()}, "digest": digest}
    return Outcome(f"{rows:,} rows x {len(schema)} columns", facts=facts, tags={"data.digest": digest})


def _line(error: Exception) -> str:
    return " ".join(str(error).split())

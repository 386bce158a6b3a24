"""The source's table in the store, its texts read as what they say."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import polars as pl

from ..machinery.data import parsing, sources
from ..machinery.errors import DataError
from ..machinery.result import StageResult

if TYPE_CHECKING:
    from ..machinery.config.schema import Type
    from ..machinery.pipeline.store import Store


def ingest(
    store: Store,
    *,
    source: Callable[[], pl.LazyFrame | pl.DataFrame],
    types: dict[str, Type],
    missing: list[str],
) -> StageResult:
    """Streams what `source` gives to Parquet.

    Raises DataError for a source that cannot be read, for values that are not of their type, and where there are no
    rows.
    """
    table = pl.LazyFrame()
    try:
        with sources.reading(source):
            table = source().lazy()
            typed = parsing.read(table, types, missing=missing)
            schema = typed.collect_schema()
            digest = store.save_table("ingest", typed)
    except sources.Unreadable as error:
        raise DataError(parsing.why_unreadable(table, types, missing=missing) or str(error)) from error
    rows = store.table("ingest").select(pl.len()).collect().item()
    if not rows:
        raise DataError("the source has no rows")
    facts = {"rows": rows, "columns": {name: str(dtype) for name, dtype in schema.items()}, "digest": digest}
    return StageResult(
        f"{rows:,} rows x {len(schema)} columns", facts=facts, dataset=digest, tags={"data.digest": digest}
    )

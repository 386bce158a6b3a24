"""The source's table in the store, its texts read as what they say."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from ..machinery.data import parsing, sources
from ..machinery.errors import DataError
from ..machinery.result import StageResult

if TYPE_CHECKING:
    from ..machinery.config.schema import Type
    from ..machinery.pipeline.store import Store


def ingest(
    store: Store, *, source: Callable[[], pl.LazyFrame | pl.DataFrame], types: dict[str, Type], missing: list[str]
) -> StageResult:
    """Streams what `source` gives to Parquet.

    Raises DataError for a source that cannot be read, for values that are not of their type, and where there are no
    rows.
    """
    with sources.reading(source):
        parts = store.engine.open(source, store.path("ingest"))
        read = partial(parsing.read, types=types, missing=missing)
    with sources.explained(pl.concat(parts), types, missing=missing), sources.reading(source):
        digest = store.save_parts("ingest", read, parts)
    table = store.table("ingest")
    rows, schema = table.select(pl.len()).collect().item(), table.collect_schema()
    if not rows:
        raise DataError("the source has no rows")
    facts = {"rows": rows, "columns": {name: str(dtype) for name, dtype in schema.items()}, "digest": digest}
    return StageResult(
        f"{rows:,} rows x {len(schema)} columns", facts=facts, dataset=digest, tags={"data.digest": digest}
    )

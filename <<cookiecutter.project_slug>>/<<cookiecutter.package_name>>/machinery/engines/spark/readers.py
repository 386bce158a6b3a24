"""Readers of tables by Spark, for engine=spark: a dataset's `source` names one.

    source: {_target_: <package>.machinery.engines.spark.readers.table, name: catalog.schema.customers}

The cluster's own catalog decides what a name stands for: Unity Catalog, Hive, Delta, Iceberg.
"""

from __future__ import annotations

from typing import Any

from ...errors import DataError

SESSIONS: list[Any] = []  # what the engine has begun


def table(name: str, *, version: int | str | None = None, columns: list[str] | None = None) -> Any:
    """The table `name`; of Delta and Iceberg as it was at `version`, a number or a snapshot."""
    rows = _session().sql(f"SELECT * FROM {name} VERSION AS OF {version}") if version else _session().table(name)
    return rows.select(*columns) if columns else rows


def sql(query: str) -> Any:
    """What Spark SQL answers to `query`."""
    return _session().sql(query)


def files(path: str, *, format: str, options: dict[str, Any] | None = None) -> Any:
    """The files at `path` of a `format` that the cluster reads: parquet, orc, csv, json, delta, iceberg."""
    return _session().read.format(format).options(**(options or {})).load(path)


def jdbc(
    url: str, table: str, *, column: str, lower: str, upper: str, partitions: int, options: dict[str, str] | None = None
) -> Any:
    """The `table` of a database, or a query in brackets, read by so many connections at once.

    Each takes a range of `column`, a number or a date, between `lower` and `upper`; rows beyond these are read as well.
    """
    read = _session().read.format("jdbc").options(url=url, dbtable=table, **(options or {}))
    return read.options(partitionColumn=column, lowerBound=lower, upperBound=upper, numPartitions=partitions).load()


def _session() -> Any:
    if not SESSIONS:
        raise DataError("the source is read by Spark: take engine=spark")
    return SESSIONS[-1]

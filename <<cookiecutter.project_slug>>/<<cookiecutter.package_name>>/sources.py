"""Your readers of tables, where those of polars are not enough: several tables joined, a history summed up.

A reader is a function of plain arguments that gives a table. A dataset's file in conf/data/ names it:

    source: {_target_: <package>.sources.with_history, table: customers.csv, history: orders.csv, key: customer_id}

`predict` and `monitor` call the same function, with the arguments of new rows: `-P source.table=new.csv`.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import polars as pl
import polars.selectors as cs

BUNDLED = ("breast_cancer", "diabetes", "digits", "iris", "wine")


def with_history(table: str, history: str, *, key: str) -> pl.LazyFrame:
    """The rows of the CSV file `table`, each with what the CSV file `history` holds under the same `key`.

    New columns: `history_rows`, how many rows there are, and `mean_<name>` of each of their numbers.
    """
    events = pl.scan_csv(history, infer_schema_length=None)
    means = cs.numeric().exclude(key).mean().name.prefix("mean_")
    # maintain_order: without it, the last bits of a mean depend on the number of threads.
    summed = events.group_by(key, maintain_order=True).agg(pl.len().cast(pl.Int64).alias("history_rows"), means)
    rows = pl.scan_csv(table, infer_schema_length=None).join(summed, on=key, how="left", maintain_order="left")
    return rows.with_columns(pl.col("history_rows").fill_null(0))


def bundled(name: str) -> pl.LazyFrame:
    """A table bundled with scikit-learn: its features and the column `target`.

    Source: https://scikit-learn.org/stable/datasets/toy_dataset.html
    """
    import sklearn.datasets

    if name not in BUNDLED:
        raise ValueError(f"scikit-learn bundles no table {name!r}; it has {', '.join(BUNDLED)}")
    return pl.from_pandas(getattr(sklearn.datasets, f"load_{name}")(as_frame=True).frame).lazy()


def dvc(path: str, *, read: Callable[[BytesIO], Any], repo: str = ".", rev: str | None = None) -> Any:
    """What `read` makes of the file that DVC tracks as `path` in `repo` (a folder or a git address) at `rev`.

    Source: https://dvc.org/doc/api-reference
    """
    import dvc.api

    with dvc.api.open(path, repo=repo, rev=rev, mode="rb") as file:
        return read(BytesIO(file.read()))

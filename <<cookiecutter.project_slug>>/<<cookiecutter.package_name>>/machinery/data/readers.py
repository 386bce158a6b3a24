"""Readers of tables that polars does not take as they are: a dataset's `source` names one, as it names polars'."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from ..errors import DataError
from .headers import Header


def delimited(
    source: str,
    *,
    separator: str = ",",
    quote_char: str | None = '"',
    escape_char: str | None = None,
    encoding: str = "utf-8",
    comment_prefix: str | None = None,
    skip_lines: int = 0,
    skip_rows_after_header: int = 0,
    has_header: bool = True,
    new_columns: Sequence[str] | None = None,
    infer_schema: bool = False,
    eol_char: str = "\n",
    glob: bool = False,
) -> pl.DataFrame:
    """The text at `source`, all columns as text, read as pandas and Python's `csv` do.

    A quote within a field that is not quoted is a letter, blanks after a separator and blank lines are left out, a
    separator may have several letters; `\\s+`: columns aligned by blanks. Otherwise as polars.scan_csv, some of whose
    arguments are taken so that the one can stand for the other.
    """
    import pandas as pd

    regular = len(separator.encode()) == 1 or separator == r"\s+"
    codec = "utf-8-sig" if encoding in ("utf-8", "utf8-lossy") else encoding
    with Path(source).open(encoding=codec, errors="replace" if encoding == "utf8-lossy" else "strict") as stream:
        for _ in range(skip_lines):
            stream.readline()
        how: dict[str, Any] = {"sep": separator, "engine": "c"} if regular else {"sep": re.escape(separator)}
        how |= {"header": None, "dtype": "str", "keep_default_na": False, "escapechar": escape_char}
        how |= {"quotechar": quote_char} if quote_char else {"quoting": 3}
        frame = pd.read_csv(stream, skipinitialspace=True, **({"engine": "python"} | how))
    table = pl.from_pandas(frame).select(pl.all().cast(pl.String))
    if comment_prefix:
        table = table.filter(~pl.first().str.starts_with(comment_prefix).fill_null(False))
    names = list(new_columns or [f"column_{at}" for at in range(table.width)])
    if has_header:
        names = names if new_columns else Header(0, [name or "" for name in table.row(0)]).columns
        table = table.slice(1 + skip_rows_after_header)
    return table.rename(dict(zip(table.columns, names, strict=True)))


def json_rows(source: str, *, lines: bool = False) -> pl.DataFrame:
    """The objects in a file of JSON, one in each of the `lines`, or all in a list, which may stand under one key.

    Takes what is no JSON but written by Python, NaN and Infinity, as missing; and a list or an object for each column,
    and `split`, as pandas writes them.
    """
    raw = Path(source).read_bytes()
    text = raw.decode(json.detect_encoding(raw))
    load = json.JSONDecoder(parse_constant=lambda _: None).decode
    table: Any = [load(line) for line in text.split("\n") if line.strip()] if lines else load(text)
    if isinstance(table, dict):
        lists = [each for each in table.values() if isinstance(each, list) and each and isinstance(each[0], dict)]
        if {"columns", "data"} <= set(table):
            table = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
        elif len(lists) == 1:
            table = lists[0]
        elif all(isinstance(each, dict) for each in table.values()):
            places = dict.fromkeys(place for column in table.values() for place in column)
            table = [{name: column.get(place) for name, column in table.items()} for place in places]
        elif all(isinstance(each, list) for each in table.values()):
            table = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    if not isinstance(table, list) or not all(isinstance(row, dict) for row in table):
        raise DataError(f"{Path(source).name} holds no list with an object for each row: write one")
    return pl.DataFrame(table, infer_schema_length=None, strict=False)


def iceberg(source: str, *, catalog: str | None = None, snapshot_id: int | None = None) -> pl.LazyFrame:
    """The Iceberg table in the folder `source`, or behind a file of its metadata, as it was at `snapshot_id`, or is.

    With a `catalog`, one of those that pyiceberg's own configuration describes, `source` is its name there.
    """
    return pl.scan_iceberg(iceberg_table(source, catalog), snapshot_id=snapshot_id)


def iceberg_table(source: str, catalog: str | None) -> Any:
    """pyiceberg's table. Of a folder whose catalog nobody names, the metadata of the highest number is the newest."""
    from pyiceberg.catalog import load_catalog
    from pyiceberg.table import StaticTable

    if catalog:
        return load_catalog(catalog).load_table(source)
    files = [] if (hint := Path(source, "metadata/version-hint.text")).exists() else hint.parent.glob("*.metadata.json")
    newest = max(files, key=lambda file: int(re.sub(r"\D*(\d+).*", r"\1", file.name)), default=source)
    return StaticTable.from_metadata(str(newest))


def parts(source: str) -> pl.LazyFrame:
    """The Parquet files below the folder `source`, whose columns need be neither the same nor of the same types.

    A column that a part does not have is missing there; numbers get the wider type.
    """
    files = sorted(str(file) for file in Path(source).rglob("*.parquet"))
    return pl.concat(
        [pl.scan_parquet(file, hive_partitioning=True, glob=False) for file in files], how="diagonal_relaxed"
    )

"""The section `source` for a path: the reader of its format, with the arguments that the file itself shows."""

from __future__ import annotations

import codecs
import csv
import re
from itertools import islice
from pathlib import Path
from typing import Any

import charset_normalizer
import polars as pl

from ..errors import ProjectError, one_line

STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "azure", "http", "https", "hf", "file")
FROM_FILE = ("separator", "quote_char", "encoding", "skip_lines", "new_columns")  # arguments that a file shows
# gzip, zstd and zlib, which polars reads
COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x78\x01", b"\x78\x9c", b"\x78\xda")
FOREIGN = {b"pk\x03\x04": "a zip archive", b"<!doctype": "a web page", b"<html": "a web page", b"%pdf": "a PDF"}
FOREIGN |= {b"<?xml": "XML", b"rar!": "an archive", b"7z\xbc\xaf": "an archive", b"{\\rtf": "a document"}


def guess(path: str, *, query: str | None, target: str | None) -> dict[str, Any]:
    """The section `source` for `path`, a file, folder, their address, or a database's with a `query`.

    Of a CSV file: {"_target_": "polars.scan_csv", "source": path, "separator": ";", "infer_schema": False}. Its first
    line is the header, unless `target` is column_0, column_1 and so on. Raises ProjectError for what is not a table.
    """
    kind = path.rpartition(".")[2].lower()
    database = path if re.match(r"\w+(\+\w+)?://", path) and path.partition(":")[0] not in STORES else None
    local = None if "://" in path else Path(path)
    if local and not local.exists():
        raise ProjectError(
            f"{path} is not there: a relative path is looked for in the folder of the command, then here"
        )
    head = _head(local) if local and local.is_file() else b""
    if local and local.is_file() and not head.strip():
        raise ProjectError(f"{path} is empty")
    if head.startswith(b"SQLite format 3"):
        database = f"sqlite:///{path}"
    if database:
        if not query:
            raise ProjectError(
                f"{path if local else 'path'} is a database: say which table by query='SELECT * FROM ...'"
            )
        connection = {"_target_": "sqlalchemy.create_engine", "url": database}
        return {"_target_": "polars.read_database", "query": query, "connection": connection}
    if (local and local.is_dir()) or head.startswith(b"PAR1") or kind in ("parquet", "pq"):
        return {"_target_": "polars.scan_parquet", "source": path}
    if kind in ("xlsx", "xls", "xlsm", "xlsb", "ods"):
        return {"_target_": "polars.read_excel", "source": path, "infer_schema_length": None}
    if kind in ("jsonl", "ndjson"):
        return {"_target_": "polars.scan_ndjson", "source": path, "infer_schema_length": None}
    if kind in ("arrow", "feather", "ipc"):
        return {"_target_": "polars.scan_ipc", "source": path}
    if kind == "json":
        return {"_target_": "polars.read_json", "source": path, "infer_schema_length": None}
    for start, name in FOREIGN.items():
        if head.lstrip()[:20].lower().startswith(start):
            raise ProjectError(f"{path} is {name}, not a table: unpack or export it to CSV, Parquet or Excel first")
    return _delimited(path, local, head, target)


def like(guessed: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
    """The section `guessed` from a file, with the arguments of `source` that a file does not show.

    Where the two name readers of different formats, `guessed` as it is.
    """
    if guessed["_target_"].rpartition("_")[2] != source.get("_target_", "").rpartition("_")[2]:
        return guessed
    return {name: value for name, value in source.items() if name not in FROM_FILE} | guessed


def ragged(source: dict[str, Any]) -> str:
    """A sentence on the first row of the delimited text of `source` that is longer than its header; "" without one."""
    file = Path(str(source.get("source", "")))
    if not source["_target_"].endswith("_csv") or not file.is_file() or _head(file).startswith(COMPRESSED):
        return ""
    dialect = {"delimiter": source.get("separator", ","), "quotechar": source.get("quote_char", '"')}
    with file.open(encoding=source.get("encoding", "utf-8"), newline="", errors="replace") as stream:
        rows = csv.reader(islice(stream, source.get("skip_lines", 0), None), **dialect)
        wanted = len(next(rows, []))
        for row in rows:
            if len(row) > wanted:
                line = rows.line_num + source.get("skip_lines", 0)
                return f"line {line:,} has {len(row)} fields, and the header {wanted}: mend it, or quote what it holds"
    return ""


def _head(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(2**16)


def _delimited(path: str, local: Path | None, head: bytes, target: str | None) -> dict[str, Any]:
    """The section `source` of a delimited text, which reads each column as text; `types` converts them."""
    encoding = _encoding(local) if local and not head.startswith(COMPRESSED) else "utf-8"
    try:
        if encoding == "utf-8":
            lines = pl.scan_lines(path).head(200).collect().to_series().fill_null("").to_list()
        else:
            lines = head.decode(encoding, errors="ignore").splitlines()[:200]
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ProjectError(f"{path} cannot be read: {one_line(error)}") from error
    if any("\0" in line for line in lines):
        raise ProjectError(f"{path} is no text: export it to CSV, Parquet or Excel first")
    quote = "'" if re.match(r"'[^']*'\W'", next((line for line in lines if line), "")) else '"'
    rows = {sign: list(csv.reader(lines, delimiter=sign, quotechar=quote)) for sign in ",;\t| "}
    counts = {sign: [len(row) for row in each if row] for sign, each in rows.items()}
    most = {sign: max(set(each), key=each.count, default=0) for sign, each in counts.items()}
    rated = {sign: (most[sign] > 1) * each.count(most[sign]) / max(1, len(each)) for sign, each in counts.items()}
    rated[" "] *= 0.5  # a space is rather a part of a text
    separator = max(rated, key=lambda sign: (rated[sign], most[sign]))
    section: dict[str, Any] = {"_target_": "polars.scan_csv", "source": path}
    if encoding != "utf-8":
        section |= {"_target_": "polars.read_csv", "encoding": encoding}
    if separator != ",":
        section["separator"] = separator
    first = next((at for at, row in enumerate(rows[separator]) if len(row) == most[separator]), 0)
    if 0 < first <= 20 and len(rows[separator]) == len(lines) and most[separator] > 1:
        section["skip_lines"] = first  # a title above the header
    if quote != '"':
        section["quote_char"] = quote
    header = (rows[separator] or [[]])[first]
    if target and re.fullmatch(r"column_\d+", target) and target not in header:
        section["has_header"] = False
    names = [name.strip() or f"unnamed_{at}" for at, name in enumerate(header)]  # pandas' index has no name
    if names != header and "has_header" not in section and len(set(names)) == len(names):
        section["new_columns"] = names
    return section | {"infer_schema": False}


def _encoding(file: Path) -> str:
    """The encoding of a text file: UTF-8 if all of it can be decoded so, else the most probable one."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with file.open("rb") as stream:
        try:
            while block := stream.read(2**20):
                decoder.decode(block)
            return "utf-8"
        except UnicodeDecodeError:
            stream.seek(0)
            matches = charset_normalizer.from_bytes(stream.read(2**20))
    best = matches.best()
    if best is None:
        raise ProjectError(f"{file} is no text that can be read: export it as UTF-8")
    alike = {name for match in matches if match.chaos <= best.chaos for name in match.could_be_from_charset}
    return "cp1252" if "cp1252" in alike else best.encoding  # Western Windows, where it is as probable

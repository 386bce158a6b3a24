"""The section `source` for a path: the reader of its format, with the arguments that the file itself shows."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import polars as pl

from ..errors import ProjectError, one_line
from . import delimited, headers

STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "azure", "http", "https", "hf", "file")
FROM_FILE = "separator quote_char escape_char encoding eol_char comment_prefix glob skip_lines skip_rows_after_header"
FROM_FILE += " has_header new_columns sheet_name read_options lines version snapshot_id catalog"  # what a file shows
FOREIGN = {b"pk\x03\x04": "a zip archive", b"<!doctype": "a web page", b"<html": "a web page", b"%pdf": "a PDF"}
FOREIGN |= {b"<?xml": "XML", b"rar!": "an archive", b"7z\xbc\xaf": "an archive", b"{\\rtf": "a document"}
FOREIGN |= {b"\xd0\xcf\x11\xe0": "a document", b"fea1": "Feather of the first version"}
BOOKS = ("xlsx", "xls", "xlsm", "xlsb", "ods")
OBJECTS = re.compile(rb"(\xef\xbb\xbf)?\s*(\[\s*\{|\{)\s*\"")
CONSTANTS = re.compile(rb"[:,\[]\s*-?(NaN|Infinity)\b")  # Python writes them into JSON, which has none


def guess(
    path: str, *, query: str | None, names: Collection[str] = (), given: dict[str, Any] | None = None
) -> tuple[dict[str, Any], list[str]]:
    """The section `source` for `path`, a file, folder, their address, or a database's with a `query`; and notes.

    Of a CSV file: {"_target_": "polars.scan_csv", "source": path, "separator": ";", "infer_schema": False}. `names` are
    columns that it has, which tell its header; a text has none where they are column_0, column_1 and so on. `given` are
    arguments that somebody typed. Raises ProjectError for what is not a table.
    """
    given = given or {}
    kind = path.rpartition(".")[2].lower()
    database = path if re.match(r"\w+(\+\w+)?://", path) and path.partition(":")[0] not in STORES else None
    local = None if "://" in path else Path(path)
    if local and not local.exists():
        raise ProjectError(
            f"{path} is not there: a relative path is looked for in the folder of the command, then here"
        )
    head = delimited.head(local) if local and local.is_file() else b""
    if local and local.is_file() and not head.removeprefix(b"\xef\xbb\xbf").strip():
        raise ProjectError(f"{path} is empty")
    if head.startswith(b"SQLite format 3"):
        database = f"sqlite:///{path}"
    if database:
        if not query:
            raise ProjectError(
                f"{path if local else 'path'} is a database: say which table by query='SELECT * FROM ...'"
            )
        connection = {"_target_": "sqlalchemy.create_engine", "url": database}
        return {"_target_": "polars.read_database", "query": query, "connection": connection}, []
    exact = {"glob": False} if local and set(path) & delimited.PATTERN else {}  # the file is called so
    if local and local.is_dir():
        return _folder(local) | given, []
    if head.startswith(b"PAR1") or (not local and kind in ("parquet", "pq")):
        return {"_target_": "polars.scan_parquet", "source": path, **exact} | given, []
    if head.startswith(b"ARROW1") or (not local and kind in ("arrow", "feather", "ipc")):
        return {"_target_": "polars.scan_ipc", "source": path, **exact} | given, []
    if local and _is_book(local, head, kind):
        return _book(local, names, given)
    for start, name in FOREIGN.items():
        if head.lstrip()[:20].lower().startswith(start):
            raise ProjectError(f"{path} is {name}, not a table: unpack or export it to CSV, Parquet or Excel first")
    if kind in ("json", "jsonl", "ndjson") or OBJECTS.match(head):
        return _json(path, local, head, lines=kind in ("jsonl", "ndjson"))
    return delimited.section(path, names, given)


def like(guessed: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
    """The section `guessed` from a file, with the arguments of `source` that a file does not show.

    Where the two name readers of different formats, `guessed` as it is.
    """
    readers = {guessed["_target_"], source.get("_target_", "")}
    if _format(guessed) != _format(source) or (guessed["_target_"] == delimited.READER and len(readers) > 1):
        return guessed
    if "skip_rows_after_header" not in source:  # a row that is skipped would have no answer
        guessed = {name: value for name, value in guessed.items() if name != "skip_rows_after_header"}
    ours = {"_target_": delimited.READER} if delimited.READER in readers else {}
    return {name: value for name, value in source.items() if name not in FROM_FILE.split()} | guessed | ours


def lenient(source: dict[str, Any]) -> dict[str, Any] | None:
    """`source` with our own reader of text, where polars does not take it and it is a table all the same."""
    other = source | {"_target_": delimited.READER}
    text = source["_target_"] in ("polars.scan_csv", "polars.read_csv") and delimited.is_plain(source)
    return other if text and not delimited.damaged_line(other) else None


def damage(source: dict[str, Any]) -> str:
    """A sentence on the first line that keeps the file of `source` from being read, without values; "" if none."""
    file, reader = Path(str(source.get("source", ""))), str(source.get("_target_", ""))
    if not file.exists() or (file.is_dir() and not delimited.PATTERN & set(str(file))):
        return ""
    if reader.startswith("polars.scan_") and delimited.PATTERN & set(str(file)) and source.get("glob", True):
        way_out = "rename it" if reader.endswith("ndjson") else "source.glob=false takes it as it is"
        return f"{file.name} is a pattern to polars: {way_out}"
    if not file.is_file() or _format(source) not in ("csv", "json"):
        return ""
    if _format(source) == "csv":
        return delimited.damaged_line(source)
    raw, lines = file.read_bytes(), source.get("lines") or reader.endswith("ndjson")
    if reader.startswith("polars") and (found := CONSTANTS.search(raw)):
        line = raw.count(b"\n", 0, found.start()) + 1
        return f"line {line:,} holds {found[1].decode()}, which is no JSON: null is a missing value"
    text = raw.decode(json.detect_encoding(raw), errors="replace")
    for at, each in enumerate(text.split("\n") if lines else [text]):
        try:
            json.loads(each if each.strip() else "null")
        except json.JSONDecodeError as error:
            return f"line {at + error.lineno:,} is no JSON: {one_line(error.msg)}"
    return ""


def _format(source: dict[str, Any]) -> str:
    name = str(source.get("_target_", "")).rpartition(".")[2]
    return {"delimited": "csv", "json_rows": "json", "scan_ndjson": "json", "parts": "parquet"}.get(
        name, name.rpartition("_")[2]
    )


def _folder(folder: Path) -> dict[str, Any]:
    """The reader of a Delta or an Iceberg table, or of the Parquet files in a folder; of ours where columns differ or
    other files lie there."""
    if (folder / "_delta_log").is_dir():
        return {"_target_": "polars.scan_delta", "source": str(folder)}  # its files hold rows that were deleted, too
    if any(folder.glob("metadata/*.metadata.json")):
        return {"_target_": f"{__package__}.readers.iceberg", "source": str(folder)}
    files = sorted(folder.rglob("*.parquet"))
    if not files:
        raise ProjectError(f"{folder} holds no Parquet file: name one of its files, if they are of another format")
    schemas = set()
    for file in files:
        try:
            schema = pl.scan_parquet(file, glob=False, hive_partitioning=False).collect_schema()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ProjectError(f"{file} is no Parquet file: mend it, or take it out of the folder") from error
        schemas.add(frozenset((name, str(dtype)) for name, dtype in schema.items()))
    others = any(file.suffix != ".parquet" for file in folder.rglob("*") if file.is_file())
    reader = f"{__package__}.readers.parts" if others or len(schemas) > 1 else "polars.scan_parquet"
    return {"_target_": reader, "source": str(folder)}


def _is_book(file: Path, head: bytes, kind: str) -> bool:
    """Whether a file is a workbook; by what it holds, as a web page or a text is often called .xls."""
    if head.startswith(b"PK\x03\x04") and zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            return any(re.match(r"xl/|content\.xml", name) for name in archive.namelist())
    return head.startswith(b"\xd0\xcf\x11\xe0") and kind in BOOKS


def _book(file: Path, names: Collection[str], given: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The reader of the sheet of a workbook that holds most of `names`, or else is the first that is a table."""
    import fastexcel

    book = fastexcel.read_excel(file)
    wanted = [given["sheet_name"]] if given.get("sheet_name") in book.sheet_names else book.sheet_names
    if given.get("sheet_name", wanted[0]) not in wanted:
        raise ProjectError(f"source.sheet_name={given['sheet_name']}: {file.name} has {', '.join(wanted)}")
    headed = {}
    for sheet in wanted:
        first = book.load_sheet(sheet, header_row=None, skip_rows=0, n_rows=delimited.SAMPLE_LINES, dtypes="string")
        rows = [[field or "" for field in row] for row in first.to_polars().rows()]
        header = headers.find(rows, names)
        headed[sheet] = len(set(names) & set(header.names)), len(rows) > 3 and len(header.names) > 1, len(rows), header
    sheet = max(headed, key=lambda each: headed[each][:2])
    if not headed[sheet][2]:
        raise ProjectError(f"{file.name} is empty")
    header = headed[sheet][3]
    notes = header.notes(f"row {header.at + 1}")  # whose names are those that the reader gives, too
    notes = [re.sub(r"_duplicated_(\d+)$", lambda number: f"_{int(number[1]) + 1}", note) for note in notes]
    section: dict[str, Any] = {"_target_": "polars.read_excel", "source": str(file), "infer_schema_length": None}
    if len(book.sheet_names) > 1:
        section["sheet_name"] = sheet
        others = ", ".join(each for each in book.sheet_names if each != sheet)
        notes = [f"the sheet {sheet} is read, and not {others}: source.sheet_name=... chooses", *notes]
    if header.at or header.second:
        section["read_options"] = {"header_row": header.at} | ({"skip_rows": 1} if header.second else {})
    if not all(map(str.strip, header.names)):
        notes.append("the header has no name for some columns: they are called __UNNAMED__ and their place")
    return section | given, notes


def _json(path: str, local: Path | None, head: bytes, *, lines: bool) -> tuple[dict[str, Any], list[str]]:
    """The reader of a list of JSON's objects, or of one in each line; of ours where it is not quite JSON."""
    raw = local.read_bytes() if local else b""
    text = head.decode(json.detect_encoding(raw), errors="ignore").lstrip()
    lines = lines or bool(re.match(r"\{.*\}\s*\n\s*\{", text))  # whatever it is called
    constants = [found.decode() for found in CONSTANTS.findall(raw)[:1]]
    pattern = lines and set(path) & delimited.PATTERN  # to polars, which has no `glob` here
    table = not lines and not re.match(r"\[\s*[{\]]", text)  # an object, for whose lists the reader looks
    if local and (constants or pattern or table or json.detect_encoding(raw) != "utf-8"):
        notes = [f"{constant} is no JSON: it is read as missing" for constant in constants]
        section: dict[str, Any] = {"_target_": f"{__package__}.readers.json_rows", "source": path}
        return section | ({"lines": True} if lines else {}), notes
    reader = "polars.scan_ndjson" if lines else "polars.read_json"
    return {"_target_": reader, "source": path, "infer_schema_length": None}, []

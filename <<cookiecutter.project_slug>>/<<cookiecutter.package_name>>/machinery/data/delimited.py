"""Delimited text: the arguments that it is read with, out of its first lines and bytes, and where it is damaged."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import charset_normalizer
import polars as pl

from ..errors import ProjectError, one_line
from . import headers

PATTERN = set("*?[")  # polars reads a path with one as a pattern
READER = f"{__package__}.readers.delimited"  # of what polars does not read
# gzip, zstd and zlib, which polars reads
COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x78\x01", b"\x78\x9c", b"\x78\xda")
SAMPLE_LINES, SAMPLE_BYTES = 200, 2**23
RUNS = r"\s+"  # the separator of columns that are aligned by blanks
_SIGNS = {",": 1.0, ";": 1.0, "\t": 1.0, "|": 1.0, "^": 0.9, "~": 0.9, "\x01": 0.9, "\x1f": 0.9, ":": 0.5, " ": 0.5}
LONE_RETURN = re.compile(r"\r(?!\n|$)")
ESCAPED = re.compile(rb'(?<!\\)\\"(?=[\w(])')  # a quote within a field, as MySQL and Spark write it


def section(path: str, names: Collection[str], given: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The section `source` of a delimited text, which reads each column as text, and notes; `types` convert them.

    `given` are arguments that somebody typed. Of gzip and of an address the first lines alone are looked at.
    """
    local = Path(path) if "://" not in path and not head(Path(path)).startswith(COMPRESSED) else None
    encoding, ends, escapes = _whole(local, given.get("encoding")) if local else ("utf-8", "\n", False)
    lines = _lines(path, local, encoding, ends)
    if mixed := any(LONE_RETURN.search(line) for line in lines):
        lines = [f"{part}\n" for line in lines for part in LONE_RETURN.split(line.removesuffix("\n"))]
    if any("\0" in line for line in lines):
        raise ProjectError(f"{path} is no text: export it to CSV, Parquet or Excel first")
    quote = "'" if re.match(r"'[^']*'\W'", next(filter(str.strip, lines), "")) else '"'
    quote = given.get("quote_char", quote)
    escape = "\\" if escapes else None
    separator, rows, starts = _separated(lines, quote, escape, given.get("separator"))
    header = headers.find(rows, names)
    shown = {"encoding": (encoding, "utf-8"), "separator": (separator, ","), "quote_char": (quote, '"')}
    made: dict[str, Any] = {"_target_": "polars.scan_csv", "source": path}
    made |= {name: value for name, (value, default) in shown.items() if value != default}
    before = starts[header.at]
    made |= {"skip_lines": before} if before else {}  # a title above the header
    notes = header.notes(f"line {before + 1}")
    if header.shifted:
        made |= {"skip_lines": starts[header.at + 1], "has_header": False}
    elif any(re.fullmatch(r"column_\d+", name) and name not in header.names for name in names):
        made["has_header"], notes = False, notes[: min(1, header.at)]  # that on a title
    regular = all(name and name == name.strip() and '"' not in name for name in header.names)
    if header.shifted or (made.get("has_header", True) and not regular):
        made["new_columns"] = header.columns
    made |= {"skip_rows_after_header": 1} if header.second else {}
    last = max((at for at, row in enumerate(rows) if any(row)), default=0)
    below = rows[header.at + 1 : last]
    if any(row and row[0].startswith("#") and len(row) != len(header.names) for row in below):
        made["comment_prefix"] = "#"
        notes.append("lines that begin with # are skipped as comments (source.comment_prefix)")
    made |= {"eol_char": ends} if ends == "\r" and encoding == "utf-8" else {}
    made |= {"glob": False} if "://" not in path and set(path) & PATTERN else {}  # the file is called so
    if encoding != "utf-8":
        made["_target_"] = "polars.read_csv"
        notes.append(f"it is read as {encoding}: where letters are wrong, source.encoding=... names another")
    blank = len(header.names) > 1 and [] in below
    spaced = separator != " " and any(f"{separator} {quote}" in line for line in lines)
    if local and (escapes or mixed or blank or spaced or len(separator.encode()) > 1):
        made |= {"_target_": READER} | ({"escape_char": escape} if escapes else {})
    return made | {"infer_schema": False} | given, notes


def is_plain(source: dict[str, Any]) -> bool:
    """Whether `source` names one text file, which is not compressed."""
    file = Path(str(source.get("source", "")))
    return file.is_file() and not head(file).startswith(COMPRESSED)


def head(file: Path) -> bytes:
    """The first bytes of `file`."""
    with file.open("rb") as stream:
        return stream.read(2**16)


def damaged_line(source: dict[str, Any]) -> str:
    """A sentence on the first line of the text of `source` that is no row of its table, without values; "" if none."""
    separator, quote = source.get("separator", ","), source.get("quote_char", '"')
    if not is_plain(source) or len(separator.encode()) > 1:
        return ""
    csv.field_size_limit(2**31 - 1)
    quoting: Any = {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
    ours, skipped, lone, last = source["_target_"] == READER, source.get("skip_lines", 0), 0, [""]
    quoting |= {"delimiter": separator, "escapechar": source.get("escape_char"), "skipinitialspace": ours}
    rows = csv.reader(islice(_decoded(source, last), skipped, None), strict=True, **quoting)
    wanted, begun = len(source.get("new_columns") or ()), 0
    try:
        for row in rows:
            begun, before = rows.line_num, begun
            if row and row[0].startswith(source.get("comment_prefix") or "\0"):
                continue
            wanted = wanted or len(row)
            if len(row) > wanted:
                fields = f"{len(row)} fields, and the header {wanted}"
                return f"line {begun + skipped:,} has {fields}: mend it, or quote what it holds"
            if not lone and begun == before + 1 and quote and last[0].count(quote) % 2:
                lone = begun + skipped
    except UnicodeDecodeError:
        return _mixed_encodings(rows.line_num + skipped + 1, source.get("encoding", "utf-8"))
    except csv.Error as error:
        if "new-line" in str(error):
            return f"line {rows.line_num + skipped:,} has a carriage return that ends no line: end all lines alike"
        if "unexpected end" in str(error):
            return f"line {begun + skipped + 1:,} opens a quote that is never closed: double it, or take it out"
        return (
            f"line {rows.line_num + skipped:,} has a quote inside a quoted field: double it, or say how quotes are "
            "written (source.quote_char, source.escape_char)"
        )
    if lone and not ours:
        return f"line {lone:,} has a quote in a field that is not quoted: source._target_={READER} reads it"
    return ""


def _decoded(source: dict[str, Any], last: list[str]) -> Iterator[str]:
    """The lines of the text of `source`; `last` holds the one that was read last."""
    encoding, ends = source.get("encoding", "utf-8").replace("-", "_").lower(), source.get("eol_char", "\n")
    errors, codec = ("replace", "utf-8") if "lossy" in encoding else ("strict", encoding)
    ours = source["_target_"] == READER  # takes lines of any kind
    whole = errors == "replace" or ours or ends == "\r" or encoding.startswith(("utf_16", "utf_32"))
    with Path(source["source"]).open("rb") as stream:
        for line in io.TextIOWrapper(stream, encoding=codec, errors=errors) if whole else stream:
            last[0] = (line if isinstance(line, str) else line.decode(codec)).removeprefix("\ufeff")
            yield last[0]


def _whole(file: Path, encoding: str | None) -> tuple[str, str, bool]:
    """The encoding of a text file, what ends its lines, and whether it escapes quotes by backslashes."""
    first = head(file)
    zeros = (first[::2].count(0), first[1::2].count(0))
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = encoding or "utf_16"
    elif max(zeros) > len(first) / 8 and min(zeros) < max(zeros) / 10:  # Windows tools leave out the mark, too
        encoding = encoding or ("utf_16_be" if zeros[0] > zeros[1] else "utf_16_le")
    decoder, escapes, newlines, other = codecs.getincrementaldecoder("utf-8")(), False, False, False
    with file.open("rb") as stream:
        while block := stream.read(2**20):
            escapes = escapes or (b'\\"' in block and bool(ESCAPED.search(block)))
            newlines = newlines or b"\n" in block
            try:
                other = (not encoding and not decoder.decode(block).isascii()) or other
            except UnicodeDecodeError:
                encoding = _legacy(file, block, other)
    return encoding or "utf-8", "\r" if not newlines and b"\r" in first else "\n", escapes


def _mixed_encodings(line: int, encoding: str) -> str:
    return (
        f"line {line:,} is not {encoding}, which the file is elsewhere: save all as UTF-8 "
        "(source.encoding=utf8-lossy reads what is no letter as \N{REPLACEMENT CHARACTER})"
    )


def _legacy(file: Path, block: bytes, before: Any) -> str:
    """The most probable encoding of a `block` that is no UTF-8. Raises ProjectError for UTF-8 with a few odd bytes."""
    text = block.decode(errors="surrogateescape")
    odd = sum("\udc80" <= letter <= "\udcff" for letter in text if letter > "\x7f")
    if before or sum(letter > "\x7f" for letter in text) > 2 * odd:
        with file.open("rb") as stream:
            valid = (each.decode(errors="ignore").encode() == each for each in stream)
            raise ProjectError(f"{file.name}: {_mixed_encodings(1 + list(valid).index(False), 'utf-8')}")
    matches = charset_normalizer.from_bytes(block)
    best = matches.best()
    if best is None:
        raise ProjectError(f"{file} is no text that can be read: export it as UTF-8")
    alike = {name for match in matches if match.chaos <= best.chaos for name in match.could_be_from_charset}
    return next((name for name in ("cp1252", "cp1251") if name in alike), best.encoding)  # Windows', where as probable


def _lines(path: str, local: Path | None, encoding: str, ends: str) -> list[str]:
    """The first lines, with their ends, which are line feeds."""
    if local:
        with local.open("rb") as stream:
            block = stream.read(SAMPLE_BYTES)
        text = block.decode("utf-8" if "lossy" in encoding else encoding, errors="ignore").removeprefix("\ufeff")
        text = text.replace("\r", "\n") if ends == "\r" else text
        lines = list(islice(io.StringIO(text), SAMPLE_LINES))
        return lines[:-1] if len(block) == SAMPLE_BYTES and 1 < len(lines) < SAMPLE_LINES else lines
    try:
        read = pl.scan_lines(path, glob="://" in path).head(SAMPLE_LINES).collect().to_series().fill_null("").to_list()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ProjectError(f"{path} cannot be read: {one_line(error)}") from error
    return [f"{line}\n".removeprefix("\ufeff") for line in read]


def _separated(
    lines: list[str], quote: str, escape: str | None, given: str | None
) -> tuple[str, list[list[str]], list[int]]:
    """The separator that gives most `lines` the same number of fields, the rows, and the line that each begins in."""
    csv.field_size_limit(2**31 - 1)
    signs = [given] if given else [",", *(sign for sign in _SIGNS if any(sign in line for line in lines))]
    signs += [RUNS] if not given and any(re.search(r"\S {2,}\S", line) for line in lines) else []
    rated = []
    for sign in signs:
        rows, starts = _fields(lines, sign, quote, escape)
        widths = [len(row) for row in rows if row]
        width = max(dict.fromkeys(widths), key=widths.count, default=0)
        share = widths.count(width) / max(1, len(widths))
        rated.append(((_SIGNS.get(sign, 0.6) * share * (width > 1), width), sign, rows, starts))
    return max(rated, key=lambda each: each[0])[1:]


def _fields(lines: list[str], sign: str, quote: str | None, escape: str | None) -> tuple[list[list[str]], list[int]]:
    """The rows of `lines` between a `sign`, and the line that each begins in, counted from 0."""
    if sign == RUNS:
        lines, sign = [re.sub(r"[ \t]+", " ", line.strip()) + "\n" for line in lines], " "
    elif len(sign) > 1:
        lines, sign = [line.replace(sign, "\x1f") for line in lines], "\x1f"
    spaces = sign != " " and any(f"{sign} {quote}" in line for line in lines)
    quoting: Any = {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
    reader = csv.reader(lines, delimiter=sign, skipinitialspace=spaces, escapechar=escape, **quoting)
    rows, starts = [], [0]
    for row in reader:
        rows.append(row)
        starts.append(reader.line_num)
    return rows, starts

"""Where the header of a table stands among its first rows, whatever holds them: a text, a sheet."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

MOST_ROWS = 60  # a header stands among the first so many that hold something
WORD = re.compile(r"[^\W\d_]")  # a letter: names have one, numbers and dates of a table have none


@dataclass(frozen=True)
class Header:
    """The row `at`, counted from 0, names the columns; `names` may have empty ones, and those that stand twice."""

    at: int
    names: list[str]
    shifted: bool = False  # it is one shorter than the rows: R's row names have no name, or rows end in a separator
    second: bool = False  # the row below it is no data either: units, a second header

    @property
    def columns(self) -> list[str]:
        """The names as polars gives them to columns, but for blanks around them, and for those that are missing."""
        seen: dict[str, int] = {}
        columns = []
        for at, name in enumerate(self.names):
            bare = name.strip() or f"unnamed_{at}"
            columns.append(f"{bare}_duplicated_{seen[bare]}" if bare in seen else bare)
            seen[bare] = seen.get(bare, -1) + 1
        return columns

    def notes(self, place: str) -> list[str]:
        """What somebody who knows the table would want to be told; `place`: of the header, such as line 3."""
        bare = {name.strip() for name in self.names}
        added = [name for name in self.columns if name not in bare]
        notes = [f"the table begins in {place}: what stands above it is skipped"] if self.at else []
        notes += ["the row below the header holds names or units: it is skipped"] if self.second else []
        notes += [f"the header is one name shorter than the rows: {added[0]} is added"] if self.shifted else []
        twice = [name for name in added if "_duplicated_" in name]
        return notes + [f"the header names a column twice: the second is {name}" for name in twice]


def find(rows: list[list[str]], names: Collection[str]) -> Header:
    """The header of the first `rows` of a table. Where one of them holds most of `names`, it is that one.

    Else it is the first row that is as wide as most are and not nearly empty, as titles are. A row of another width is
    a header where it holds words alone, and the row below does not.
    """
    filled = [at for at, row in enumerate(rows) if any(map(str.strip, row))]
    wide = [len(rows[at]) for at in filled]
    width = max(dict.fromkeys(wide), key=wide.count, default=0)
    known = {at: len(set(names) & {field.strip() for field in rows[at]}) for at in filled[:MOST_ROWS]}
    first = filled[0] if filled else 0
    if any(known.values()):
        at = max(known, key=lambda each: known[each])
    else:
        at = next((each for n, each in enumerate(filled[:MOST_ROWS]) if _heads(rows, filled[n:], width)), first)
        if at != first and len(rows[first]) == width and not _words(rows[at]):
            at = first  # what seemed a title is a header without names
    row, below = rows[at] if rows else [], [rows[each] for each in filled if each > at]
    if below and len(row) == width - 1 and _words(row):
        trailing = not any(each[-1].strip() for each in below if len(each) == width)
        return Header(at, [*row, ""] if trailing else ["", *row], shifted=True)
    return Header(at, row, second=_second(row, below))


def _heads(rows: list[list[str]], filled: list[int], width: int) -> bool:
    """Whether the first of the rows `filled` is a header."""
    row, below = rows[filled[0]], [rows[at] for at in filled[1:]]
    named = sum(bool(field.strip()) for field in row)
    if named < min(2, len(row)) or 2 * named < min(len(row), width):
        return False
    other = len(row) == width - 1 or len(row) > width
    return len(row) == width or (other and _words(row) and bool(below) and _data(below[0], below[1:]))


def _words(row: list[str]) -> bool:
    return all(WORD.search(field) for field in row if field.strip())


def _data(row: list[str], below: list[list[str]]) -> bool:
    """Whether a row holds a number, or a text that comes again in its column."""
    again = any(row[at] in {each[at] for each in below if at < len(each)} for at in range(len(row)) if row[at].strip())
    return not _words(row) or again


def _second(header: list[str], below: list[list[str]]) -> bool:
    """Whether the first row below a header holds names or units: no number, where the columns below are numbers."""
    if len(below) < 4 or len(below[0]) != len(header) or _data(below[0], below[1:]):
        return False
    columns = [[each[at] for each in below[1:] if at < len(each) and each[at].strip()] for at in range(len(header))]
    numbers = [sum(not WORD.search(field) for field in each) > 0.8 * len(each) for each in columns]
    return sum(number and bool(field.strip()) for number, field in zip(numbers, below[0], strict=True)) > 1

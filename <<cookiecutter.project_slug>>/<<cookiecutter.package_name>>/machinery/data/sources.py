"""Errors of whatever reads a table, as sentences."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import DataError, ProjectError, Unavailable, one_line
from .drivers import missing_package, prefer_installed

AWAY = re.compile(r"(?i)could not connect|connection (to .* )?(refused|failed|reset)|timed? ?out|database is locked")

ADVICE = r"\n\[SQL|\(Background on|Consider setting|\n\nThe current offset|\nPlease run|\n\nThis error occurred"
VALUES = (  # of rows, in what polars and pandas say: what takes their place
    (r"(?s)could not parse `.*?` as dtype", "could not parse a value as dtype"),
    (r"(?s)could not append value: .* of type", "could not append a value of type"),
    (r"(?s)\bvalues?: \[.*", "values"),
    (r"(?s)(convert string to \w+|[Ii]nvalid literal for .*? base \d+): .*", r"\1"),
)


class Unreadable(DataError):
    """A value is not of the type that it is read as."""


@contextmanager
def reading(source: dict[str, Any] | Callable[[], Any] | None = None, named: str = "the source") -> Iterator[None]:
    """Turns what readers raise into DataError, or Unavailable where a server does not answer, a sentence each.

    Of a file, that a `source` (a section, or the call that it describes) names, it says which line is damaged.
    """
    section = source.args[0] if isinstance(source, functools.partial) else source
    try:
        with _translated():
            yield
    except DataError as error:
        if not isinstance(section, dict) or isinstance(error, Unreadable) or error.__cause__ is None:
            raise
        from . import formats

        where = formats.damage(section)
        raise (DataError(f"{named}: {where}") if where else error) from (error if where else error.__cause__)


@contextmanager
def explained(table: Any, types: dict[str, Any], *, missing: list[str]) -> Iterator[None]:
    """Raises DataError for a value of `table` that is not of its type, naming column and row."""
    from . import parsing

    try:
        yield
    except Unreadable as error:
        reason = parsing.why_unreadable(table.select(list(types)), types, missing=missing)
        raise DataError(reason or str(error)) from error


@contextmanager
def _translated() -> Iterator[None]:
    """Turns what readers raise into DataError, or Unavailable."""
    import polars as pl  # here, and not above: what a source holds is told without it

    prefer_installed()
    try:
        yield
    except ProjectError:
        raise
    except FileNotFoundError as error:
        raise DataError(
            f"the source is not there: {_line(error)} (a relative path is looked for in the folder of the command, "
            "then in the project's)"
        ) from error
    except ImportError as error:
        raise DataError(f"the source needs another package ({missing_package(error)}): {_line(error)}") from error
    except pl.exceptions.InvalidOperationError as error:
        raise Unreadable(f"the source cannot be read: {_line(error)}") from error
    except Exception as error:  # of polars, of a database's driver, of the reader that somebody added
        if counts := re.search(r"`new_columns` does not match .*\((\d+) != (\d+) in file", str(error)):
            raise DataError(
                f"the file has {counts[2]} columns, and source.new_columns names {counts[1]}: some were left out or "
                "added since; name those that are there, in their order"
            ) from error
        away = isinstance(error, ConnectionError | TimeoutError) or AWAY.search(str(error))
        raise (Unavailable if away else DataError)(f"the source cannot be read: {_line(error)}") from error


def _line(error: Exception) -> str:
    """What an error says in one line, without values, and without what libraries add: the query, addresses, advice."""
    text = str(error)
    for values, instead in VALUES:
        text = re.sub(values, instead, text)
    return one_line(re.split(ADVICE, text)[0])[:500]

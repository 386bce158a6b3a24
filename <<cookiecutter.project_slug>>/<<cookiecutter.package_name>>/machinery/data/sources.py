"""Errors of whatever reads a table, as sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import DataError, ProjectError, Unavailable, one_line
from .drivers import missing_package, prefer_installed

AWAY = re.compile(r"(?i)could not connect|connection (to .* )?(refused|failed|reset)|timed? ?out|database is locked")


class Unreadable(DataError):
    """A value is not of the type that it is read as."""


@contextmanager
def reading() -> Iterator[None]:
    """Turns what readers raise into DataError, or Unavailable where a server does not answer, a sentence each."""
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
        away = isinstance(error, ConnectionError | TimeoutError) or AWAY.search(str(error))
        raise (Unavailable if away else DataError)(f"the source cannot be read: {_line(error)}") from error


def _line(error: Exception) -> str:
    """What an error says in one line, without the query and the addresses that libraries add to it."""
    return one_line(re.split(r"\n\[SQL|\(Background on|Consider setting", str(error))[0])[:500]

"""Tables in databases, replaced."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl
import sqlalchemy
from pandas.errors import DatabaseError
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from ...errors import ProjectError

WAIT = 600  # seconds until another's transaction on the same SQLite file has ended
NAME = r"[^\W\d]\w*"


def reach(address: str, table: str) -> None:
    """Raises ProjectError for a name that is none, and for an address that does not answer."""
    if not re.fullmatch(rf"({NAME}\.)?{NAME}", table):
        raise ProjectError(f"table={table}: letters, digits and _ make a table's name, before a dot that of its schema")
    with _told(table):
        _engine(address).connect().close()


def replace(address: str, table: str, batches: Iterable[pl.DataFrame], about: dict[str, str]) -> None:
    """Puts the rows of `batches` in the place of those of `table`, and `about` of those of `table`_metadata (name,
    value), in one transaction: nobody sees half of it, and where it fails all is as it was.

    Raises ProjectError for an address that does not answer and for a table of other columns.
    """
    told = pl.DataFrame({"name": list(about), "value": list(about.values())})
    with _told(table), _engine(address).begin() as connection:
        for name, parts in ((table, batches), (f"{table}_metadata", [told])):
            _emptied(connection, name)
            for rows in parts:
                rows.write_database(name, connection, if_table_exists="append")


@contextmanager
def _told(table: str) -> Iterator[None]:
    """Turns what databases raise into ProjectError, a sentence without addresses and values."""
    try:
        yield
    except ImportError as error:
        raise ProjectError(f"the output needs another package (`uv add` it, then `make lock`): {error}") from error
    except ArgumentError as error:
        raise ProjectError("output is no address of a database, such as sqlite:///scores.db") from error
    except (SQLAlchemyError, DatabaseError) as error:
        own = error.__cause__ if isinstance(error, DatabaseError) else error  # pandas' text has rows in it
        reason = " ".join(str(own).partition("\n")[0].partition("[SQL")[0].split())
        raise ProjectError(f"output: the table {table} cannot be written: {reason}") from error


def _engine(address: str) -> sqlalchemy.Engine:
    """What connects to `address`; SQLite made to keep a transaction from its start to its end, tables' changes too.

    Source: https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#pysqlite-serializable
    """
    if not address.startswith("sqlite"):
        return sqlalchemy.create_engine(address)
    engine = sqlalchemy.create_engine(address, connect_args={"timeout": WAIT})

    @sqlalchemy.event.listens_for(engine, "connect")
    def plain(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    @sqlalchemy.event.listens_for(engine, "begin")
    def begun(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _emptied(connection: sqlalchemy.Connection, table: str) -> None:
    """Removes the rows of `table`, where it is there."""
    schema, _, name = table.rpartition(".")
    if not sqlalchemy.inspect(connection).has_table(name, schema or None):
        return
    found = sqlalchemy.table(name, schema=schema or None)
    if connection.dialect.name == "postgresql":  # where two could delete the same rows and then both add theirs
        quoted = connection.dialect.identifier_preparer.format_table(found)
        connection.exec_driver_sql(f"LOCK TABLE {quoted} IN SHARE ROW EXCLUSIVE MODE")
    connection.execute(sqlalchemy.delete(found))

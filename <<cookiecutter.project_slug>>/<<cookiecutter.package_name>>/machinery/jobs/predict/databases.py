"""A table in a database, replaced in one transaction."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl
import sqlalchemy
from pandas.errors import DatabaseError
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from ...data.drivers import missing_package, prefer_installed
from ...errors import ProjectError, one_line

WAIT = 600  # seconds to wait for another transaction on the same SQLite file
NAME = r"[^\W\d]\w*"


def check_connection(address: str, table: str) -> None:
    """Raises ProjectError where `table` is not a valid name, or the database at `address` does not answer."""
    if not re.fullmatch(rf"({NAME}\.)?{NAME}", table):
        raise ProjectError(f"table={table}: letters, digits and _ make a table's name, before a dot that of its schema")
    with _as_sentence(table):
        _engine(address).connect().close()


def replace(address: str, table: str, batches: Iterable[pl.DataFrame], about: dict[str, str]) -> None:
    """Replaces the rows of `table` by those of `batches`, and those of `table`_metadata (name, value) by `about`.

    Both in one transaction: nobody sees a part of it, and after a failure both tables are unchanged. Raises
    ProjectError where the database at `address` does not answer, and for a table with other columns.
    """
    metadata = pl.DataFrame({"name": list(about), "value": list(about.values())})
    with _as_sentence(table), _engine(address).begin() as connection:
        for name, parts in ((table, batches), (f"{table}_metadata", [metadata])):
            _delete_rows(connection, name)
            for rows in parts:
                rows.write_database(name, connection, if_table_exists="append")


@contextmanager
def _as_sentence(table: str) -> Iterator[None]:
    """Turns a database's errors into ProjectError, a sentence without addresses and values."""
    prefer_installed()
    try:
        yield
    except ImportError as error:
        raise ProjectError(f"the output needs another package ({missing_package(error)}): {error}") from error
    except ArgumentError as error:
        raise ProjectError("output is no address of a database, such as sqlite:///scores.db") from error
    except (SQLAlchemyError, DatabaseError) as error:
        own = error.__cause__ if isinstance(error, DatabaseError) else error  # pandas' text has rows in it
        reason = one_line(str(own).partition("\n")[0].partition("[SQL")[0])
        raise ProjectError(f"output: the table {table} cannot be written: {reason}") from error


def _engine(address: str) -> sqlalchemy.Engine:
    """The engine for `address`; of SQLite with transactions that lock from their start, and include new tables.

    Source: https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#pysqlite-serializable
    """
    if not address.startswith("sqlite"):
        return sqlalchemy.create_engine(address)
    engine = sqlalchemy.create_engine(address, connect_args={"timeout": WAIT})

    @sqlalchemy.event.listens_for(engine, "connect")
    def without_pysqlite_transactions(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    @sqlalchemy.event.listens_for(engine, "begin")
    def begin_immediate(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _delete_rows(connection: sqlalchemy.Connection, table: str) -> None:
    """Removes the rows of `table`, if it exists."""
    schema, _, name = table.rpartition(".")
    if not sqlalchemy.inspect(connection).has_table(name, schema or None):
        return
    existing = sqlalchemy.table(name, schema=schema or None)
    if connection.dialect.name == "postgresql":  # where two could delete the same rows and then both add theirs
        quoted = connection.dialect.identifier_preparer.format_table(existing)
        connection.exec_driver_sql(f"LOCK TABLE {quoted} IN SHARE ROW EXCLUSIVE MODE")
    connection.execute(sqlalchemy.delete(existing))

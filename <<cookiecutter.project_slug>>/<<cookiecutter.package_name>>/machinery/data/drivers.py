"""The database driver for an address that names none, such as postgresql://: the one that is installed."""

from __future__ import annotations

import sys
from importlib.util import find_spec

DRIVERS = {  # of each address its drivers: the first is SQLAlchemy's own choice
    "postgresql": {"psycopg": "PGDialect_psycopg", "psycopg2": "PGDialect_psycopg2"},
    "mysql": {"mysqldb": "MySQLDialect_mysqldb", "pymysql": "MySQLDialect_pymysql"},
}
MODULES = {"mysqldb": "MySQLdb"}  # of a driver that is imported by another name
BRINGS = {"psycopg": '"psycopg[binary]"', "MySQLdb": "pymysql"}  # what brings a module, where its name does not say it


def prefer_installed() -> None:
    """Has SQLAlchemy, where it is imported, take the first installed one of DRIVERS for an address that names none."""
    if "sqlalchemy" not in sys.modules:
        return
    from sqlalchemy.dialects import registry

    for database, drivers in DRIVERS.items():
        name = next((each for each in drivers if find_spec(MODULES.get(each, each))), None)
        if name:
            registry.register(database, f"sqlalchemy.dialects.{database}.{name}", drivers[name])


def missing_package(error: ImportError) -> str:
    """The command that installs what `error` lacks."""
    module = (error.name or str(error)).split()[0].partition(".")[0]  # polars says "deltalake is not installed"
    return f"`uv add {BRINGS.get(module, module)}`, then `make lock`"

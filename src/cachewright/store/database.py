"""The database: open it, bring its tables up to date, take transactions.

A read transaction sees one snapshot. A write transaction takes SQLite's write lock at its start, so that what it
read is still so when it writes.
"""

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

_MIGRATIONS = Path(__file__).parent / "migrations"
_BUSY_MS = 30_000


class Database:
    def __init__(self, url: str) -> None:
        """Opens `url`; for SQLite makes the file, readable by its owner alone."""
        self.engine = sa.create_engine(url, hide_parameters=True)  # rows hold secrets; errors are logged
        if self.engine.dialect.name == "sqlite":
            if self.engine.url.database:
                path = Path(self.engine.url.database)
                path.touch(mode=stat.S_IRUSR | stat.S_IWUSR)
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            sa.event.listen(self.engine, "begin", _begin_sqlite)

    def migrate(self) -> None:
        """Brings the tables to this release's; does nothing where they are."""
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        with self.engine.connect().execution_options(write=True) as connection, connection.begin():
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        with self.engine.connect().execution_options(write=True) as connection, connection.begin():
            yield connection

    def close(self) -> None:
        self.engine.dispose()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    assert isinstance(connection, sqlite3.Connection)  # noqa: S101  # the event's type is the driver's own
    connection.isolation_level = None  # transactions are begun below, not guessed by the driver
    connection.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    connection.execute("PRAGMA journal_mode=WAL")


def _begin_sqlite(connection: sa.Connection) -> None:
    write = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

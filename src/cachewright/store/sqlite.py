"""The database in an SQLite file on the machine of the server.

A write transaction takes SQLite's write lock at its start, so that one runs at a time. Readers do not wait for it.
"""

import asyncio
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cachewright.errors import DatabaseUnavailable
from cachewright.store.database import About, Answer
from cachewright.store.driver_errors import translate_errors
from cachewright.store.encryption import SecretCipher
from cachewright.store.transactions import WRITE_OPTION, SqlDatabase

_BUSY_MS = 30_000


class SqliteDatabase(SqlDatabase):
    """Implements `Database`. Only one event loop may call `answer` and `change_counter`."""

    def __init__(self, url: sa.URL, cipher: SecretCipher) -> None:
        """Open the file of `url`. Create it, readable by its owner only, if it is missing."""
        super().__init__(url, cipher, **_pool_options(url))
        if url.database:
            self.name = url.database
            Path(url.database).touch(mode=stat.S_IRUSR | stat.S_IWUSR)
        sa.event.listen(self.engine, "connect", _prepare)
        sa.event.listen(self.engine, "begin", _begin)
        self._connection: sa.Connection | None = None
        self._counter: int | None = None
        self._is_counter_fresh = False

    async def answer(self, question: Callable[[sa.Connection, *About], Answer], *about: *About) -> Answer:
        """Run the query on the event loop, which is faster than a switch to a thread, or in a thread if it would have
        to wait for a lock."""
        if self._counter is not None:
            with suppress(DatabaseUnavailable), self._read_without_waiting() as connection:
                return question(connection, *about)

        def read() -> Answer:
            with self.read() as connection:
                return question(connection, *about)

        return await asyncio.to_thread(read)

    async def change_counter(self) -> int | None:
        """Return SQLite's `data_version`: on a connection that never writes, it counts the commits of all others.

        It is read once per iteration of the event loop, because all callers of one iteration were ready before the
        read."""
        if not self._is_counter_fresh:
            self._counter = self._data_version()
            self._is_counter_fresh = True
            asyncio.get_running_loop().call_soon(self._expire_counter)
        return self._counter

    def check(self) -> str:
        with self.read() as connection:
            result = connection.execute(sa.text("PRAGMA quick_check(1)")).scalar_one()
        if result != "ok":
            raise DatabaseUnavailable(f"quick_check: {result}")
        return "quick_check: ok"

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        super().close()

    def _expire_counter(self) -> None:
        self._is_counter_fresh = False

    def _data_version(self) -> int | None:
        try:
            driver_connection = self._loop_connection().connection.dbapi_connection
            assert isinstance(driver_connection, sqlite3.Connection)  # noqa: S101  # the dialect's own driver
            version: int = driver_connection.execute("PRAGMA data_version").fetchone()[0]
        except (sqlite3.Error, sa.exc.DBAPIError):
            return None
        return version

    @contextmanager
    def _read_without_waiting(self) -> Iterator[sa.Connection]:
        """Open a read transaction that raises DatabaseUnavailable instead of waiting for a lock."""
        with translate_errors():
            connection = self._loop_connection()
            with connection.begin():
                yield connection

    def _loop_connection(self) -> sa.Connection:
        """Return the connection of the event loop. It never writes and never waits for a lock."""
        if self._connection is None:
            connection = self.engine.connect()
            connection.detach()
            connection.exec_driver_sql("PRAGMA busy_timeout=0")
            connection.rollback()
            self._connection = connection
        return self._connection


def exists(url: sa.URL) -> bool:
    """Whether the file of this URL exists."""
    return bool(url.database) and Path(str(url.database)).exists()


def has_table(url: sa.URL, name: str) -> bool:
    """Whether the database has this table. Does not create the file. Raises DatabaseUnavailable."""
    if not exists(url):
        return False
    query = "SELECT 1 FROM sqlite_master WHERE name = ?"
    uri = f"{Path(str(url.database)).absolute().as_uri()}?mode=ro"
    with translate_errors(), closing(sqlite3.connect(uri, uri=True)) as connection:
        return bool(connection.execute(query, (name,)).fetchall())


def _pool_options(url: sa.URL) -> dict[str, int]:
    """Return options of the connection pool. The number of threads limits connections; a limit of the pool would make
    threads wait for each other's work."""
    return {"pool_size": 8, "max_overflow": -1} if url.database else {}


def _prepare(connection: Any, _record: Any) -> None:
    assert isinstance(connection, sqlite3.Connection)  # noqa: S101  # the event's type is the driver's own
    connection.isolation_level = None  # `_begin` starts transactions, not the driver
    connection.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA secure_delete=ON")


def _begin(connection: sa.Connection) -> None:
    is_write = connection.get_execution_options().get(WRITE_OPTION, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")

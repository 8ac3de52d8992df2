"""The database on a PostgreSQL server.

A write transaction takes the lock of a table at its start, so that one runs at a time, among all servers and commands.
Its statements see all earlier commits, because PostgreSQL releases the lock after the commit is visible. Agents have no
right on the table. Anybody who is connected to the database could take an advisory lock.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from psycopg.types.string import StrDumper

from cachewright.errors import DatabaseUnavailable
from cachewright.store import server_claims
from cachewright.store.claim import LOCK_CLASS
from cachewright.store.database import About, Answer, DatabaseNotReady
from cachewright.store.driver_errors import translate_errors
from cachewright.store.encryption import SecretCipher
from cachewright.store.transactions import MIGRATION_OPTION, WRITE_OPTION, SqlDatabase

OLDEST_VERSION = 13
_OLDEST_VERSION_NUMBER = OLDEST_VERSION * 10_000
_MIGRATION_LOCK = 1
_LOCK_MIGRATIONS = f"SELECT pg_advisory_xact_lock({LOCK_CLASS}, {_MIGRATION_LOCK})"
"""The lock of writes in earlier releases, whose tables lack the one that is locked now."""

_LOCK_WRITES = "LOCK TABLE server_coordination IN EXCLUSIVE MODE"
_CLAIM = "SELECT epoch, session FROM server_claims WHERE NOT is_released"

_SESSION = (
    "SET lock_timeout = '30s'; SET idle_in_transaction_session_timeout = '10s'; SET timezone = 'UTC'; "
    "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
)
"""Statements at the start of each session. The lock timeout is that of SQLite. The idle timeout keeps a frozen process
from holding the write lock forever. Keepalives end the session of a server whose machine has disappeared; otherwise it
would hold its lock for hours."""

_SHORT_WAITS_OF_SESSION = "SET lock_timeout = '2s'"
SHORT_WAITS = "SET LOCAL lock_timeout = '2s'"
"""Statement of transactions that need rows or views which an agent may lock."""

_CONNECT_ARGUMENTS = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""Defaults of libpq's parameters. Parameters in the URL take precedence."""


class PostgresDatabase(SqlDatabase):
    """Implements `Database`. Only one event loop may call `answer` and `change_counter`."""

    is_shared = True

    def __init__(self, url: sa.URL, cipher: SecretCipher, session: str = "cachewright") -> None:
        """Prepare connections to `url`. They are opened when they are needed. `session` is their name on the server."""
        arguments = connect_arguments(url, session)
        super().__init__(url, cipher, **_engine_options(arguments))
        self.workflow_options = arguments
        self._session = session
        sa.event.listen(self.engine, "connect", _prepare)
        sa.event.listen(self.engine, "begin", self._begin)
        self._reading = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._counter_thread = ThreadPoolExecutor(1, thread_name_prefix="change counter")
        self._counter_connection: sa.Connection | None = None
        self._current_counter: asyncio.Task[str | None] | None = None
        self._next_counter: asyncio.Task[str | None] | None = None

    async def answer(self, question: Callable[[sa.Connection, *About], Answer], *about: *About) -> Answer:
        def read() -> Answer:
            with self.read() as connection:
                return question(connection, *about)

        return await asyncio.to_thread(read)

    async def change_counter(self) -> str | None:
        """Return the current snapshot. It lists the transactions that it does not see, so equal snapshots see the same
        commits.

        Callers that arrive during a read share the next one, because the current snapshot may be older than their
        request."""
        if self._next_counter is None:
            self._next_counter = asyncio.create_task(self._read_counter(self._current_counter))
        return await asyncio.shield(self._next_counter)

    def check(self) -> str:
        with self.read() as connection:
            for table in sa.inspect(connection).get_table_names():
                connection.execute(sa.text(f'SELECT count(*) FROM "{table}"'))  # noqa: S608  # names of tables
            version = connection.execute(sa.text("SHOW server_version")).scalar_one()
            claim = server_claims.get(connection)
        tasks = "no server performs tasks" if claim.is_released else f"tasks are performed on {claim.machine}"
        return f"PostgreSQL {version} at {self.name}, all tables can be read, {tasks}"

    @contextmanager
    def write_unordered(self) -> Iterator[sa.Connection]:
        """Open a transaction that does not take the write lock, and waits for other locks for a short time alone:
        agents may hold them. For schemas and roles of agents. Raises DatabaseUnavailable."""
        with translate_errors(), self.engine.connect() as connection, connection.begin():
            connection.exec_driver_sql(SHORT_WAITS)
            yield connection

    def workflow_engine(self, connections: int) -> sa.Engine:
        engine = super().workflow_engine(connections)
        sa.event.listen(engine, "connect", _limit_waits)
        return engine

    def require_version(self) -> None:
        """Raise DatabaseNotReady if the server is too old or its encoding is not UTF-8."""
        with self.read() as connection:
            version = int(connection.execute(sa.text("SHOW server_version_num")).scalar_one())
            encoding = connection.execute(sa.text("SHOW server_encoding")).scalar_one()
        if version < _OLDEST_VERSION_NUMBER:
            raise DatabaseNotReady(f"{self.name} is older than PostgreSQL {OLDEST_VERSION}")
        if encoding != "UTF8":
            raise DatabaseNotReady(f"{self.name} has the encoding {encoding}; create the database with UTF8")

    def close(self) -> None:
        self.claim.stop()
        self._counter_thread.submit(self._drop_counter_connection).result()
        self._counter_thread.shutdown()
        super().close()

    async def _read_counter(self, before: asyncio.Task[str | None] | None) -> str | None:
        if before:
            await asyncio.wait({before})
        self._current_counter, self._next_counter = self._next_counter, None
        return await asyncio.get_running_loop().run_in_executor(self._counter_thread, self._snapshot)

    def _snapshot(self) -> str | None:
        """Read the current snapshot, in the counter's thread."""
        try:
            with translate_errors():
                text: str = self._counter_session().execute(sa.text("SELECT pg_current_snapshot()::text")).scalar_one()
        except DatabaseUnavailable:
            self._drop_counter_connection()
        else:
            return text
        return None

    def _counter_session(self) -> sa.Connection:
        """Return the connection of the counter's thread."""
        if self._counter_connection is None:
            self._counter_connection = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        return self._counter_connection

    def _begin(self, connection: sa.Connection) -> None:
        """Begin a write transaction with the lock, and end a process that has lost its claim. The second statement
        sees the commits before the lock was taken; one message carries both."""
        options = connection.get_execution_options()
        if not options.get(WRITE_OPTION, False):
            return
        lock = _LOCK_MIGRATIONS if options.get(MIGRATION_OPTION, False) else _LOCK_WRITES
        epoch = self.claim.epoch
        if epoch is None:
            connection.exec_driver_sql(lock)
            return
        result = connection.exec_driver_sql(f"SELECT 1; {lock}; {_CLAIM}")  # a result without columns has no cursor
        result.cursor.nextset()
        result.cursor.nextset()
        current = result.cursor.fetchone()
        result.close()
        if current != (epoch, self._session):
            self.claim.lost()
            raise DatabaseUnavailable("another server has taken the claim to perform tasks")

    def _drop_counter_connection(self) -> None:
        connection, self._counter_connection = self._counter_connection, None
        if connection is not None:
            connection.invalidate()  # a lost connection is not used again
            connection.close()


def has_table(url: sa.URL, name: str) -> bool:
    """Whether the database has this table. Raises DatabaseUnavailable."""
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args=connect_arguments(url))
    with translate_errors(), engine.connect() as connection:
        return sa.inspect(connection).has_table(name)


def _engine_options(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of the engine. The number of threads limits connections. A connection is tested before use,
    because the server may have been restarted."""
    return {"pool_size": 8, "max_overflow": -1, "pool_pre_ping": True, "connect_args": arguments}


def connect_arguments(url: sa.URL, session: str = "cachewright") -> dict[str, Any]:
    """Return libpq's parameters for connections to `url`, except those that it has itself."""
    return {"application_name": session} | {
        name: value for name, value in _CONNECT_ARGUMENTS.items() if name not in url.query
    }


class _TextWithoutNul(StrDumper):
    """Writes the replacement character instead of NUL, which PostgreSQL cannot store. Requests with NUL are refused,
    but the audit log stores their paths."""

    def dump(self, obj: str) -> Any:
        return super().dump(obj.replace("\0", "\N{REPLACEMENT CHARACTER}"))


def _limit_waits(connection: Any, _record: Any) -> None:
    connection.execute(_SHORT_WAITS_OF_SESSION)
    connection.commit()


def _prepare(connection: Any, _record: Any) -> None:
    connection.adapters.register_dumper(str, _TextWithoutNul)
    connection.execute(_SESSION)
    connection.commit()

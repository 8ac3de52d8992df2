"""The database: open it, bring its tables up to date, take transactions.

A read transaction sees one snapshot. A write transaction takes SQLite's write lock at its start, so that what it
read is still so when it writes.
"""

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from cachewright.config import Settings
from cachewright.errors import CachewrightError
from cachewright.store import audit
from cachewright.store.encryption import SecretCipher, WrongKey, make_key, read_key

_MIGRATIONS = Path(__file__).parent / "migrations"
_BUSY_MS = 30_000
_CIPHER = "cipher"


class DatabaseNotReady(CachewrightError):
    """There is no database that can be worked on without a server's start."""


class DatabaseUnavailable(CachewrightError):
    """The database cannot be read or written: it is damaged, locked, or its disk is full."""


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raises `DatabaseUnavailable` for a driver's error about the database itself. Errors about a statement stay as
    they are."""
    try:
        yield
    except (sa.exc.DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        if type(cause) is sqlite3.DatabaseError:
            raise DatabaseUnavailable(
                f"the database is damaged ({cause}); restore it and its key file from a backup"
            ) from error
        if isinstance(error, sa.exc.OperationalError | sqlite3.OperationalError):
            raise DatabaseUnavailable(str(cause)) from error
        raise


class Database:
    def __init__(self, url: str, cipher: SecretCipher) -> None:
        """Opens `url`; for SQLite makes the file, readable by its owner alone. `cipher` is for the secrets in it."""
        self.cipher = cipher
        self._watch: sa.Connection | None = None
        self.engine = sa.create_engine(
            url,
            hide_parameters=True,  # rows hold secrets; errors are logged
            execution_options={_CIPHER: cipher},
            **_pool(url),
        )
        if self.engine.dialect.name == "sqlite":
            if self.engine.url.database:
                path = Path(self.engine.url.database)
                path.touch(mode=stat.S_IRUSR | stat.S_IWUSR)
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            sa.event.listen(self.engine, "begin", _begin_sqlite)

    @classmethod
    def of(cls, settings: Settings) -> "Database":
        """The database of these settings, up to date; a new one gets a new key file. WrongKey where the key is missing
        or is not the one that its secrets are sealed with."""
        if settings.key_file.exists():
            database = cls(settings.database_url, read_key(settings.key_file))
        elif settings.database_file.exists() and _is_sealed(settings.database_file):
            raise WrongKey(f"{settings.key_file} is missing: the secrets in {settings.database_file} need it")
        else:
            database = cls(settings.database_url, make_key(settings.key_file))
        database.migrate()
        database.require_key()
        return database

    def require_key(self) -> None:
        """WrongKey where the secrets in the database were sealed with another key."""
        with self.read() as connection:
            sealed = connection.execute(sa.text("SELECT secret_key FROM access_keys LIMIT 1")).scalar_one_or_none()
        if sealed is not None:
            self.cipher.decrypt(sealed)

    @classmethod
    def in_use(cls, settings: Settings) -> "Database":
        """The same beside the server that runs on it, whose tables are not to be changed under it. DatabaseNotReady
        where there is none of this release; WrongKey as above."""
        if not settings.database_file.exists() or not settings.key_file.exists():
            raise DatabaseNotReady(f"no server of this release has run on {settings.data_dir} yet")
        database = cls(settings.database_url, read_key(settings.key_file))
        with database.read() as connection:
            revision = MigrationContext.configure(connection).get_current_revision()
        if revision != ScriptDirectory(str(_MIGRATIONS)).get_current_head():
            raise DatabaseNotReady(f"{settings.database_file} is another release's; start this release's server first")
        database.require_key()
        return database

    def migrate(self) -> None:
        """Brings the tables to this release's; does nothing where they are."""
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        with self.engine.connect().execution_options(write=True) as connection, connection.begin():
            config.attributes["connection"] = connection
            config.attributes["cipher"] = self.cipher
            command.upgrade(config, "head")

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that may change something. With it goes the audit entry of the call that it is made for."""
        pending = audit.PENDING.get()
        with self.engine.connect().execution_options(write=True) as connection, connection.begin():
            entry = pending.stage(connection) if pending else None
            yield connection
        if pending:
            pending.committed(entry)

    @contextmanager
    def glance(self) -> Iterator[sa.Connection]:
        """A read that waits for no lock: OperationalError where it would have to. For the one thread that calls
        `state`."""
        connection = self._watching()
        with connection.begin():
            yield connection

    def state(self) -> int | None:
        """A number that is another one after each commit, of this process or another; None where that cannot be told.
        Takes microseconds and waits for nobody."""
        if self.engine.dialect.name != "sqlite":
            return None
        try:
            driven = self._watching().connection.dbapi_connection
            assert isinstance(driven, sqlite3.Connection)  # noqa: S101  # the dialect's own driver
            found: int = driven.execute("PRAGMA data_version").fetchone()[0]
        except (sqlite3.Error, sa.exc.DBAPIError):
            return None
        return found

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        self.engine.dispose()

    def _watching(self) -> sa.Connection:
        """A connection that nothing is written over: SQLite counts the commits of all others."""
        if self._watch is None:
            watch = self.engine.connect()
            watch.detach()
            watch.exec_driver_sql("PRAGMA busy_timeout=0")
            watch.rollback()
            self._watch = watch
        return self._watch


def _pool(url: str) -> dict[str, int]:
    """Options of the pool of connections. Threads are what is limited: a thread that waited for a connection would wait
    for the work of another."""
    return {"pool_size": 8, "max_overflow": -1} if sa.engine.make_url(url).database else {}


def secret_cipher(connection: sa.Connection) -> SecretCipher:
    """What seals and opens the secrets of this connection's database."""
    found: SecretCipher = connection.get_execution_options()[_CIPHER]
    return found


def _is_sealed(file: Path) -> bool:
    """Databases of 0.1 hold their secrets in clear, and have no users."""
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
        return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'users'").fetchall())


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    assert isinstance(connection, sqlite3.Connection)  # noqa: S101  # the event's type is the driver's own
    connection.isolation_level = None  # transactions are begun below, not guessed by the driver
    connection.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA secure_delete=ON")


def _begin_sqlite(connection: sa.Connection) -> None:
    write = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

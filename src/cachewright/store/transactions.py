"""Transactions and migrations that both databases share, on SQLAlchemy."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from cachewright.store import audit
from cachewright.store.database import CIPHER_OPTION, Claim, SoleClaim
from cachewright.store.driver_errors import translate_errors
from cachewright.store.encryption import SecretCipher

_MIGRATIONS = Path(__file__).parent / "migrations"
WRITE_OPTION = "write"
"""Execution option of connections whose transactions write."""

MIGRATION_OPTION = "migration"
"""Execution option of a write that migrates the tables, which may lack that of the write lock."""


class SqlDatabase:
    """Base of the implementations of `Database`. Subclasses prepare connections and begin transactions.

    :ivar engine: SQLAlchemy's engine, for tests.
    """

    is_shared = False

    def __init__(self, url: sa.URL, cipher: SecretCipher, **options: Any) -> None:
        """Prepare an engine for `url` with these options. `cipher` is for the secrets in the database."""
        self.claim: Claim = SoleClaim()
        self.cipher = cipher
        self.name = url.render_as_string(hide_password=True)
        self.workflow_url = url.render_as_string(hide_password=False)
        self.workflow_options: Mapping[str, Any] = {}
        self.engine = sa.create_engine(
            url,
            hide_parameters=True,  # rows contain secrets, and errors are logged
            execution_options={CIPHER_OPTION: cipher},
            **options,
        )
        self._reading = self.engine

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        with translate_errors(), self._reading.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        pending = audit.PENDING.get()
        with translate_errors(), self._write_connection() as connection, connection.begin():
            entry = pending.stage(connection) if pending else None
            yield connection
        if pending:
            pending.committed(entry)

    @contextmanager
    def statements(self) -> Iterator[sa.Connection]:
        """Open a connection on which each statement is a transaction of its own, without the write lock. For machines
        that may be cut off: a lock that such a machine holds stops all writers until its session ends."""
        with (
            translate_errors(),
            self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        ):
            yield connection

    def workflow_engine(self, connections: int) -> sa.Engine:
        return sa.create_engine(
            self.workflow_url,
            pool_size=connections,
            max_overflow=0,
            pool_pre_ping=True,
            connect_args=dict(self.workflow_options),
        )

    def migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        migrating = self._write_connection().execution_options(**{MIGRATION_OPTION: True})
        with translate_errors(), migrating as connection, connection.begin():
            config.attributes["connection"] = connection
            config.attributes["cipher"] = self.cipher
            command.upgrade(config, "head")

    def revision(self) -> str | None:
        """Return the revision of the tables, or None if they do not exist. Raises DatabaseUnavailable."""
        with self.read() as connection:
            return MigrationContext.configure(connection).get_current_revision()

    def require_key(self) -> None:
        """Raise WrongKey if the secrets in the database were encrypted with another key."""
        with self.read() as connection:
            encrypted = connection.execute(sa.text("SELECT secret_key FROM access_keys LIMIT 1")).scalar_one_or_none()
        if encrypted is not None:
            self.cipher.decrypt(encrypted)

    def close(self) -> None:
        self.engine.dispose()

    def _write_connection(self) -> sa.Connection:
        return self.engine.connect().execution_options(**{WRITE_OPTION: True})


def known_revisions() -> frozenset[str]:
    """Return the revisions of the tables of this release and of earlier ones."""
    return frozenset(script.revision for script in ScriptDirectory(str(_MIGRATIONS)).walk_revisions())


def current_revision() -> str | None:
    """Return the revision of the tables of this release."""
    return ScriptDirectory(str(_MIGRATIONS)).get_current_head()

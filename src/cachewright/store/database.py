"""The port of the database.

`sqlite.py` and `postgres.py` implement it, `opening.py` chooses one of them by the URL. Code outside this package does
not depend on the choice.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar, TypeVarTuple

import sqlalchemy as sa

from cachewright.errors import CachewrightError
from cachewright.model.servers import TakeoverCause
from cachewright.store.encryption import SecretCipher

Answer = TypeVar("Answer")
About = TypeVarTuple("About")

CIPHER_OPTION = "cipher"
"""Execution option of each connection: the cipher of the secrets in its database."""


class DatabaseNotReady(CachewrightError):
    """No server of this release has used the database, or another server uses it in a way that excludes this one."""


class Claim(Protocol):
    """The right of a server to perform tasks and to change nodes. At most one of the servers on a database has it.

    :ivar is_held: this process has it.
    :ivar epoch: increases each time that a server takes the claim; None without the claim, and on SQLite.
    :ivar cause: why this process has taken the claim; None like `epoch`.
    """

    @property
    def is_held(self) -> bool: ...

    @property
    def epoch(self) -> int | None: ...

    @property
    def cause(self) -> TakeoverCause | None: ...

    def require(self, *, ending: bool = False) -> None:
        """Raise DatabaseUnavailable if this process has the claim, but another one may have taken it meanwhile. A
        process that never had it may read nodes.

        :param ending: for a command that only ends what this server has begun. It is permitted a little longer, until
            the time at which another server may take the claim.
        """

    def lost(self) -> None:
        """End this process, because another one has taken the claim."""

    def stop(self) -> None:
        """Release the claim."""


class SoleClaim:
    """The claim on a database that one server uses."""

    is_held = True
    epoch = None
    cause = None

    def require(self, *, ending: bool = False) -> None:
        pass

    def lost(self) -> None:
        pass

    def stop(self) -> None:
        pass


class Database(Protocol):
    """Transactions and maintenance of one database.

    :ivar claim: the claim of this process.
    :ivar is_shared: other servers, and agents, may use the database.
    :ivar cipher: encrypts and decrypts the secrets in the database.
    :ivar name: file, or URL without its password, for messages.
    :ivar workflow_url: URL of the database for DBOS's workflows, with the password.
    :ivar workflow_options: options of the driver for DBOS's connections.
    """

    claim: Claim
    is_shared: bool
    cipher: SecretCipher
    name: str
    workflow_url: str
    workflow_options: Mapping[str, Any]

    def read(self) -> AbstractContextManager[sa.Connection]:
        """Open a transaction that sees one snapshot and changes nothing. Raises DatabaseUnavailable."""

    def write(self) -> AbstractContextManager[sa.Connection]:
        """Open a transaction that may change something. It also stores the audit entry of the current request.

        Only one write transaction runs at a time, among all processes that use the database: rows that it has read do
        not change until it commits. Raises DatabaseUnavailable; then the transaction was rolled back, unless the
        connection was lost during the commit."""

    async def answer(self, question: Callable[[sa.Connection, *About], Answer], *about: *About) -> Answer:
        """Run the query `question`, which must need only a few index look-ups. Raises DatabaseUnavailable."""

    async def change_counter(self) -> object | None:
        """Return a value that changes with each commit of any process, or None if it cannot be read. It is read after
        the call begins. Never blocks the event loop."""

    def workflow_engine(self, connections: int) -> sa.Engine:
        """Return an engine with so many connections for a client of DBOS. The caller disposes of it."""

    def migrate(self) -> None:
        """Migrate the tables to this release. Raises DatabaseUnavailable."""

    def check(self) -> str:
        """Verify the database itself and describe the result. Raises DatabaseUnavailable if it fails."""

    def close(self) -> None:
        """Close all connections."""


def secret_cipher(connection: sa.Connection) -> SecretCipher:
    """Return the cipher for the secrets in this connection's database."""
    cipher: SecretCipher = connection.get_execution_options()[CIPHER_OPTION]
    return cipher

"""The port of the database: what the rest of the server may do with it.

`sqlite.py` and `postgres.py` implement it, `opening.py` chooses one of them by the URL. Nothing outside this package
knows which one it is.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar, TypeVarTuple

import sqlalchemy as sa

from cachewright.errors import CachewrightError
from cachewright.store.encryption import SecretCipher

Answer = TypeVar("Answer")
About = TypeVarTuple("About")

CIPHER_OPTION = "cipher"
"""Execution option of each connection: the cipher of the secrets in its database."""


class DatabaseNotReady(CachewrightError):
    """No server of this release has used the database, or another server uses it now."""


class Database(Protocol):
    """:ivar cipher: encrypts and decrypts the secrets in the database.
    :ivar name: the database in messages: a file, or a URL without its password.
    :ivar workflow_url: where DBOS keeps its workflows, with the password.
    """

    cipher: SecretCipher
    name: str
    workflow_url: str

    def read(self) -> AbstractContextManager[sa.Connection]:
        """Open a transaction that sees one snapshot and changes nothing. Raises DatabaseUnavailable."""

    def write(self) -> AbstractContextManager[sa.Connection]:
        """Open a transaction that may change something, with the audit entry of the request it is made for.

        One write transaction runs at a time, of all processes that use the database: what it has read stays true until
        it commits. Raises DatabaseUnavailable; the transaction has not been committed then, unless the connection was
        lost while it was."""

    async def answer(self, question: Callable[[sa.Connection, *About], Answer], *about: *About) -> Answer:
        """Return what `question` reads with a few index look-ups. Raises DatabaseUnavailable."""

    async def change_counter(self) -> object | None:
        """Return a value that differs after each commit of any process, read after the call began; None if it cannot
        be read. Never blocks the event loop."""

    def migrate(self) -> None:
        """Bring the tables to this release. Raises DatabaseUnavailable."""

    def check(self) -> str:
        """Verify the database itself and describe the result. Raises DatabaseUnavailable if it fails."""

    def close(self) -> None:
        """Close all connections."""


def secret_cipher(connection: sa.Connection) -> SecretCipher:
    """Return the cipher for the secrets in this connection's database."""
    cipher: SecretCipher = connection.get_execution_options()[CIPHER_OPTION]
    return cipher

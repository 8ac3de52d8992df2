"""Distinguish driver errors that mean an unavailable database from those about a statement."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import sqlalchemy as sa

from cachewright.errors import DatabaseUnavailable
from cachewright.store.database import DatabaseNotReady

_SQLITE_STATEMENT = sqlite3.SQLITE_ERROR
"""SQLite's primary result code for a faulty statement. Every other OperationalError is about the database."""

_POSTGRES_DAMAGED = "XX"
_POSTGRES_READ_ONLY = "25006"
_POSTGRES_IDLE_TOO_LONG = "25P03"

_OTHER_TABLES = (
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.InsufficientPrivilege,
)
"""What statements of another release, or of a role without the rights that this one needs, raise."""


@contextmanager
def tables_required(advice: str) -> Iterator[None]:
    """Raise `DatabaseNotReady` with the advice if the tables are another release's, or the role must not use them."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        if not isinstance(error.orig, _OTHER_TABLES):
            raise
        raise DatabaseNotReady(f"{error.orig.diag.message_primary}; {advice}") from error


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raise `DatabaseUnavailable` for driver errors about the database itself. Let errors about a statement pass."""
    try:
        yield
    except (sa.exc.DBAPIError, sqlite3.Error, psycopg.Error) as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise DatabaseUnavailable(reason) from error


def _reason(error: sa.exc.DBAPIError | sqlite3.Error | psycopg.Error) -> str | None:
    """Return the reason why the database is unavailable, or None if the error is about the statement."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return _sqlite_reason(cause)
    if isinstance(cause, psycopg.Error):
        lost = isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated
        return _postgres_reason(cause, lost)
    return None


def _sqlite_reason(cause: sqlite3.Error) -> str | None:
    if type(cause) is sqlite3.DatabaseError:
        return _damaged(str(cause))
    if not isinstance(cause, sqlite3.OperationalError):
        return None
    code = getattr(cause, "sqlite_errorcode", None)
    return None if code == _SQLITE_STATEMENT else str(cause)


def _postgres_reason(cause: psycopg.Error, lost: bool) -> str | None:
    code = cause.sqlstate or ""
    text = " ".join(str(cause).split())
    if code.startswith(_POSTGRES_DAMAGED):
        return _damaged(text)
    if lost or isinstance(cause, psycopg.OperationalError) or code in {_POSTGRES_READ_ONLY, _POSTGRES_IDLE_TOO_LONG}:
        return text
    return None


def _damaged(cause: str) -> str:
    return f"the database is damaged ({cause}); restore it and its key file from a backup"

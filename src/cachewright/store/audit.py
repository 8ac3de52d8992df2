"""Queries on the audit log, and entries that are stored in the transaction of the change they describe."""

from contextvars import ContextVar

import sqlalchemy as sa

from cachewright.model.audit import AuditEntry
from cachewright.store.rows import columns, from_row, to_row
from cachewright.store.tables import audit


class PendingEntry:
    """Entry of a request that may change something. The request's first write transaction stores it, so that every
    change has an entry, and a request that fails before its first change needs no transaction.

    :ivar entry: the entry so far.
    :ivar sequence: its number, after a transaction has committed it.
    """

    def __init__(self, entry: AuditEntry) -> None:
        self.entry = entry
        self.sequence: int | None = None
        self._is_open = True

    def close(self) -> None:
        """End the request: no later transaction stores the entry."""
        self._is_open = False

    def stage(self, connection: sa.Connection) -> int | None:
        """Add the entry to this transaction unless it is stored. Return its number."""
        return add(connection, self.entry) if self._is_open and self.sequence is None else self.sequence

    def committed(self, sequence: int | None) -> None:
        """Keep the number of the entry, after the transaction that staged it was committed."""
        self.sequence = sequence


PENDING: ContextVar[PendingEntry | None] = ContextVar("pending audit entry", default=None)
"""Entry of the request that this task or thread works for."""


def add(connection: sa.Connection, entry: AuditEntry) -> int:
    """Store the entry and return its sequence number."""
    row = to_row(entry)
    del row["sequence"]
    return int(connection.execute(audit.insert().values(row).returning(audit.c.sequence)).scalar_one())


def end(
    connection: sa.Connection, sequence: int, status: int, error_code: str | None, subjects: tuple[str, ...] = ()
) -> None:
    values = columns(status=status, error_code=error_code, subjects=subjects)
    connection.execute(audit.update().where(audit.c.sequence == sequence).values(values))


def count_again(connection: sa.Connection, sequence: int, request_id: str) -> bool:
    """Count one more request in the entry with this number and first request. Return False if it does not exist."""
    same = sa.and_(audit.c.sequence == sequence, audit.c.request_id == request_id)
    return bool(connection.execute(audit.update().where(same).values(count=audit.c["count"] + 1)).rowcount)


def page(
    connection: sa.Connection,
    project_id: str,
    *,
    offset: int,
    limit: int,
    start: int | None = None,
    end: int | None = None,
    user_name: str | None = None,
) -> tuple[int, list[AuditEntry]]:
    """Return the number of matching entries, and one page of them, newest first."""
    query = audit.select().where(audit.c.project_id == project_id)
    if start is not None:
        query = query.where(audit.c.at >= start)
    if end is not None:
        query = query.where(audit.c.at <= end)
    if user_name is not None:
        query = query.where(audit.c.user_name == user_name)
    count = connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one()
    ordered = query.order_by(audit.c.at.desc(), audit.c.sequence.desc()).offset(offset).limit(limit)
    return count, [from_row(AuditEntry, row._mapping) for row in connection.execute(ordered)]


def callers(connection: sa.Connection, action: str, since: int, limit: int) -> list[tuple[str, str]]:
    """Return user name and address of the last `limit` successful requests of this action since `since` (epoch
    milliseconds), oldest first."""
    successful = sa.and_(audit.c.at >= since, audit.c.action == action, audit.c.error_code.is_(None))
    newest = sa.select(audit.c.user_name, audit.c.source).where(successful).order_by(audit.c.at.desc()).limit(limit)
    return [(row.user_name, row.source) for row in connection.execute(newest)][::-1]


def forget(connection: sa.Connection, before: int) -> None:
    connection.execute(audit.delete().where(audit.c.at < before))

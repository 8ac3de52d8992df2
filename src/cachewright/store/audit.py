"""Queries on the audit log, and entries that are stored together with the change that they tell of."""

from contextvars import ContextVar

import sqlalchemy as sa

from cachewright.model.audit import AuditEntry
from cachewright.store.rows import columns, from_row, to_row
from cachewright.store.tables import audit


class PendingEntry:
    """The entry of a call that may change something. The first write transaction of the call stores it, so that nothing
    is changed without an entry, and a call that is refused before it has changed anything costs no transaction.

    :ivar entry: the entry as it is known so far.
    :ivar sequence: its number, once a transaction has committed it.
    """

    def __init__(self, entry: AuditEntry) -> None:
        self.entry = entry
        self.sequence: int | None = None
        self._is_open = True

    def close(self) -> None:
        """From now on no transaction stores the entry: the call is over."""
        self._is_open = False

    def stage(self, connection: sa.Connection) -> int | None:
        """Adds the entry to this transaction, unless it is stored already. Returns its number."""
        return add(connection, self.entry) if self._is_open and self.sequence is None else self.sequence

    def committed(self, sequence: int | None) -> None:
        """Called when the transaction that staged the entry is committed."""
        self.sequence = sequence


PENDING: ContextVar[PendingEntry | None] = ContextVar("pending audit entry", default=None)
"""That of the call which this task or thread works for."""


def add(connection: sa.Connection, entry: AuditEntry) -> int:
    """Its sequence number."""
    row = to_row(entry)
    del row["sequence"]
    return int(connection.execute(audit.insert().values(row).returning(audit.c.sequence)).scalar_one())


def end(
    connection: sa.Connection, sequence: int, status: int, error_code: str | None, subjects: tuple[str, ...] = ()
) -> None:
    values = columns(status=status, error_code=error_code, subjects=subjects)
    connection.execute(audit.update().where(audit.c.sequence == sequence).values(values))


def count_again(connection: sa.Connection, sequence: int, request_id: str) -> bool:
    """Counts one more call in the entry of this number and first request; false where there is no such entry."""
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
    """How many there are in all, and one page of them, newest first."""
    found = audit.select().where(audit.c.project_id == project_id)
    if start is not None:
        found = found.where(audit.c.at >= start)
    if end is not None:
        found = found.where(audit.c.at <= end)
    if user_name is not None:
        found = found.where(audit.c.user_name == user_name)
    count = connection.execute(sa.select(sa.func.count()).select_from(found.subquery())).scalar_one()
    ordered = found.order_by(audit.c.at.desc(), audit.c.sequence.desc()).offset(offset).limit(limit)
    return count, [from_row(AuditEntry, row._mapping) for row in connection.execute(ordered)]


def callers(connection: sa.Connection, action: str, since: int, limit: int) -> list[tuple[str, str]]:
    """User name and address of calls of this action that were answered well since then, oldest first."""
    well = sa.and_(audit.c.at >= since, audit.c.action == action, audit.c.error_code.is_(None))
    newest = sa.select(audit.c.user_name, audit.c.source).where(well).order_by(audit.c.at.desc()).limit(limit)
    return [(row.user_name, row.source) for row in connection.execute(newest)][::-1]


def forget(connection: sa.Connection, before: int) -> None:
    connection.execute(audit.delete().where(audit.c.at < before))

"""Queries on the audit log."""

import sqlalchemy as sa

from cachewright.store.records import AuditEntry
from cachewright.store.rows import from_row, to_row
from cachewright.store.tables import audit


def add(connection: sa.Connection, entry: AuditEntry) -> int:
    """Its sequence number."""
    row = to_row(entry)
    del row["sequence"]
    return int(connection.execute(audit.insert().values(row).returning(audit.c.sequence)).scalar_one())


def end(connection: sa.Connection, sequence: int, status: int, error_code: str | None) -> None:
    ended = audit.update().where(audit.c.sequence == sequence).values(status=status, error_code=error_code)
    connection.execute(ended)


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


def forget(connection: sa.Connection, before: int) -> None:
    connection.execute(audit.delete().where(audit.c.at < before))

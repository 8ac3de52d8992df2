"""Queries on write logs."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from cachewright.model.write_logs import EXPIRED, WriteLog
from cachewright.store.database import secret_cipher
from cachewright.store.rows import columns, from_row, to_row
from cachewright.store.tables import write_logs


def add(connection: sa.Connection, log: WriteLog) -> None:
    sealed = msgspec.structs.replace(log, key=secret_cipher(connection).encrypt(log.key))
    connection.execute(write_logs.insert().values(to_row(sealed)))


def change(connection: sa.Connection, log: WriteLog, **values: Any) -> bool:
    """Store new values of a log, and return True, if it has not ended and has no more objects than `log`."""
    is_same = (write_logs.c.objects == log.objects, write_logs.c.ended.is_(None))
    chosen = write_logs.update().where(write_logs.c.id == log.id, *is_same)
    return connection.execute(chosen.values(columns(**values))).rowcount == 1


def end(connection: sa.Connection, log_id: str, reason: str) -> None:
    """Record that a log does not grow any more, and why, unless that is recorded."""
    chosen = write_logs.update().where(write_logs.c.id == log_id, write_logs.c.ended.is_(None))
    connection.execute(chosen.values(ended=reason))


def is_deleted(connection: sa.Connection, log_id: str) -> bool:
    """Whether a log is being deleted, or has been."""
    ended = connection.execute(sa.select(write_logs.c.ended).where(write_logs.c.id == log_id)).one_or_none()
    return ended is None or ended.ended == EXPIRED


def expire(connection: sa.Connection, log_id: str) -> None:
    """Record that nothing can be restored from a log any more."""
    connection.execute(write_logs.update().where(write_logs.c.id == log_id).values(ended=EXPIRED, last=None))


def remove(connection: sa.Connection, log_id: str) -> None:
    connection.execute(write_logs.delete().where(write_logs.c.id == log_id))


def of_instance(connection: sa.Connection, instance_id: str) -> list[WriteLog]:
    """Return the logs of an instance, oldest first."""
    return _read(connection, write_logs.c.instance_id == instance_id)


def of_instances(connection: sa.Connection, instance_ids: Sequence[str]) -> dict[str, list[WriteLog]]:
    """Return the logs of each of these instances, oldest first. Only for the operator, not for clients."""
    found: dict[str, list[WriteLog]] = {instance_id: [] for instance_id in instance_ids}
    for log in _read(connection, write_logs.c.instance_id.in_(instance_ids)):
        found[log.instance_id].append(log)
    return found


def every(connection: sa.Connection) -> list[WriteLog]:
    """Return the logs of all projects, oldest first. Only for the operator, not for clients."""
    return _read(connection, sa.true())


def sizes(connection: sa.Connection, project_id: str | None = None) -> dict[str, int]:
    """Return the bytes of the logs of each project, or of one, without those that are being deleted."""
    table = write_logs
    chosen = [table.c.ended.is_distinct_from(EXPIRED), *([table.c.project_id == project_id] if project_id else [])]
    query = sa.select(table.c.project_id, sa.func.sum(table.c.size).label("size")).where(*chosen)
    return {row.project_id: int(row.size) for row in connection.execute(query.group_by(table.c.project_id))}


def has_any(connection: sa.Connection) -> bool:
    """Whether a log of any project has objects."""
    query = sa.select(sa.literal(1)).where(write_logs.c.objects > 0).limit(1)
    return connection.execute(query).one_or_none() is not None


def _read(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> list[WriteLog]:
    opened = secret_cipher(connection).decrypt
    query = write_logs.select().where(condition).order_by(write_logs.c.created_at, write_logs.c.id)
    found = (from_row(WriteLog, row._mapping) for row in connection.execute(query))
    return [msgspec.structs.replace(log, key=opened(log.key)) for log in found]

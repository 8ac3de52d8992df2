"""Queries on backups."""

from typing import Any

import msgspec
import sqlalchemy as sa

from cachewright.model.backup_policies import ATTRIBUTE, longest_pause, policy_of
from cachewright.model.backups import Backup, BackupState, LastBackup
from cachewright.store.rows import columns, from_row, to_row
from cachewright.store.tables import backups, instances

_NEWEST = (backups.c.created_at.desc(), backups.c.id)


def add(connection: sa.Connection, backup: Backup) -> None:
    connection.execute(backups.insert().values(to_row(backup)))


def find(connection: sa.Connection, project_id: str, backup_id: str) -> Backup | None:
    query = backups.select().where(backups.c.id == backup_id, backups.c.project_id == project_id)
    row = connection.execute(query).one_or_none()
    return from_row(Backup, row._mapping) if row else None


def of_task(connection: sa.Connection, task_id: str) -> Backup | None:
    """Return the newest backup of a task: a restore makes another one at each of its attempts."""
    return next(iter(_read(connection, backups.c.task_id == task_id)), None)


def of_instance(connection: sa.Connection, instance_id: str) -> list[Backup]:
    """Return the backups of an instance, newest first."""
    return _read(connection, backups.c.instance_id == instance_id)


def page(
    connection: sa.Connection,
    project_id: str,
    *,
    offset: int,
    limit: int,
    instance_id: str | None = None,
    start: int | None = None,
    end: int | None = None,
) -> tuple[int, list[Backup]]:
    """Return the number of backups of a project, or of one of its instances, created from `start` to `end` (epoch
    milliseconds), and one page of them, newest first."""
    chosen = [backups.c.project_id == project_id]
    if instance_id is not None:
        chosen.append(backups.c.instance_id == instance_id)
    if start is not None:
        chosen.append(backups.c.created_at >= start)
    if end is not None:
        chosen.append(backups.c.created_at <= end)
    count = connection.execute(sa.select(sa.func.count()).select_from(backups).where(*chosen)).scalar_one()
    query = backups.select().where(*chosen).order_by(*_NEWEST).offset(offset).limit(limit)
    return count, [from_row(Backup, row._mapping) for row in connection.execute(query)]


def sizes(connection: sa.Connection, project_id: str | None = None) -> dict[str, int]:
    """Return the bytes of the good backups of each project, or of one."""
    chosen = [backups.c.state == "succeed", *([backups.c.project_id == project_id] if project_id else [])]
    query = sa.select(backups.c.project_id, sa.func.sum(backups.c.size).label("size")).where(*chosen)
    return {row.project_id: int(row.size) for row in connection.execute(query.group_by(backups.c.project_id))}


def in_states(connection: sa.Connection, *states: BackupState) -> list[Backup]:
    """Return the backups of all projects in one of these states, newest first."""
    return _read(connection, backups.c.state.in_(states))


def has_any(connection: sa.Connection, *states: BackupState) -> bool:
    """Whether a backup of any project is in one of these states."""
    query = sa.select(sa.literal(1)).where(backups.c.state.in_(states)).limit(1)
    return connection.execute(query).one_or_none() is not None


def with_expired(connection: sa.Connection, now: int) -> list[list[Backup]]:
    """Return the good backups of each instance that has one which has expired."""
    due = sa.select(backups.c.instance_id).where(backups.c.state == "succeed", backups.c.expires_at <= now)
    by_instance: dict[str, list[Backup]] = {}
    for backup in _read(connection, (backups.c.state == "succeed") & backups.c.instance_id.in_(due)):
        by_instance.setdefault(backup.instance_id, []).append(backup)
    return list(by_instance.values())


def failed(connection: sa.Connection, *, ended_before: int | None) -> list[Backup]:
    """Return failed backups of which nothing is left since that time (epoch milliseconds); with None those of which
    something may be left."""
    ended = backups.c.ended_at.is_(None) if ended_before is None else backups.c.ended_at <= ended_before
    return _read(connection, (backups.c.state == "failed") & ended)


def last_good(connection: sa.Connection) -> list[LastBackup]:
    """Return the last good backup of each instance of all projects that has one or a schedule. Only for the operator,
    not for clients."""
    good = backups.c.state == "succeed"
    newest = sa.func.row_number().over(
        partition_by=backups.c.instance_id,
        order_by=(sa.func.coalesce(backups.c.taken_at, 0).desc(), backups.c.created_at.desc(), backups.c.id),
    )
    ranked = sa.select(backups.c.id, newest.label("place")).where(good).subquery()
    first = sa.select(ranked.c.id).where(ranked.c.place == 1)
    by_instance = {backup.instance_id: backup for backup in _read(connection, backups.c.id.in_(first))}
    # The text is a quick filter: most instances have no schedule.
    has_backup = instances.c.id.in_(sa.select(backups.c.instance_id).where(good))
    wanted = has_backup | instances.c.attributes.contains(f'"{ATTRIBUTE}"')
    found = []
    for row in connection.execute(sa.select(instances.c.id, instances.c.attributes).where(wanted)):
        last = by_instance.get(row.id)
        policy = policy_of(msgspec.json.decode(row.attributes))
        pause = longest_pause(policy)
        if last is None and not pause:
            continue
        found.append(
            LastBackup(
                instance_id=row.id,
                taken_at=last.taken_at if last else None,
                size=last.size if last else 0,
                seconds=((last.ended_at or last.created_at) - last.created_at) / 1000 if last else 0.0,
                longest_pause_seconds=pause / 1000,
                scheduled_at=policy.updated_at if policy else 0,
            )
        )
    return found


def change(connection: sa.Connection, backup_id: str, **values: Any) -> None:
    connection.execute(backups.update().where(backups.c.id == backup_id).values(columns(**values)))


def remove(connection: sa.Connection, backup_id: str) -> None:
    connection.execute(backups.delete().where(backups.c.id == backup_id))


def _read(connection: sa.Connection, chosen: sa.ColumnElement[bool]) -> list[Backup]:
    query = backups.select().where(chosen).order_by(*_NEWEST)
    return [from_row(Backup, row._mapping) for row in connection.execute(query)]

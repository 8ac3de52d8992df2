"""Queries on migrations from outside and their logs. Passwords, keys and certificates for sources, and URLs are stored
encrypted."""

from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa

from cachewright.model.hosts import EMBEDDED
from cachewright.model.online_migrations import GATEWAY_HOST, MigrationEvent, OnlineMigration
from cachewright.model.tasks import UNFINISHED
from cachewright.store.database import secret_cipher
from cachewright.store.rows import columns, from_row, to_row
from cachewright.store.tables import online_migration_events, online_migrations, tasks

_SECRETS = ("source_password", "source_certificate", "source_key", "source_files")

MOST_EVENTS = 1000
"""Entries that are kept of the log of one migration."""


def add(connection: sa.Connection, migration: OnlineMigration) -> None:
    connection.execute(online_migrations.insert().values(to_row(_sealed(connection, migration))))


def get(connection: sa.Connection, project_id: str, migration_id: str) -> OnlineMigration | None:
    query = online_migrations.select().where(
        online_migrations.c.id == migration_id, online_migrations.c.project_id == project_id
    )
    row = connection.execute(query).one_or_none()
    return _opened(connection, row) if row else None


def of_project(connection: sa.Connection, project_id: str) -> list[OnlineMigration]:
    """Return the migrations of a project, newest first."""
    query = online_migrations.select().where(online_migrations.c.project_id == project_id)
    newest = query.order_by(online_migrations.c.created_at.desc(), online_migrations.c.id)
    return [_opened(connection, row) for row in connection.execute(newest)]


def running(connection: sa.Connection) -> set[str]:
    """Return the ids of migrations whose background task has not ended."""
    joined = online_migrations.join(tasks, tasks.c.id == online_migrations.c.task_id)
    query = sa.select(online_migrations.c.id).select_from(joined).where(tasks.c.status.in_(UNFINISHED))
    return set(connection.execute(query).scalars())


def places_of_running(connection: sa.Connection) -> dict[str, str]:
    """Return the host of the gateways of each migration whose background task has not ended, by its id."""
    joined = online_migrations.join(tasks, tasks.c.id == online_migrations.c.task_id)
    found = sa.select(online_migrations.c.id, online_migrations.c.attributes).select_from(joined)
    rows = connection.execute(found.where(tasks.c.status.in_(UNFINISHED)))
    return {row.id: msgspec.json.decode(row.attributes).get(GATEWAY_HOST, EMBEDDED) for row in rows}


def put(connection: sa.Connection, migration: OnlineMigration) -> None:
    """Store a migration, in place of its former record."""
    connection.execute(online_migrations.delete().where(online_migrations.c.id == migration.id))
    add(connection, migration)


def change(connection: sa.Connection, migration_id: str, **values: Any) -> None:
    """Store new values of columns, except for secrets."""
    connection.execute(
        online_migrations.update().where(online_migrations.c.id == migration_id).values(columns(**values))
    )


def remove(connection: sa.Connection, migration_id: str) -> None:
    """Delete a migration with its log."""
    connection.execute(online_migration_events.delete().where(online_migration_events.c.migration_id == migration_id))
    connection.execute(online_migrations.delete().where(online_migrations.c.id == migration_id))


def log(connection: sa.Connection, event: MigrationEvent) -> None:
    """Add an entry to the log of a migration, of which the newest are kept."""
    table = online_migration_events
    connection.execute(table.insert().values(to_row(event)))
    of_migration = table.c.migration_id == event.migration_id
    kept = sa.select(table.c.sequence).where(of_migration).order_by(table.c.sequence.desc())
    oldest = connection.execute(kept.offset(MOST_EVENTS).limit(1)).scalar()
    if oldest is not None:
        connection.execute(table.delete().where(of_migration, table.c.sequence <= oldest))


def events(
    connection: sa.Connection, migration_id: str, level: str | None, *, offset: int, limit: int
) -> tuple[int, list[MigrationEvent]]:
    """Return the number of entries, and one page of them, newest first."""
    table = online_migration_events
    chosen = [table.c.migration_id == migration_id, *([table.c.level == level] if level else [])]
    count = connection.execute(sa.select(sa.func.count()).select_from(table).where(*chosen)).scalar_one()
    query = table.select().where(*chosen).order_by(table.c.sequence.desc()).offset(offset).limit(limit)
    return count, [from_row(MigrationEvent, row._mapping) for row in connection.execute(query)]


def _sealed(connection: sa.Connection, migration: OnlineMigration) -> OnlineMigration:
    return _with_secrets(migration, secret_cipher(connection).encrypt)


def _opened(connection: sa.Connection, row: sa.Row[tuple[Any, ...]]) -> OnlineMigration:
    return _with_secrets(from_row(OnlineMigration, row._mapping), secret_cipher(connection).decrypt)


def _with_secrets(migration: OnlineMigration, convert: Callable[[str], str]) -> OnlineMigration:
    """Return the migration with its secrets converted."""
    values = {name: getattr(migration, name) for name in _SECRETS}
    return msgspec.structs.replace(migration, **{name: convert(text) for name, text in values.items() if text})

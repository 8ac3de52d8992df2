"""Queries on signing keys."""

import sqlalchemy as sa

from cachewright.store.records import AccessKey
from cachewright.store.rows import from_row, to_row
from cachewright.store.tables import access_keys


def add(connection: sa.Connection, key: AccessKey) -> None:
    connection.execute(access_keys.insert().values(to_row(key)))


def get(connection: sa.Connection, access_key: str) -> AccessKey | None:
    row = connection.execute(access_keys.select().where(access_keys.c.access_key == access_key)).one_or_none()
    return from_row(AccessKey, row._mapping) if row else None


def first(connection: sa.Connection) -> AccessKey | None:
    """The key that the server made at its first start."""
    row = connection.execute(access_keys.select().order_by(access_keys.c.created_at).limit(1)).one_or_none()
    return from_row(AccessKey, row._mapping) if row else None

"""Queries on signing keys. Their secrets are stored encrypted."""

import msgspec
import sqlalchemy as sa

from cachewright.model.identity import AccessKey
from cachewright.store.database import secret_cipher
from cachewright.store.rows import from_row, to_row
from cachewright.store.tables import access_keys


def add(connection: sa.Connection, key: AccessKey) -> None:
    encrypted = msgspec.structs.replace(key, secret_key=secret_cipher(connection).encrypt(key.secret_key))
    connection.execute(access_keys.insert().values(to_row(encrypted)))


def get(connection: sa.Connection, access_key: str) -> AccessKey | None:
    row = connection.execute(access_keys.select().where(access_keys.c.access_key == access_key)).one_or_none()
    return _with_decrypted_secret(connection, row) if row else None


def every(connection: sa.Connection) -> list[AccessKey]:
    """Return all keys, oldest first."""
    rows = connection.execute(access_keys.select().order_by(access_keys.c.created_at, access_keys.c.access_key))
    return [_with_decrypted_secret(connection, row) for row in rows]


def enable(connection: sa.Connection, access_key: str, enabled: bool) -> bool:
    """Enable or disable a key. Return False if there is no such key."""
    statement = access_keys.update().where(access_keys.c.access_key == access_key).values(enabled=enabled)
    return bool(connection.execute(statement).rowcount)


def remove(connection: sa.Connection, access_key: str) -> bool:
    """Delete a key. Return False if there was no such key."""
    return bool(connection.execute(access_keys.delete().where(access_keys.c.access_key == access_key)).rowcount)


def _with_decrypted_secret(connection: sa.Connection, row: sa.Row[tuple[object, ...]]) -> AccessKey:
    key = from_row(AccessKey, row._mapping)
    return msgspec.structs.replace(key, secret_key=secret_cipher(connection).decrypt(key.secret_key))

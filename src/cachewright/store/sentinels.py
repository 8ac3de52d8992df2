"""Queries on sentinels. Their secret is stored encrypted."""

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from cachewright.model.sentinels import Sentinel
from cachewright.store.database import secret_cipher
from cachewright.store.rows import from_row, to_row
from cachewright.store.tables import sentinels


def fleet(connection: sa.Connection) -> list[Sentinel]:
    """Return all sentinels, ordered by id."""
    opened = secret_cipher(connection).decrypt
    rows = connection.execute(sentinels.select().order_by(sentinels.c.id))
    found = [from_row(Sentinel, row._mapping) for row in rows]
    return [msgspec.structs.replace(sentinel, secret=opened(sentinel.secret)) for sentinel in found]


def add(connection: sa.Connection, added: Sequence[Sentinel]) -> None:
    encrypt = secret_cipher(connection).encrypt
    rows = [to_row(msgspec.structs.replace(sentinel, secret=encrypt(sentinel.secret))) for sentinel in added]
    connection.execute(sentinels.insert(), rows)


def change_port(connection: sa.Connection, sentinel_id: str, port: int) -> None:
    connection.execute(sentinels.update().where(sentinels.c.id == sentinel_id).values(port=port))


def remove_all(connection: sa.Connection) -> None:
    connection.execute(sentinels.delete())

"""Queries on sentinels. Their secret and their authority are stored encrypted."""

from collections.abc import Callable, Sequence

import msgspec
import sqlalchemy as sa

from cachewright.model.sentinels import Sentinel
from cachewright.store.database import secret_cipher
from cachewright.store.rows import from_row, to_row
from cachewright.store.tables import sentinels


def fleet(connection: sa.Connection) -> list[Sentinel]:
    """Return all sentinels, ordered by id."""
    cipher = secret_cipher(connection)
    rows = connection.execute(sentinels.select().order_by(sentinels.c.id))
    found = [from_row(Sentinel, row._mapping) for row in rows]
    return [_changed(sentinel, cipher.decrypt) for sentinel in found]


def add(connection: sa.Connection, added: Sequence[Sentinel]) -> None:
    encrypt = secret_cipher(connection).encrypt
    connection.execute(sentinels.insert(), [to_row(_changed(sentinel, encrypt)) for sentinel in added])


def change_place(connection: sa.Connection, sentinel_id: str, *, host_name: str, host: str, port: int) -> None:
    """Record where a sentinel runs."""
    values = {"host_name": host_name, "host": host, "port": port}
    connection.execute(sentinels.update().where(sentinels.c.id == sentinel_id).values(values))


def host_of(connection: sa.Connection, sentinel_id: str) -> str | None:
    """Return the name of the host of a sentinel, or None if the sentinel is not recorded."""
    query = sa.select(sentinels.c.host_name).where(sentinels.c.id == sentinel_id)
    return connection.execute(query).scalar_one_or_none()


def places(connection: sa.Connection) -> dict[str, str]:
    """Return the name of the host of each sentinel, by id."""
    rows = connection.execute(sa.select(sentinels.c.id, sentinels.c.host_name))
    return {row.id: row.host_name for row in rows}


def on_host(connection: sa.Connection, host_name: str) -> list[str]:
    """Return the ids of the sentinels of a host, ordered."""
    query = sa.select(sentinels.c.id).where(sentinels.c.host_name == host_name)
    return list(connection.execute(query.order_by(sentinels.c.id)).scalars())


def tls_on_host(connection: sa.Connection, host_name: str) -> dict[str, bool]:
    """Return whether each sentinel of a host uses TLS, by id."""
    uses_tls = sentinels.c.authority.is_not(None).label("uses_tls")
    rows = connection.execute(sa.select(sentinels.c.id, uses_tls).where(sentinels.c.host_name == host_name))
    return {row.id: bool(row.uses_tls) for row in rows}


def is_readable(connection: sa.Connection) -> bool:
    """Whether the role of this connection may read where sentinels run. For PostgreSQL."""
    asked = sa.func.has_column_privilege("sentinels", "host_name", "SELECT")
    return bool(connection.execute(sa.select(asked)).scalar_one())


def remove(connection: sa.Connection, *, tls: bool) -> None:
    """Remove all sentinels that use TLS, or all others."""
    connection.execute(sentinels.delete().where(sentinels.c.authority.is_not(None) == tls))


def _changed(sentinel: Sentinel, change: Callable[[str], str]) -> Sentinel:
    """Return a sentinel with other forms of its secret and of the private key of its authority."""
    authority = None if sentinel.authority is None else change(sentinel.authority)
    return msgspec.structs.replace(sentinel, secret=change(sentinel.secret), authority=authority)

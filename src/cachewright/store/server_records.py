"""Queries on servers that run, and on their times with the claim to perform tasks."""

from collections.abc import Mapping

import sqlalchemy as sa

from cachewright.clock import now_ms
from cachewright.model.servers import ServerRecord, Takeover, TakeoverCause
from cachewright.store.database_time import database_seconds
from cachewright.store.rows import from_row, to_row
from cachewright.store.tables import servers, takeovers


def every(connection: sa.Connection) -> list[ServerRecord]:
    """Return all servers, ordered by machine and start."""
    query = servers.select().order_by(servers.c.machine, servers.c.started_at)
    return [from_row(ServerRecord, row._mapping) for row in connection.execute(query)]


def saw(connection: sa.Connection, server: ServerRecord) -> None:
    """Store the report of a server. It replaces that of an earlier process of its data directory, which has ended."""
    row = connection.execute(servers.select().where(servers.c.id == server.id)).one_or_none()
    if row is not None and row.epoch is not None and row.epoch != server.epoch:
        end(connection, row.epoch, row.seen_at)
    forget(connection, server.id)
    connection.execute(servers.insert().values(to_row(server)))


def forget(connection: sa.Connection, server_id: str) -> None:
    connection.execute(servers.delete().where(servers.c.id == server_id))


def forget_silent(connection: sa.Connection, before: int) -> None:
    """Delete servers that have not reported since `before`."""
    connection.execute(servers.delete().where(servers.c.seen_at < before))


def history(connection: sa.Connection, limit: int) -> list[Takeover]:
    """Return the latest takeovers, newest first."""
    query = takeovers.select().order_by(takeovers.c.epoch.desc()).limit(limit)
    return [from_row(Takeover, row._mapping) for row in connection.execute(query)]


def latest_by_cause(connection: sa.Connection) -> Mapping[TakeoverCause, int]:
    """Return the time of the latest takeover of each cause."""
    query = sa.select(takeovers.c.cause, sa.func.max(takeovers.c.began_at).label("at")).group_by(takeovers.c.cause)
    return {row.cause: row.at for row in connection.execute(query)}


def add_takeover(connection: sa.Connection, takeover: Takeover) -> None:
    """Store a takeover, and end the one before it. No effect if it is stored."""
    if connection.execute(sa.select(takeovers.c.epoch).where(takeovers.c.epoch == takeover.epoch)).first():
        return
    for before in connection.execute(takeovers.select().where(takeovers.c.ended_at.is_(None))).all():
        seen_at = connection.execute(sa.select(servers.c.seen_at).where(servers.c.epoch == before.epoch)).scalar()
        end(connection, before.epoch, seen_at or takeover.began_at)
    connection.execute(takeovers.insert().values(to_row(takeover)))


def end(connection: sa.Connection, epoch: int, ended_at: int) -> None:
    """Store when a server stopped to perform tasks, unless that is known."""
    ending = takeovers.update().where(takeovers.c.epoch == epoch, takeovers.c.ended_at.is_(None))
    connection.execute(ending.values(ended_at=ended_at))


def forget_takeovers(connection: sa.Connection, before: int) -> None:
    """Delete takeovers that ended before `before`."""
    connection.execute(takeovers.delete().where(takeovers.c.ended_at < before))


def now(connection: sa.Connection) -> int:
    """Return the time of the database in epoch milliseconds. Servers on PostgreSQL may be on machines with different
    clocks."""
    if connection.dialect.name != "postgresql":
        return now_ms()
    return int(database_seconds(connection) * 1000)

"""The servers on the database: which of them run, which one performs tasks, and when that changed."""

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from cachewright.model.servers import ServerRecord, Takeover
from cachewright.store import server_claims, server_records
from cachewright.store.database import Database

SILENT_SECONDS = 15.0
"""Time without a report after which a server counts as silent. It is longer than the pauses between reports."""

_LATEST = 100


class ServerDetails(msgspec.Struct, frozen=True, kw_only=True):
    """A server as it is now.

    :ivar performs_tasks: it has the claim to perform tasks.
    :ivar performs_since: when it took the claim, epoch milliseconds; None without it, and on SQLite.
    :ivar seen_seconds: time since its latest report.
    """

    record: ServerRecord
    performs_tasks: bool
    performs_since: int | None
    seen_seconds: float

    @property
    def is_silent(self) -> bool:
        return self.seen_seconds > SILENT_SECONDS


class ServerOverview(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar epoch: of the claim to perform tasks; it increases with each takeover. 0 on SQLite.
    :ivar takeovers: the latest ones, newest first.
    """

    epoch: int
    servers: Sequence[ServerDetails]
    takeovers: Sequence[Takeover]


class ServerQueries(msgspec.Struct, frozen=True):
    database: Database

    def overview(self) -> ServerOverview:
        with self.database.read() as connection:
            return overview(connection)


def overview(connection: sa.Connection) -> ServerOverview:
    """Return all servers that run or have not ended in order, and the latest takeovers."""
    claim, history = server_claims.get(connection), server_records.history(connection, _LATEST)
    began = {takeover.epoch: takeover.began_at for takeover in history}
    now = server_records.now(connection)
    # Only servers on PostgreSQL use the claim. One on SQLite is alone.
    holder = None if claim.is_released else (claim.server_id, claim.epoch)
    servers = []
    for record in server_records.every(connection):
        seen_seconds = max(0.0, (now - record.seen_at) / 1000)
        is_alone = not claim.server_id and seen_seconds <= SILENT_SECONDS
        performs_tasks = is_alone or (record.id, record.epoch) == holder
        details = ServerDetails(
            record=record,
            performs_tasks=performs_tasks,
            performs_since=began.get(claim.epoch) if performs_tasks else None,
            seen_seconds=seen_seconds,
        )
        servers.append(details)
    return ServerOverview(epoch=claim.epoch, servers=servers, takeovers=history)

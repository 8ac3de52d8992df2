"""The claim to perform tasks: queries on it, and when another server may take it.

Servers on one PostgreSQL database answer requests; one of them has the claim and performs tasks. It renews the claim
every two seconds. A server that sees no renewal for some time takes it, with the next epoch. Each server measures times
by its own clock, and none are compared.
"""

from collections.abc import Callable

import msgspec
import sqlalchemy as sa

from cachewright.model.hosts import EMBEDDED
from cachewright.model.servers import TakeoverCause
from cachewright.store.rows import from_row
from cachewright.store.tables import nodes, server_claims

RENEW_SECONDS = 2.0
VALID_SECONDS = 7.0
"""Time after the begin of its last renewal in which a server may rely on its claim."""

REPLACE_SECONDS = 9.0
"""Time without a renewal after which another server takes the claim. It is longer than `VALID_SECONDS`, so the former
holder has stopped before its successor begins."""


class ServerClaim(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar epoch: increases with each takeover.
    :ivar server_id: the latest holder; it identifies a data directory.
    :ivar session: name of the database sessions of the holder's process.
    :ivar machine: name of the holder's machine, for messages.
    :ivar renewals: number of renewals in this epoch.
    :ivar is_released: the holder has stopped and performs no tasks.
    """

    epoch: int
    server_id: str
    session: str
    machine: str
    renewals: int
    is_released: bool


class ClaimWatch:
    """Decides when a server may take the claim, from what it reads.

    :ivar server_id: of the server that watches.
    """

    def __init__(self, server_id: str, clock: Callable[[], float]) -> None:
        self.server_id = server_id
        self._clock = clock
        self._seen: ServerClaim | None = None
        self._since = 0.0

    def may_take(self, claim: ServerClaim, asked_at: float, *, has_sessions: bool) -> bool:
        """Whether the server may take the claim that it has read. Its own data directory is locked, so a former
        process of the same server has ended. But the directory of a holder with sessions is a copy.

        An answer that came late tells nothing: the database may have stood still, and the holder could not renew it.

        :param has_sessions: the holder's process has sessions on the database server.
        """
        if claim != self._seen or self._clock() - asked_at > RENEW_SECONDS:
            self._seen, self._since = claim, self._clock()
        over = self._clock() - self._since >= REPLACE_SECONDS
        return over or claim.is_released or (claim.server_id == self.server_id and not has_sessions)

    def missed(self) -> None:
        """Begin again after the claim could not be read: its holder could not renew it either."""
        self._seen = None


def cause(seen: ServerClaim, server_id: str) -> TakeoverCause:
    """Return why a server takes the claim that it has seen. Pure."""
    if not seen.server_id:
        return "first"
    if seen.is_released:
        return "stopped"
    return "restarted" if seen.server_id == server_id else "silent"


def get(connection: sa.Connection) -> ServerClaim:
    return from_row(ServerClaim, connection.execute(server_claims.select()).one()._mapping)


def epoch(connection: sa.Connection) -> int:
    found: int = connection.execute(sa.select(server_claims.c.epoch)).scalar_one()
    return found


def take(connection: sa.Connection, seen: ServerClaim, server_id: str, session: str, machine: str) -> int | None:
    """Take the claim if it is still as it was seen. Return the new epoch, None if it has changed."""
    columns = server_claims.c
    unchanged = (columns.epoch == seen.epoch, columns.renewals == seen.renewals, columns.session == seen.session)
    values = {"server_id": server_id, "session": session, "machine": machine, "is_released": False, "renewals": 0}
    taken = connection.execute(server_claims.update().where(*unchanged).values(epoch=seen.epoch + 1, **values))
    return seen.epoch + 1 if taken.rowcount else None


def renew(connection: sa.Connection, epoch: int, session: str) -> bool:
    """Renew the claim of this epoch and session. False if another server has taken it. The epoch alone may come again
    after the database was restored from a backup."""
    return connection.execute(_own(epoch, session).values(renewals=server_claims.c.renewals + 1)).rowcount == 1


def release(connection: sa.Connection, epoch: int, session: str) -> None:
    connection.execute(_own(epoch, session).values(is_released=True))


def _own(epoch: int, session: str) -> sa.Update:
    return server_claims.update().where(server_claims.c.epoch == epoch, server_claims.c.session == session)


def own_nodes(connection: sa.Connection) -> int:
    """Return the number of nodes that run on the machine of the claim's latest holder, without an agent."""
    count = sa.select(sa.func.count()).select_from(nodes).where(nodes.c.host_name == EMBEDDED)
    return int(connection.execute(count).scalar_one())

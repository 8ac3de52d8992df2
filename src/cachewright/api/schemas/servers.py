"""Shapes of the servers."""

import msgspec

from cachewright.api.schemas import iso, rfc3339
from cachewright.model.servers import Takeover, TakeoverCause
from cachewright.services.servers import ServerDetails, ServerOverview


class ShownServer(msgspec.Struct, frozen=True, kw_only=True):
    """A server. Times are those of the database.

    :ivar id: identifies the data directory of the server.
    :ivar listen: address and port of its API.
    :ivar performs_tasks: it has the claim to perform tasks.
    :ivar performs_since: when it took the claim; null without it, and on SQLite.
    :ivar epoch: of the claim that it has or had; null if it never had it.
    :ivar seen_at: its latest report.
    :ivar seen_seconds: time since then.
    :ivar reporting: whether that is recent.
    """

    id: str
    machine: str
    pid: int
    release: str
    listen: str
    started_at: str
    performs_tasks: bool
    performs_since: str | None
    epoch: int | None
    seen_at: str
    seen_seconds: float
    reporting: bool


class ShownTakeover(msgspec.Struct, frozen=True, kw_only=True):
    """A time in which one server performed tasks.

    :ivar cause: why the server took the claim: `first`; `stopped`, its holder was stopped; `restarted`, its holder
        ended otherwise and was started again; `silent`, its holder did not renew it.
    :ivar ended_at: when it was stopped, or its latest report; null for the present holder.
    """

    epoch: int
    server_id: str
    machine: str
    pid: int
    cause: TakeoverCause
    began_at: str
    ended_at: str | None


class ServerList(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar epoch: of the claim to perform tasks; it increases with each takeover. 0 on SQLite.
    :ivar takeovers: the latest ones, newest first.
    """

    epoch: int
    servers: list[ShownServer]
    takeovers: list[ShownTakeover]


def server_list(found: ServerOverview) -> ServerList:
    return ServerList(
        epoch=found.epoch,
        servers=[shown_server(details) for details in found.servers],
        takeovers=[shown_takeover(takeover) for takeover in found.takeovers],
    )


def shown_server(details: ServerDetails) -> ShownServer:
    record = details.record
    return ShownServer(
        id=record.id,
        machine=record.machine,
        pid=record.pid,
        release=record.release,
        listen=record.listen,
        started_at=rfc3339(record.started_at),
        performs_tasks=details.performs_tasks,
        performs_since=iso(details.performs_since),
        epoch=record.epoch,
        seen_at=rfc3339(record.seen_at),
        seen_seconds=round(details.seen_seconds, 1),
        reporting=not details.is_silent,
    )


def shown_takeover(takeover: Takeover) -> ShownTakeover:
    return ShownTakeover(
        epoch=takeover.epoch,
        server_id=takeover.server_id,
        machine=takeover.machine,
        pid=takeover.pid,
        cause=takeover.cause,
        began_at=rfc3339(takeover.began_at),
        ended_at=iso(takeover.ended_at),
    )

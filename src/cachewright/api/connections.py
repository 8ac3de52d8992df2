"""Open connections of the HTTP server, and the choice of connections to close.

The HTTP server limits the time between requests of HTTP/1 only. It has no limit for connections that never send a byte,
for idle HTTP/2 connections, or for the number of connections of one address. `Connections` counts requests. `to_close`
decides by these counts and the open sockets. `api.sockets` lists and closes sockets.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from cachewright.config import RequestLimits

Client = tuple[str, str]
"""Address and port as the HTTP server reports them, both as text."""

REASONS = ("no request", "idle", "too many of one address", "too many", "server stops")
NO_REQUEST, IDLE, TOO_MANY_OF_ADDRESS, TOO_MANY, STOP = REASONS
_ANSWER_SECONDS = 0.5
"""Time after the end of a request in which its response may still be in transit."""
_FULL = 0.9
"""Share of the maximum number of connections above which idle ones are closed for new ones."""


class Requests:
    """Requests of one connection.

    :ivar under_way: number of unfinished requests.
    :ivar identified: number of unfinished requests with a known sender.
    :ivar last: time of the last begin or end of a request, by `time.perf_counter`.
    """

    __slots__ = ("identified", "last", "under_way")

    def __init__(self) -> None:
        self.under_way = 0
        self.identified = 0
        self.last = 0.0


class Connections:
    """Requests of each connection, for one event loop.

    :ivar closing: whether the server is stopping.
    """

    def __init__(self) -> None:
        self._requests: dict[object, Requests] = {}  # by Client, for which ASGI has another type
        self.closing = False

    def begin(self, client: object, now: float) -> Requests:
        """Count a request. The caller must pass the result to `end`."""
        requests = self._requests.get(client)
        if requests is None:
            requests = self._requests[client] = Requests()
        requests.under_way += 1
        requests.last = now
        return requests

    def end(self, requests: Requests, identified: bool) -> None:
        requests.under_way -= 1
        requests.identified -= identified
        requests.last = time.perf_counter()

    def of(self, client: Client) -> Requests | None:
        """Return the requests of a connection, or None if it has sent none."""
        return self._requests.get(client)

    def forget(self, open_clients: set[Client], before: float) -> None:
        """Drop the counts of closed connections. `before` is the time at which the open ones were listed."""
        for client, requests in list(self._requests.items()):
            if requests.under_way == 0 and requests.last < before and client not in open_clients:
                del self._requests[client]


class Connection(msgspec.Struct, frozen=True):
    """One open connection.

    :ivar socket: key of its socket.
    :ivar address: result of `hosts.addresses.network`.
    :ivar opened: time at which it was first listed.
    :ivar last: time of the last begin or end of a request; None before the first request.
    """

    socket: int
    address: str
    opened: float
    last: float | None = None
    under_way: int = 0
    identified: int = 0

    @property
    def active(self) -> float:
        return self.opened if self.last is None else max(self.opened, self.last)


def to_close(connections: Sequence[Connection], limits: RequestLimits, most: int, now: float) -> dict[int, str]:
    """Return the sockets to close, each with the reason. `most` is the number of connections that the server accepts.

    If one address has too many connections, idle ones are closed first, then those with an unknown sender, then the
    newest. If all addresses together have too many, connections with an identified sender are never closed.
    """
    closed: dict[int, str] = {}
    by_address: defaultdict[str, list[Connection]] = defaultdict(list)
    for connection in connections:
        if reason := _overdue(connection, limits, now):
            closed[connection.socket] = reason
        else:
            by_address[connection.address].append(connection)
    for of_address in by_address.values():
        for connection in _excess(of_address, limits.connections_per_address):
            closed[connection.socket] = TOO_MANY_OF_ADDRESS
    remaining = [connection for connection in connections if connection.socket not in closed]
    for connection in _excess(remaining, int(most * _FULL)):
        if not connection.identified:
            closed[connection.socket] = TOO_MANY
    return closed


def to_close_at_end(connections: Iterable[Connection], now: float) -> dict[int, str]:
    """Return the sockets to close when the server stops: those without a request of a known sender."""
    return {
        connection.socket: STOP
        for connection in connections
        if not connection.identified and (connection.under_way or now - connection.active > _ANSWER_SECONDS)
    }


def _overdue(connection: Connection, limits: RequestLimits, now: float) -> str | None:
    if connection.under_way:
        return None
    if connection.last is None:
        return NO_REQUEST if now - connection.opened > limits.first_request_seconds else None
    return IDLE if now - connection.active > limits.idle_seconds else None


def _excess(connections: Sequence[Connection], most: int) -> Sequence[Connection]:
    count = len(connections) - most
    return sorted(connections, key=_closing_order)[:count] if count > 0 else ()


def _closing_order(connection: Connection) -> tuple[int, float]:
    """Sort key of connections, by which those to close first come first."""
    if not connection.under_way:
        return 0, connection.active
    return (2, -connection.opened) if connection.identified else (1, connection.active)

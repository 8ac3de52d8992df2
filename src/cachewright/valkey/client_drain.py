"""Close the connections of clients to a node that leaves its cluster or restarts.

A connection can hold something that is lost when it closes: a subscription, a MONITOR, a blocked command, an open
transaction. Such connections get a period of grace, and so do those of libraries that would lose requests because they
still send them to this node. Others are closed when they have been silent for a moment, each right after a check that
it still is, so that no command is lost in flight.

Source: CLIENT LIST and CLIENT KILL of Valkey 9.1.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

import msgspec

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.acl import INTERNAL_USERS
from cachewright.valkey.client import CONTROL_PLANE, NODE_GONE, NodeRefused, Valkey, ask, connect

SILENT_SECONDS = 0.3
"""Time without a command after which a connection counts as silent."""

_ACTIVE_SECONDS, _LATE_SECONDS = 5.0, 2.0
"""Seconds after which connections that are never silent are closed between two commands, and the seconds for that."""

_CHECKED_ONE_BY_ONE = 500
"""Maximum number of connections that are checked once more before they are closed. Each check costs two requests."""

_POLL_SECONDS = 0.1
"""Interval of requests for a node's list of clients. It is long because the node lists all of them each time."""

_KILLED_AT_ONCE = 1000
_SILENT = ("IDLE", "1")
"""Condition of CLIENT KILL: the connection has had no command in the present second of the node's clock. The node tests
it itself, so that no command is lost that arrives after the list of clients."""

_OTHERS = "others"
_KIND_OF_FLAG = {"O": "monitors", "P": "subscribers", "b": "blocked", "x": "transactions"}
_INTERNAL_FLAGS = frozenset("SM")

_STALE = "stale"
_KEEP_UNTIL_REDIRECTED = ("node-redis",)
"""Prefixes of the names of libraries that have a connection to a node as long as their map of the cluster says that the
node owns slots. They read the map again when a node redirects a request (MOVED). A request to a node that does not
accept connections fails after 5 s, and only then they read the map of another node."""


class Connection(msgspec.Struct, frozen=True):
    """A connection of a client.

    :ivar kind: what the connection holds; `others` if nothing; `stale` if its client has not learnt yet that the node
        owns no slots.
    :ivar commands: number of its commands so far.
    :ivar is_waiting: the node has not read or answered all of its commands.
    """

    id: str
    kind: str
    commands: int
    is_waiting: bool

    @property
    def holds(self) -> bool:
        return self.kind != _OTHERS


def client_connections(
    rows: Iterable[Mapping[str, str]], *, by_name: bool, redirects: bool = False
) -> list[Connection]:
    """Return the connections of clients in the rows of CLIENT LIST, without those of the control plane and of other
    nodes. For `by_name` see `is_client`, for `redirects` see `Drain`."""
    return [
        Connection(
            id=row["id"],
            kind=_kind(row, redirects=redirects),
            commands=int(row.get("tot-cmds", 0)),
            is_waiting=any(row.get(field, "0") != "0" for field in ("qbuf", "obl", "oll")),
        )
        for row in rows
        if is_client(row, by_name=by_name)
    ]


def _kind(row: Mapping[str, str], *, redirects: bool) -> str:
    """Return the kind of a connection. One that reads from a replica (READONLY, flag `r`) is not redirected."""
    if held := next((kind for flag, kind in _KIND_OF_FLAG.items() if flag in row["flags"]), None):
        return held
    is_stale = redirects and "r" not in row["flags"] and row.get("lib-name", "").startswith(_KEEP_UNTIL_REDIRECTED)
    return _STALE if is_stale else _OTHERS


def is_client(row: Mapping[str, str], *, by_name: bool) -> bool:
    """Whether a row of CLIENT LIST is the connection of a client, not one of the control plane or of another node. The
    control plane has no user before its first command, but only it connects to the socket of a node.

    :param by_name: connections with the name of the control plane are its own. Any client may choose that name, so this
        is only for nodes where the control plane has no user (`knows_by_name`).
    """
    return (
        row.get("user") not in INTERNAL_USERS
        and not (by_name and row.get("name") == CONTROL_PLANE)
        and not _INTERNAL_FLAGS & set(row["flags"])
        and not row.get("addr", "").startswith("/")
    )


def knows_by_name(node: Node) -> bool:
    """Whether only their names distinguish connections of the control plane to the node: an earlier release started it,
    without a user for the control plane."""
    return node.access == "password"


class Silence:
    """For how long each connection has been silent."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[int, float]] = {}

    def silent(self, connections: Iterable[Connection], now: float, seconds: float = SILENT_SECONDS) -> set[str]:
        """Return the ids of connections that have sent nothing for `seconds` and hold nothing. `now` is in seconds and
        grows with every call."""
        before, self._since = self._since, {}
        ids = set()
        for connection in connections:
            commands, since = before.get(connection.id, (connection.commands, now))
            if commands != connection.commands or connection.is_waiting or connection.holds:
                since = now
            self._since[connection.id] = connection.commands, since
            if now - since >= seconds and not connection.is_waiting and not connection.holds:
                ids.add(connection.id)
        return ids


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    """How connections of a node end.

    :ivar grace_seconds: time for connections that hold something.
    :ivar has_successor: another node serves the clients, so that all connections are closed before this node ends.
    Without one, clients that hold nothing use the node until it ends.
    :ivar redirects: the node redirects all requests to other nodes of its cluster, because it owns no slots.
    :ivar local_address: only connections to this address of the node, `host:port`; empty for all.
    """

    grace_seconds: float
    has_successor: bool
    redirects: bool = False
    local_address: str = ""

    def grace_of(self, holding: Mapping[str, int]) -> float:
        """Seconds for which the node waits for these connections, by kind. Those that are stale get at least as much as
        active ones: most learn the new owner by their next request."""
        return max(self.grace_seconds, _ACTIVE_SECONDS) if holding.get(_STALE) else self.grace_seconds


async def drain_clients(
    node: Node, access: Access, drain: Drain, report: Callable[[Mapping[str, int], float], None]
) -> Mapping[str, int]:
    """Wait for the clients of a node, then close their connections. Return how many connections of each kind were
    closed although they held something or were active. Return if the node does not answer. Raises NodeRefused.

    :param report: called with the number of connections that hold something, by kind, and the rest of the grace in
    seconds; it may raise an error to end the wait.
    """
    begun_at = time.monotonic()
    silence, by_name = Silence(), knows_by_name(node)
    with suppress(*NODE_GONE):
        async with connect(node, access) as client:
            while True:
                now = time.monotonic()
                connections = await _connections(client, by_name, drain.local_address, redirects=drain.redirects)
                if drain.has_successor:
                    is_late = now - begun_at > _ACTIVE_SECONDS
                    silent = silence.silent(connections, now, 0.0 if is_late else SILENT_SECONDS)
                    unused = [found for found in connections if found.id in silent]
                    closed = await _close_unused(client, by_name, unused, () if is_late else _SILENT)
                    connections = [connection for connection in connections if connection.id not in closed]
                holding = Counter(connection.kind for connection in connections if connection.holds)
                grace = drain.grace_of(holding) - (now - begun_at)
                report(holding, max(grace, 0.0))
                is_active = drain.has_successor and len(connections) > holding.total()
                waits_for_active = is_active and now - begun_at < _ACTIVE_SECONDS + _LATE_SECONDS
                if not (holding and grace > 0) and not waits_for_active:
                    if drain.has_successor:
                        await kill(client, [connection.id for connection in connections])
                    return Counter(connection.kind for connection in connections)
                await asyncio.sleep(_POLL_SECONDS)
    return {}


async def count_holding(nodes: Iterable[Node], access: Access) -> dict[str, int]:
    """Return the number of connections that hold something, by node id; 0 for a node that does not answer or
    refuses."""

    async def count(node: Node) -> tuple[str, int]:
        with suppress(*NODE_GONE, NodeRefused):
            async with connect(node, access) as client:
                return node.id, sum(connection.holds for connection in await _connections(client, knows_by_name(node)))
        return node.id, 0

    return dict(await asyncio.gather(*map(count, nodes)))


async def has_clients(node: Node, access: Access) -> bool:
    """Whether clients are connected to the node; False if it does not answer or refuses."""
    with suppress(*NODE_GONE, NodeRefused):
        async with connect(node, access) as client:
            return bool(await _connections(client, knows_by_name(node)))
    return False


async def _connections(
    client: Valkey, by_name: bool, local_address: str = "", *, redirects: bool = False
) -> list[Connection]:
    rows = await ask(client, "CLIENT LIST")
    found = (row for row in rows if local_address in {"", row.get("laddr")})
    return client_connections(found, by_name=by_name, redirects=redirects)


async def _close_unused(
    client: Valkey, by_name: bool, connections: Sequence[Connection], conditions: Sequence[str]
) -> set[str]:
    """Close connections that have sent nothing since they were listed and meet the conditions of CLIENT KILL. Return
    the ids of those that are closed."""
    if len(connections) > _CHECKED_ONE_BY_ONE:
        await kill(client, [connection.id for connection in connections], conditions)
        remaining = {connection.id for connection in await _connections(client, by_name)}
        return {connection.id for connection in connections} - remaining
    closed = set()
    for connection in connections:
        current = client_connections(await ask(client, "CLIENT LIST", "ID", connection.id), by_name=by_name)
        if not current or (current == [connection] and await kill(client, [connection.id], conditions)):
            closed.add(connection.id)
    return closed


async def kill(client: Valkey, ids: Sequence[str], conditions: Sequence[str] = ()) -> int:
    """Close connections that meet the conditions of CLIENT KILL. Return the number of those that were closed."""
    return sum([int(await ask(client, "CLIENT KILL", *words, *conditions)) for words in killed(ids)])


def killed(ids: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the words after CLIENT KILL for these connections, for each of the commands that are necessary."""
    return [("ID", *ids[start : start + _KILLED_AT_ONCE]) for start in range(0, len(ids), _KILLED_AT_ONCE)]

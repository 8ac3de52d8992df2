"""Shapes of slow logs and of connections of clients. Types follow the SDK's models."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec

from cachewright.api.schemas import iso
from cachewright.api.schemas.nodes import CLOUD_ROLES, CloudRole, group_name
from cachewright.api.schemas.paging import Limit, Offset
from cachewright.model.instances import Node, Role
from cachewright.services.diagnosis import SlowLogs
from cachewright.topologies import topology_of
from cachewright.valkey.access import has_socket
from cachewright.valkey.acl import CONTROL_USER
from cachewright.valkey.client import CONTROL_PLANE
from cachewright.valkey.client_list import Row
from cachewright.valkey.slow_log import SlowCommand

_Moment = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_NodeId = Annotated[str, msgspec.Meta(max_length=64)]
_Address = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
_NODE_DIGITS, _NUMBER_BITS = 7, 24
_NUMBERS = ("age", "idle", "sub", "psub", "multi", "qbuf", "qbuf_free", "obl", "oll", "omem")
_TEXTS = ("id", "addr", "fd", "name", "cmd", "db", "flags", "events", "user")
_SORTED_AS_NUMBERS = frozenset({*_NUMBERS, "db", "fd"})
_REPORTED_AS = {"qbuf_free": "qbuf-free", "peer": "laddr"}
"""Names in CLIENT LIST that differ."""

_MOST_ADDRESSES = 99
"""With the id of the node as many as an audit entry records."""

_UTC_SECONDS = "%Y-%m-%dT%H:%M:%SZ"


class SlowLogQuery(msgspec.Struct, frozen=True):
    """:ivar start_time: epoch milliseconds, as `end_time`.
    :ivar role: `proxy` has no entries: proxies pass commands on.
    """

    start_time: _Moment
    end_time: _Moment
    offset: Offset = 0
    limit: Limit = 10
    sort_key: Literal["start_time", "duration"] = "start_time"
    sort_dir: Literal["desc", "asc"] = "desc"
    role: Literal["proxy", "server"] = "server"


class SlowLogItem(msgspec.Struct, frozen=True, kw_only=True):
    """A slow command.

    :ivar id: unique in the instance while its node runs.
    :ivar duration: milliseconds.
    :ivar shard_name: null if the instance is no cluster.
    :ivar database_id: null, because nodes do not record it.
    :ivar username: `cachewright` for commands of the control plane; else null, because nodes do not record it.
    :ivar client_ip: null for commands over the socket that only the control plane uses.
    """

    id: int
    command: str
    start_time: str
    duration: str
    shard_name: str | None
    database_id: int | None
    username: str | None
    node_role: CloudRole
    client_ip: str | None


class SlowLogList(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar total_num: number of entries in the period, as `count`.
    :ivar silent_nodes: ids of nodes that did not respond, whose entries are missing. An extension.
    """

    total_num: int
    count: int
    slowlogs: list[SlowLogItem]
    silent_nodes: list[str]


class ClientsQuery(msgspec.Struct, frozen=True):
    """:ivar addr: part of the address of listed clients."""

    node_id: _NodeId
    offset: Offset = 0
    limit: Limit = 10
    addr: Annotated[str, msgspec.Meta(max_length=128)] = ""
    sort: (
        Literal[
            "id", "addr", "fd", "name", "cmd", "age", "idle", "db", "flags", "sub", "psub", "multi", "qbuf",
            "qbuf_free", "obl", "oll", "omem", "events", "network", "peer", "user",
        ]
    ) = "id"  # fmt: skip
    order: Literal["asc", "desc"] = "asc"


class ScanBody(msgspec.Struct, frozen=True):
    """:ivar clean_cache: has no effect: a list always shows the present connections."""

    node_id: _NodeId
    clean_cache: bool = False


class Nothing(msgspec.Struct, frozen=True):
    """An empty object."""


class CloseBody(msgspec.Struct, frozen=True):
    """:ivar node_id: empty for all nodes.
    :ivar client_addrs: addresses of clients with their ports.
    """

    client_addrs: Annotated[list[_Address], msgspec.Meta(min_length=1, max_length=_MOST_ADDRESSES)]
    node_id: _NodeId = ""


class CloseAllBody(msgspec.Struct, frozen=True):
    """:ivar node_id: a node; required unless `kill_all_nodes`."""

    node_id: _NodeId = ""
    kill_all_nodes: bool = False


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """A connection, as CLIENT LIST of its node shows it.

    :ivar network: null, because nodes do not know it.
    :ivar peer: address of the node that it is connected to.
    """

    id: str
    addr: str
    fd: str
    name: str
    cmd: str
    age: int
    idle: int
    db: str
    flags: str
    sub: int
    psub: int
    multi: int
    qbuf: int
    qbuf_free: int
    obl: int
    oll: int
    omem: int
    events: str
    network: str | None
    peer: str
    user: str


class ClientList(msgspec.Struct, frozen=True):
    """:ivar count: number of connections that match, not only of this page."""

    time: str | None
    clients: list[Client]
    count: int


def slow_log_list(found: SlowLogs, query: SlowLogQuery) -> SlowLogList:
    """Return a page of the entries of all nodes in the period of the query."""
    nodes = {node.id: node for node in found.nodes}
    entries = [
        (entry, nodes[node_id], log.role)
        for node_id, log in found.logs.items()
        for entry in log.entries
        if query.role == "server" and query.start_time <= entry.at * 1000 <= query.end_time
    ]
    in_cluster = topology_of(found.instance.spec_code).is_cluster
    by_duration = query.sort_key == "duration"
    entries.sort(
        key=lambda found: (found[0].microseconds if by_duration else found[0].at, found[1].id, found[0].number),
        reverse=query.sort_dir == "desc",
    )
    page = entries[query.offset : query.offset + query.limit]
    return SlowLogList(
        total_num=len(entries),
        count=len(entries),
        slowlogs=[_slow_log_item(*entry, in_cluster=in_cluster) for entry in page],
        silent_nodes=found.silent,
    )


def client_list(rows: Sequence[Row], query: ClientsQuery, now: int) -> ClientList:
    """Return a page of the connections of a node that match the query."""
    chosen = [row for row in rows if query.addr in row.get("addr", "")]
    if query.sort not in {"id", "network"}:  # they are in the order of their ids, as numbers
        chosen.sort(key=_order(query.sort))
    if query.order == "desc":
        chosen.reverse()
    page = chosen[query.offset : query.offset + query.limit]
    return ClientList(iso(now), [_client(row) for row in page], len(chosen))


def _order(name: str) -> Callable[[Row], Any]:
    """Return the key by which rows are sorted."""
    reported = _REPORTED_AS.get(name, name)
    if name in _SORTED_AS_NUMBERS:
        return lambda row: int(row.get(reported, 0))
    return lambda row: row.get(reported, "")


def _slow_log_item(entry: SlowCommand, node: Node, role: Role, *, in_cluster: bool) -> SlowLogItem:
    by_socket = entry.client.startswith("/")
    is_own = by_socket or (not has_socket(node) and entry.name == CONTROL_PLANE)
    return SlowLogItem(
        id=int(node.id[:_NODE_DIGITS], 16) << _NUMBER_BITS | entry.number % 2**_NUMBER_BITS,
        command=" ".join(entry.words),
        start_time=datetime.fromtimestamp(entry.at, UTC).strftime(_UTC_SECONDS),
        duration=f"{entry.microseconds / 1000:.3f}",
        shard_name=group_name(node.shard) if in_cluster else None,
        database_id=None,
        username=CONTROL_USER if is_own else None,
        node_role=CLOUD_ROLES[role],
        client_ip=None if by_socket else entry.client.rpartition(":")[0].strip("[]"),
    )


def _client(row: Row) -> Client:
    numbers = {name: int(row.get(_REPORTED_AS.get(name, name), 0)) for name in _NUMBERS}
    texts = {name: row.get(name, "") for name in _TEXTS}
    return msgspec.convert({**texts, **numbers, "network": None, "peer": row.get("laddr", "")}, Client)

"""Replication outside of clusters: a node's view of it, and changes of a node's role.

Functions raise one of NODE_GONE if the node does not answer and NodeRefused if it refuses.

Source: INFO, REPLICAOF and CONFIG SET of Valkey 9.1, and replconfCommand in its replication.c.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.acl import SENTINEL_USER
from cachewright.valkey.client import NodeRefused, ask, connect
from cachewright.valkey.config import FENCE, FENCED, GOOD_REPLICAS, UNFENCED, watcher_users
from cachewright.valkey.node_control import tls_port_setting
from cachewright.valkey.roles import ROLES
from cachewright.valkey.single_request import Unreadable, fields, request_once
from cachewright.valkey.slots import SLOTS, SlotRange
from cachewright.valkey.topology import Member, View

_NO_FAILOVER, _HANDOVER_MS = "no-failover", 5000
_ALL_SLOTS = (SlotRange(0, SLOTS - 1),)
_REPLICA = re.compile(r"slave\d+")


async def replication_view(node: Node, peers: Sequence[Node], access: Access, answer_seconds: float) -> View:
    """Return the node's view of an instance without cluster mode: the primary owns all slots, because it serves every
    key. A primary knows the replicas that are in sync with it, a replica knows its primary. The view is ok unless the
    node is a replica without a connection to its primary, or a primary that refuses writes since its start (`FENCE`):
    a new node is one until it follows the primary."""
    commands = [("PING",), ("INFO", "replication")]  # PING is refused while the node loads its data, INFO is not
    _, reply = await request_once(node, access, commands, answer_seconds)
    return parse_view(node, peers, fields(reply))


def parse_view(node: Node, peers: Sequence[Node], replication: Mapping[str, str]) -> View:
    """Return the view that the fields of INFO replication stand for. Raises Unreadable."""
    role = ROLES.get(replication.get("role", ""))
    if role is None:
        raise Unreadable("the reply names no role")
    if role == "primary":
        members = [_member(node, "myself", "master"), *_replicas(node, peers, replication)]
        ok = GOOD_REPLICAS not in replication
        return View(ok=ok, epoch=0, members={member.id: member for member in members})
    linked = replication.get("master_link_status") == "up"
    port = replication.get("master_port")
    primary = next((peer for peer in peers if str(peer.peer_port) == port), None)
    itself = _member(node, "myself", "slave", primary=primary.id if primary else "")
    members = [itself, *([_member(primary, "master", linked=linked)] if primary else [])]
    return View(ok=linked, epoch=0, members={member.id: member for member in members})


def _replicas(node: Node, peers: Sequence[Node], replication: Mapping[str, str]) -> Iterator[Member]:
    by_port = {str(peer.peer_port): peer for peer in peers}
    for name, text in replication.items():
        if _REPLICA.fullmatch(name):
            replica = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
            if (peer := by_port.get(replica.get("port", ""))) and replica.get("state") == "online":
                yield _member(peer, "slave", primary=node.id)


def _member(node: Node, *flags: str, primary: str | None = None, linked: bool = True) -> Member:
    return Member(
        id=node.id,
        address=f"{node.host}:{node.port}@{node.bus_port}",
        flags=frozenset(flags),
        primary=primary,
        linked=linked,
        slots=() if primary is not None else _ALL_SLOTS,
    )


async def follow(node: Node, primary: Node, access: Access) -> None:
    """Make a node a replica of `primary`, if it is not. A replica accepts writes when it becomes the primary."""
    async with connect(node, access) as client:
        replication = await client.info("replication")
        if replication["role"] != "slave" or str(replication["master_port"]) != str(primary.peer_port):
            await ask(client, "REPLICAOF", primary.host, primary.peer_port)
        await ask(client, "CONFIG SET", FENCE, UNFENCED)


async def promote(node: Node, access: Access) -> None:
    """Make a node a primary that accepts writes, with the data that it has."""
    async with connect(node, access) as client:
        await ask(client, "REPLICAOF", "NO", "ONE")
        await ask(client, "CONFIG SET", FENCE, UNFENCED)


async def begin_handover(primary: Node, replica: Node, access: Access) -> None:
    """Let a primary hand over to a replica, and then follow it: it makes writes wait until the replica has all of them.
    It gives up by itself if that takes too long. No effect while it does so, or is no primary any more."""
    async with connect(primary, access) as client:
        replication = await client.info("replication")
        if replication["role"] == "master" and replication["master_failover_state"] == _NO_FAILOVER:
            await ask(client, "FAILOVER", "TO", replica.host, replica.peer_port, "TIMEOUT", _HANDOVER_MS)


async def end_handover(node: Node, access: Access) -> None:
    """Make a node a primary that hands over to no replica, with the data that it has. No effect if it is one."""
    async with connect(node, access) as client:
        replication = await client.info("replication")
        if replication["master_failover_state"] != _NO_FAILOVER:
            with suppress(NodeRefused):  # it has just ended
                await ask(client, "FAILOVER", "ABORT")
            replication = await client.info("replication")
        if replication["role"] != "master":
            await ask(client, "REPLICAOF", "NO", "ONE")


async def report_offset(replica: Node, access: Access) -> None:
    """Let a replica tell its primary how far it is, which it otherwise does once a second. A primary that hands over
    keeps writers waiting until it knows this."""
    async with connect(replica, access) as client:
        await client.ping()
        assert client.connection is not None  # noqa: S101  # the command before has opened it
        await client.connection.send_command("REPLCONF", "GETACK", "*")  # it has no reply
        await client.ping()


async def add_watchers(node: Node, access: Access) -> None:
    """Let sentinels and a proxy sign in to a node, until its next start."""
    async with connect(node, access) as client:
        for name, rules in watcher_users(access).items():
            await ask(client, "ACL SETUSER", name, "reset", *rules)


async def remove_sentinels(node: Node, access: Access) -> None:
    """End the rights of sentinels on a node, and their connections."""
    async with connect(node, access) as client:
        await ask(client, "ACL DELUSER", SENTINEL_USER)


async def listen(node: Node, access: Access) -> None:
    """Move a node to its recorded address, and let other nodes learn that, until its next start."""
    place = ("bind", node.host, "replica-announce-ip", node.host, "replica-announce-port", node.peer_port)
    async with connect(node, access) as client:
        await ask(client, "CONFIG SET", *place, *tls_port_setting(node))


async def accept_writes(node: Node, access: Access) -> None:
    """End the fence that a node starts with, until its next start."""
    async with connect(node, access) as client:
        await ask(client, "CONFIG SET", FENCE, UNFENCED)


async def is_fenced(node: Node, access: Access) -> bool:
    """Whether the node refuses writes since its start."""
    async with connect(node, access) as client:
        return bool((await client.config_get(FENCE))[FENCE] == str(FENCED))

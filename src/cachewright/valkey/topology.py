"""Who is in a cluster and who owns which slots, as one of its nodes sees it (CLUSTER NODES, CLUSTER INFO)."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from cachewright.store.records import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused, Valkey, ask, connect
from cachewright.valkey.slots import SlotRange, merged


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One node in another's eyes. `primary` is None for a master.

    :ivar port: port for clients; 0 where the other node does not know it yet. With TLS on the bus a node learns it from
    the first PING that it gets, and until then would send clients to port 0.
    """

    id: str
    port: int
    flags: frozenset[str]
    primary: str | None
    linked: bool
    slots: tuple[SlotRange, ...]
    open_slots: bool

    @property
    def known(self) -> bool:
        """Past its handshake, believed alive, and can be named to clients."""
        return self.linked and self.port > 0 and not self.flags & {"handshake", "noaddr", "fail"}


class View(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster as one node sees it. `ok` is its own cluster_state, `epoch` grows with every change agreed on."""

    ok: bool
    epoch: int
    members: Mapping[str, Member]

    def owned(self) -> dict[str, tuple[SlotRange, ...]]:
        return {member.id: member.slots for member in self.members.values() if member.slots}

    def knows(self, node_ids: Sequence[str]) -> bool:
        return all(node_id in self.members and self.members[node_id].known for node_id in node_ids)


async def view(client: Valkey) -> View:
    nodes = await ask(client, "CLUSTER NODES")
    info = await ask(client, "CLUSTER INFO")
    members = [_member(address, fields) for address, fields in nodes.items()]
    return View(
        ok=info["cluster_state"] == "ok",
        epoch=int(info["cluster_current_epoch"]),
        members={member.id: member for member in members},
    )


async def views(nodes: Sequence[Node], access: Access) -> dict[str, View | None]:
    """Every node's view, by node id; None where the node does not answer."""

    async def one(node: Node) -> View | None:
        try:
            async with connect(node, access) as client:
                return await view(client)
        except (*NODE_GONE, NodeRefused):
            return None

    seen = await asyncio.gather(*(one(node) for node in nodes))
    return {node.id: sight for node, sight in zip(nodes, seen, strict=True)}


def _member(address: str, fields: Mapping[str, Any]) -> Member:
    flags = frozenset(fields["flags"].split(","))
    return Member(
        id=fields["node_id"],
        port=int(address.rpartition(":")[2]),
        flags=flags,
        primary=None if fields["master_id"] == "-" else fields["master_id"],
        linked=fields["connected"] or "myself" in flags,
        slots=tuple(merged(SlotRange(int(part[0]), int(part[-1])) for part in fields["slots"])),
        open_slots=bool(fields["migrations"]),
    )

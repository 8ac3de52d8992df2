"""Who is in a cluster and who owns which slots, as one of its nodes sees it (CLUSTER NODES, CLUSTER INFO).

Source: https://valkey.io/commands/cluster-nodes and cluster-info.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused, Valkey, ask
from cachewright.valkey.single_request import Unreadable, fields, request_once, text
from cachewright.valkey.slots import SLOTS, SlotRange, merged

_ANSWER_SECONDS = 5.0
_MEMBER_FIELDS = 8
_NODE_ID = re.compile(r"[0-9a-f]{40}")


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One node in another's eyes. `primary` is None for a master; `address` is `host:port@bus port`, with port 0 where
    the other node does not know it yet. With TLS on the bus a node learns it from the first PING that it gets, and
    until then would send clients to port 0."""

    id: str
    address: str
    flags: frozenset[str]
    primary: str | None
    linked: bool
    slots: tuple[SlotRange, ...]
    open_slots: bool

    @property
    def port(self) -> int:
        """Port for clients; 0 where it is unknown."""
        port = self.address.rpartition("@")[0].rpartition(":")[2]
        return int(port) if port.isdecimal() else 0

    @property
    def known(self) -> bool:
        """Past its handshake, believed alive, and can be named to clients."""
        return self.linked and self.port > 0 and not self.flags & {"handshake", "noaddr", "fail"}


class View(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster as one node sees it. `ok` is its own cluster_state, `epoch` grows with every change agreed on."""

    ok: bool
    epoch: int
    members: Mapping[str, Member]

    @property
    def own_id(self) -> str | None:
        """Id of the node whose view it is; None where the node does not list itself."""
        return next((member.id for member in self.members.values() if "myself" in member.flags), None)

    def owned(self) -> dict[str, tuple[SlotRange, ...]]:
        return {member.id: member.slots for member in self.members.values() if member.slots}

    def knows(self, node_ids: Sequence[str]) -> bool:
        return all(node_id in self.members and self.members[node_id].known for node_id in node_ids)


async def view(client: Valkey) -> View:
    # As separate words, so that the library leaves the reply as it is.
    return parse_view(await ask(client, "CLUSTER", "NODES"), await ask(client, "CLUSTER", "INFO"))


async def ask_view(node: Node, access: Access, answer_seconds: float = _ANSWER_SECONDS) -> View:
    """One of NODE_GONE or NodeRefused where there is none."""
    replies = await request_once(node, access, [("CLUSTER", "NODES"), ("CLUSTER", "INFO")], answer_seconds)
    return parse_view(*replies)


async def views(
    nodes: Sequence[Node],
    access: Access,
    answer_seconds: float = _ANSWER_SECONDS,
    ask_one: Callable[[Node, Access, float], Awaitable[View]] = ask_view,
) -> dict[str, View | None]:
    """The view of every node, by node id; None where the node does not answer. `ask_one` is how a node is asked."""

    async def one(node: Node) -> View | None:
        try:
            return await ask_one(node, access, answer_seconds)
        except (*NODE_GONE, NodeRefused):
            return None

    found = await asyncio.gather(*(one(node) for node in nodes))
    return {node.id: view for node, view in zip(nodes, found, strict=True)}


def primaries(nodes: Sequence[Node], view: View) -> Mapping[int, Node]:
    """The primary of each shard now, by shard. Of two that believe they are, the one that lives and owns slots."""
    candidates = [(node, member) for node in nodes if (member := view.members.get(node.id)) and not member.primary]
    candidates.sort(key=lambda candidate: (candidate[1].known, bool(candidate[1].slots)))
    return {node.shard: node for node, _ in candidates}


def parse_view(nodes: object, info: object) -> View:
    """The replies to CLUSTER NODES and CLUSTER INFO. Unreadable where they are none."""
    state = fields(info)
    try:
        members = [_member(line.split()) for line in text(nodes).split("\n") if line]
        return View(
            ok=state["cluster_state"] == "ok",
            epoch=int(state["cluster_current_epoch"]),
            members={member.id: member for member in members},
        )
    except (KeyError, ValueError) as error:
        raise Unreadable(f"no view of a cluster: {error!r}"[:200]) from error


def _member(words: Sequence[str]) -> Member:
    """ValueError where the words are no line of CLUSTER NODES."""
    if len(words) < _MEMBER_FIELDS:
        raise ValueError("a line is too short")
    node_id, address, flag_names, primary, _, _, _, link, *parts = words
    flags = frozenset(flag_names.split(","))
    if not _NODE_ID.fullmatch(node_id):
        raise ValueError("a line begins with no node id")
    return Member(
        id=node_id,
        address=address.partition(",")[0],
        flags=flags,
        primary=None if primary == "-" else primary,
        linked=link == "connected" or "myself" in flags,
        slots=tuple(merged(_slot_range(part) for part in parts if not part.startswith("["))),
        open_slots=any(part.startswith("[") for part in parts),
    )


def _slot_range(part: str) -> SlotRange:
    first, _, last = part.partition("-")
    found = SlotRange(int(first), int(last or first))
    if not 0 <= found.first <= found.last < SLOTS:
        raise ValueError(f"{part} is no range of slots")
    return found

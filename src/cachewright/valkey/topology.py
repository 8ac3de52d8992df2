"""Members of a cluster and their slots in the view of one node (CLUSTER NODES, CLUSTER INFO, CLUSTER SHARDS).

Source: https://valkey.io/commands/cluster-nodes, cluster-info and cluster-shards.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Literal

import msgspec

from cachewright.concurrency import end_tasks
from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import ANSWER_SECONDS, NODE_GONE, NodeBusy, NodeRefused, Valkey, ask
from cachewright.valkey.single_request import Unreadable, fields, request_once, text
from cachewright.valkey.slots import SLOTS, SlotRange, merged, require_full_cover

Needed = Literal["none", "any", "all"]
"""Which of the views a caller needs."""

_MORE_SECONDS = 0.1
_MEMBER_FIELDS = 8
_NODE_ID = re.compile(r"[0-9a-f]{40}")


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A node in the view of another node.

    :ivar address: `host:port@bus port`. The port is 0 while the other node does not know it. Over a connection with TLS
    it is that for TLS (`knows_client_ports`).
    :ivar migrating: slots whose keys move one by one to another node, each with the id of that node; only of the node
        whose view this is, as `importing`.
    :ivar importing: slots whose keys come one by one from another node, each with the id of that node.
    :ivar primary: id of the primary; None if the member is a primary.
    :ivar epoch: configuration epoch of the member, or of its primary.
    """

    id: str
    address: str
    flags: frozenset[str]
    primary: str | None
    linked: bool
    slots: tuple[SlotRange, ...]
    migrating: Mapping[int, str] = {}
    importing: Mapping[int, str] = {}
    epoch: int = 0

    @property
    def port(self) -> int:
        """The port in `address`, 0 if it is unknown."""
        port = self.address.rpartition("@")[0].rpartition(":")[2]
        return int(port) if port.isdecimal() else 0

    @property
    def known(self) -> bool:
        """Whether the handshake is complete, the member is not considered failed, and its port is known."""
        return self.linked and self.port > 0 and not self.flags & {"handshake", "noaddr", "fail"}


class View(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster in the view of one node. `ok` is the node's cluster_state, `epoch` its cluster_current_epoch."""

    ok: bool
    epoch: int
    members: Mapping[str, Member]

    @property
    def own_id(self) -> str | None:
        """Id of the node whose view this is; None if the node does not list itself."""
        return next((member.id for member in self.members.values() if "myself" in member.flags), None)

    def owned(self) -> dict[str, tuple[SlotRange, ...]]:
        return {member.id: member.slots for member in self.members.values() if member.slots}

    @property
    def is_whole(self) -> bool:
        """Whether each slot has exactly one owner."""
        try:
            require_full_cover(self.owned())
        except ValueError:
            return False
        return True

    def knows(self, node_ids: Sequence[str]) -> bool:
        return all(node_id in self.members and self.members[node_id].known for node_id in node_ids)


async def view(client: Valkey) -> View:
    # Separate words prevent the library from parsing the reply.
    return parse_view(await ask(client, "CLUSTER", "NODES"), await ask(client, "CLUSTER", "INFO"))


async def own_slots(client: Valkey) -> tuple[SlotRange, ...]:
    """Return the slots that the node owns in its own view. Raises Unreadable."""
    nodes = text(await ask(client, "CLUSTER", "NODES"))
    try:
        members = [_member(line.split()) for line in nodes.split("\n") if line]
        return next(member.slots for member in members if "myself" in member.flags)
    except (StopIteration, ValueError) as error:
        raise Unreadable(f"no view of a cluster: {error!r}"[:200]) from error


async def ask_view(node: Node, access: Access, answer_seconds: float = ANSWER_SECONDS) -> View:
    """Return the node's view. Raises one of NODE_GONE or NodeRefused."""
    replies = await request_once(node, access, [("CLUSTER", "NODES"), ("CLUSTER", "INFO")], answer_seconds)
    return parse_view(*replies)


async def knows_client_ports(
    node: Node, others: Sequence[Node], access: Access, answer_seconds: float = ANSWER_SECONDS
) -> bool:
    """Whether a node knows at which ports clients reach these other nodes. Until it does, it redirects clients to
    port 0. Raises one of NODE_GONE or NodeRefused.

    Only nodes with TLS on the bus lack such ports. They are introduced to each other by the ports for TLS, and learn
    those without it from the first PING.
    """
    if node.tls_listener is None:
        return True
    (shards,) = await request_once(node, access, [("CLUSTER", "SHARDS")], answer_seconds)
    known = parse_client_ports(shards, tls=node.client_tls)
    return all(other.id in known for other in others if other.id != node.id)


async def views(
    nodes: Sequence[Node],
    access: Access,
    answer_seconds: float = ANSWER_SECONDS,
    ask_one: Callable[[Node, Access, float], Awaitable[View]] = ask_view,
    *,
    needed: Needed = "none",
    enough: Collection[str] = (),
) -> dict[str, View | None]:
    """Return the view of every node by node id, None for nodes that do not answer or refuse. `ask_one` requests one.

    Raises NodeBusy if a node is busy and all views are needed, or any is needed and there is none.

    :param enough: ids of nodes. Once these have answered, or have not in time, others have a tenth of a second more.
    """
    busy: list[NodeBusy] = []

    async def view_or_none(node: Node) -> View | None:
        try:
            return await ask_one(node, access, answer_seconds)
        except NodeBusy as error:
            busy.append(error)
            return None
        except (*NODE_GONE, NodeRefused):
            return None

    asking = {node.id: asyncio.create_task(view_or_none(node)) for node in nodes}
    try:
        if first := [request for node_id, request in asking.items() if node_id in enough]:
            await asyncio.wait(first)
        if asking:
            await asyncio.wait(asking.values(), timeout=_MORE_SECONDS if first else None)
        found = {node_id: request.result() if request.done() else None for node_id, request in asking.items()}
    finally:
        await end_tasks(*asking.values())
    if busy and (needed == "all" or (needed == "any" and not any(found.values()))):
        raise busy[0]
    return found


def primaries(nodes: Sequence[Node], view: View) -> Mapping[int, Node]:
    """Return the present primary of each shard, by shard. Of two nodes that claim to be primary, choose the one that is
    alive and owns slots."""
    candidates = [(node, member) for node in nodes if (member := view.members.get(node.id)) and not member.primary]
    candidates.sort(key=lambda candidate: (candidate[1].known, bool(candidate[1].slots)))
    return {node.shard: node for node, _ in candidates}


def parse_view(nodes: object, info: object) -> View:
    """Parse the replies to CLUSTER NODES and CLUSTER INFO. Raises Unreadable."""
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


def parse_client_ports(shards: object, *, tls: bool) -> dict[str, int]:
    """Parse the reply to CLUSTER SHARDS. Return the ports for clients with or without TLS by node id, without nodes
    whose port is not known. Raises Unreadable."""
    if not isinstance(shards, list):
        raise Unreadable("the reply to CLUSTER SHARDS is no list")
    try:
        members = [_pairs(member) for shard in shards for member in _pairs(shard)["nodes"]]
        ports = {str(member["id"]): int(member.get("tls-port" if tls else "port", 0)) for member in members}
    except (KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"no shards of a cluster: {error!r}"[:200]) from error
    return {node_id: port for node_id, port in ports.items() if port}


def _pairs(flat: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _member(words: Sequence[str]) -> Member:
    """Parse the words of a line of CLUSTER NODES. Raises ValueError."""
    if len(words) < _MEMBER_FIELDS:
        raise ValueError("a line is too short")
    node_id, address, flag_names, primary, _, _, epoch, link, *parts = words
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
        migrating=_open_slots(parts, "->-"),
        importing=_open_slots(parts, "-<-"),
        epoch=int(epoch),
    )


def _open_slots(parts: Sequence[str], arrow: str) -> dict[int, str]:
    """Parse words like `[93->-<node id>]`. Raises ValueError."""
    opened = (part.strip("[]").partition(arrow) for part in parts if part.startswith("["))
    return {int(slot): node_id for slot, found, node_id in opened if found}


def _slot_range(part: str) -> SlotRange:
    first, _, last = part.partition("-")
    slots = SlotRange(int(first), int(last or first))
    if not 0 <= slots.first <= slots.last < SLOTS:
        raise ValueError(f"invalid slot range {part}")
    return slots

"""Membership of nodes in a cluster: introduction, announcement of slots, replication, failover, removal.

Every function ensures a result and may be repeated. It raises one of NODE_GONE if a node does not answer and
NodeRefused if it refuses, unless its docstring says otherwise. It raises NodeBusy if a node that it needs is
busy.

Source: CLUSTER MEET, REPLICATE, FAILOVER and FORGET of Valkey 9.1.
"""

import asyncio
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeBusy, NodeRefused, Valkey, ask, connect
from cachewright.valkey.config import placeholder_primary
from cachewright.valkey.node_control import is_link_up
from cachewright.valkey.roles import ROLES
from cachewright.valkey.slots import require_full_cover
from cachewright.valkey.topology import View, views

_POLL_SECONDS = 0.02
_FAILOVER_SECONDS = 6.0
_HAND_OVER_SECONDS = 30.0
_IN_STEP_SECONDS = 5.0
"""Time for a replica that has just started to get in sync."""


def fault(view: View | None) -> str | None:
    """Return why the cluster is not healthy in the view of one node, as the predicate of a sentence about that node.
    Return None if it is healthy.

    Open slots between two members are no fault: clients reach all keys, and the task that opened them completes them.
    """
    if view is None:
        return "does not answer"
    if not view.ok:
        return "finds the instance not ok"
    others = {
        other for member in view.members.values() for other in [*member.migrating.values(), *member.importing.values()]
    }
    if others - view.members.keys():
        return "has slots left open by a migration from or to a node that is not a member"
    try:
        require_full_cover(view.owned())
    except ValueError as error:
        return f"finds that {error}"
    return None


async def introduce(nodes: Sequence[Node], new: Sequence[Node], access: Access) -> None:
    """Make every node meet the `new` nodes that it does not know (`meetings`). This is faster than gossip."""
    found = await views(nodes, access, needed="all")
    known = {node_id: view.members.keys() for node_id, view in found.items() if view}

    async def introduce_to(node: Node, others: Sequence[Node]) -> None:
        async with connect(node, access) as client:
            for other in others:
                await _meet(client, other)

    await asyncio.gather(*(introduce_to(node, others) for node, others in meetings(nodes, new, known)))


def meetings(
    nodes: Sequence[Node], new: Sequence[Node], known: Mapping[str, Collection[str]]
) -> Iterator[tuple[Node, list[Node]]]:
    """Yield each node that has to meet some of the `new` nodes, with those. Pure.

    Of two new nodes that do not know each other, the later one meets the earlier one. If both met each other at the
    same moment, each could close its connection to the other, and Valkey waits for a twentieth of
    `cluster-node-timeout` before it connects again.

    :param known: ids of the members that each node knows.
    """
    position = {node.id: number for number, node in enumerate(new)}

    def knows(node: Node, other: Node) -> bool:
        return other.id == node.id or other.id in known.get(node.id, ())

    def is_met_by(node: Node, other: Node) -> bool:
        return node.id in position and position[node.id] < position[other.id] and not knows(other, node)

    for node in nodes:
        if others := [other for other in new if not knows(node, other) and not is_met_by(node, other)]:
            yield node, others


async def announce_slots(nodes: Sequence[Node], access: Access, announced: set[tuple[str, str]]) -> list[Node]:
    """Make each node announce its slots to nodes that know the node but not its slots. Return the nodes in whose view
    the cluster is healthy.

    A node announces its slots when it meets another node again. Without that, it would take seconds.

    :param announced: pairs of node ids, announcer and receiver, from earlier calls. New pairs are added.
    """
    views_before = await views(nodes, access, needed="all")

    async def announce(node: Node) -> None:
        own_view = views_before[node.id]
        unaware = [
            other
            for other in nodes
            if (view := views_before[other.id])
            and own_view
            and view.knows([node.id])
            and view.members[node.id].slots != own_view.members[node.id].slots
            and (node.id, other.id) not in announced
        ]
        announced.update((node.id, other.id) for other in unaware)
        if unaware:
            async with connect(node, access) as client:
                for other in unaware:
                    await _meet(client, other)

    await asyncio.gather(*(announce(node) for node in nodes))
    return [node for node in nodes if (view := views_before[node.id]) and not fault(view)]


async def replace_placeholder(node: Node, access: Access, *, founding: bool) -> None:
    """Make a new primary replace its placeholder primary. If it is `founding` a cluster, it takes over the slots.

    Waits until the state of the cluster is ok in the node's view, because Valkey then lets the node serve immediately
    (see `valkey.config.nodes_conf`). Continues to wait while the node does not answer or refuses, and raises NodeBusy.
    """
    placeholder = placeholder_primary(node)
    promotion = ("CLUSTER FAILOVER", "TAKEOVER") if founding else ("CLUSTER REPLICATE", "NO", "ONE")
    while True:
        view = (await views([node], access, needed="all"))[node.id]
        if view and placeholder not in view.members:
            return
        with suppress(*NODE_GONE, NodeRefused):
            # After the node timeout a founding node considers its placeholder failed, and the state never becomes ok.
            if view and (view.ok or (founding and view.members[placeholder].flags & {"fail", "fail?"})):
                async with connect(node, access) as client:
                    if view.members[node.id].primary:
                        await ask(client, *promotion)
                    await ask(client, "CLUSTER FORGET", placeholder)
                    continue
        await asyncio.sleep(_POLL_SECONDS)


async def replicate(replica: Node, primary: Node, access: Access) -> None:
    """Make a node replicate `primary`. Waits until it knows that node as a primary."""
    while True:
        view = (await views([replica], access, needed="all"))[replica.id]
        if view and view.members[replica.id].primary == primary.id:
            return
        if view and view.knows([primary.id]) and not view.members[primary.id].primary:
            async with connect(replica, access) as client:
                await ask(client, "CLUSTER REPLICATE", primary.id)
            continue
        await asyncio.sleep(_POLL_SECONDS)


async def fail_over(primary: Node, replicas: Sequence[Node], nodes: Sequence[Node], access: Access) -> bool:
    """Promote a replica that is in sync in place of `primary`. The old primary first hands over all acknowledged
    writes. Return whether a replica was promoted, once every node that answers knows it.

    Nodes refuse to vote while they have different views of the shard, as they do for a moment after a resize, and the
    primary holds back its clients meanwhile. So all `nodes` must agree first. Ignores replicas that do not
    answer or refuse. Returns False if no replica can be promoted within half a minute, but raises NodeBusy if one is
    busy then: it can be promoted later.
    """
    deadline = time.monotonic() + _HAND_OVER_SECONDS
    in_step_until = time.monotonic() + _IN_STEP_SECONDS
    busy: NodeBusy | None = None
    while time.monotonic() < deadline:
        agreed = await _agree_on(primary, nodes, access)
        busy = None
        for replica in replicas:
            try:
                async with connect(replica, access) as client:
                    if not await is_link_up(client):
                        continue
                    in_step_until = deadline
                    if agreed:
                        await ask(client, "CLUSTER FAILOVER")
                        if await _becomes_primary(client):
                            await _wait_until_known(primary, replica, nodes, access, deadline)
                            return True
            except NodeBusy as error:
                busy = error
            except (*NODE_GONE, NodeRefused):
                continue
        if time.monotonic() > in_step_until:
            break
        await asyncio.sleep(_POLL_SECONDS)
    if busy:
        raise busy
    return False


async def take_over(replica: Node, access: Access) -> None:
    """Promote a replica without the agreement of the other primaries, because its primary has failed and too few are
    left to agree. Writes that the primary had acknowledged and not replicated are lost. Returns before the other nodes
    know it."""
    async with connect(replica, access) as client:
        await ask(client, "CLUSTER FAILOVER", "TAKEOVER")
        await _becomes_primary(client)


async def _agree_on(primary: Node, nodes: Sequence[Node], access: Access) -> bool:
    """Whether all nodes that answer know the same epoch and slots of a primary."""
    seen = {
        (member.epoch, member.slots)
        for view in (await views(nodes, access)).values()
        if view and (member := view.members.get(primary.id))
    }
    return len(seen) == 1


async def _wait_until_known(old: Node, new: Node, nodes: Sequence[Node], access: Access, deadline: float) -> None:
    """Wait until all nodes that answer know that `new` has the slots of `old`."""
    while time.monotonic() < deadline:
        found = [view for view in (await views(nodes, access)).values() if view]
        if all(view.ok and view.knows([new.id]) and _has_taken_over(view, old, new) for view in found):
            return
        await asyncio.sleep(_POLL_SECONDS)


def _has_taken_over(view: View, old: Node, new: Node) -> bool:
    before, after = view.members.get(old.id), view.members[new.id]
    return not after.primary and (before is None or not before.slots)


async def forget(node: Node, removed_id: str, access: Access) -> None:
    """Make a node forget a member, if it knows it. Valkey refuses if the member is the node's primary."""
    async with connect(node, access) as client:
        try:
            await ask(client, "CLUSTER FORGET", removed_id)
        except NodeRefused as refusal:
            if "Unknown node" not in str(refusal):
                raise


async def _becomes_primary(client: Valkey) -> bool:
    deadline = time.monotonic() + _FAILOVER_SECONDS
    while time.monotonic() < deadline:
        if ROLES.get((await client.info("replication"))["role"]) == "primary":
            return True
        await asyncio.sleep(_POLL_SECONDS)
    return False


async def _meet(client: Valkey, other: Node) -> None:
    await ask(client, "CLUSTER MEET", other.host, other.peer_port, other.bus_port)

"""Roles of the nodes that Sentinel watches: of a node that has just started, and after a failover.

A node starts as a primary that accepts neither connections nor writes, whatever it was before: meanwhile a replica may
have replaced it. It becomes a replica if the sentinels name another primary. If they name this node, it opens its port,
and accepts writes once so many sentinels reach it that no failover can begin.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import sqlalchemy as sa

from cachewright.model.instances import Instance, Node, has_proxy
from cachewright.operations import sentinels
from cachewright.operations.context import OperationContext
from cachewright.operations.succession import successors
from cachewright.store import instances
from cachewright.topologies import topology_of
from cachewright.valkey import key_deletion, node_control, plain_replication
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.sentinel import Agreement

_POLL_SECONDS = 0.05
_FAILOVER_SECONDS = 20.0
_REQUEST_AGAIN_SECONDS = 0.5


async def admit(context: OperationContext, instance: Instance, node: Node, *, unasked: bool = False) -> bool:
    """Let a node that has started serve in its present role. Return whether it does. Raises one of NODE_GONE or
    NodeRefused.

    :param unasked: do not wait for sentinels that do not answer: the record names the primary.
    """
    access = context.access(instance)
    is_open = await node_control.is_open_to_clients(node, access)
    if is_open and not await plain_replication.is_fenced(node, access):
        context.host.release_port(node.host, node.port)
        return True
    if not is_open:
        context.host.hold_port(node.host, node.port)
    nodes = await context.nodes(instance.id)
    agreed = await sentinels.agree(context, instance)
    if agreed.is_moving or not (agreed.is_known or unasked):
        return False
    primary = primary_of(nodes, agreed)
    if primary is not None and primary.id != node.id:
        return await _admit_replica(context, instance, node, primary)
    if await _has_another_primary(context, instance, node, nodes):
        return False  # the sentinels have not noticed it yet
    await context.open_port(instance, node)
    if agreed.port is None or agreed.is_reached or (unasked and not agreed.is_known):
        await plain_replication.accept_writes(node, access)
        return True
    return False


async def wait_until_admitted(
    context: OperationContext,
    instance: Instance,
    node: Node,
    proceed: Callable[[], None] = lambda: None,
    *,
    unasked: bool = False,
) -> None:
    """Wait until a node that has started serves in its present role, as `admit`. No effect without Sentinel.

    :param proceed: called between attempts; it may raise an error to end the wait.
    """
    if not topology_of(instance.spec_code).has_sentinel:
        return
    while not await admit(context, instance, node, unasked=unasked):
        proceed()
        await asyncio.sleep(_POLL_SECONDS)


async def _admit_replica(context: OperationContext, instance: Instance, node: Node, primary: Node) -> bool:
    """Let a node follow the primary, and open its port, unless it has no keys yet: sentinels that reach it could
    promote it, and the other nodes would then delete theirs."""
    access = context.access(instance)
    await plain_replication.follow(node, primary, access)
    if not await node_control.is_in_sync(node, access) and not (await key_deletion.state(node, access)).keys:
        return False
    await context.open_port(instance, node)
    return True


def primary_of(nodes: Sequence[Node], agreed: Agreement) -> Node | None:
    """Return the primary that the sentinels name, else the recorded one. Pure."""
    named = next((node for node in nodes if node.peer_port == agreed.port), None)
    return named or next((node for node in nodes if node.role == "primary"), None)


async def present_primary(context: OperationContext, instance: Instance, nodes: Sequence[Node]) -> Node | None:
    """Return the primary that the sentinels name, else the recorded one. None while a failover moves it."""
    agreed = await sentinels.agree(context, instance)
    return None if agreed.is_moving else primary_of(nodes, agreed)


async def record_primary(context: OperationContext, instance_id: str, primary_id: str) -> None:
    """Record which node of an instance is the primary. Without a proxy, clients get its address."""

    def write() -> None:
        with context.database.write() as connection:
            set_primary(connection, instance_id, primary_id)

    await asyncio.to_thread(write)


def set_primary(connection: sa.Connection, instance_id: str, primary_id: str) -> None:
    """Perform `record_primary` in a transaction."""
    instance, nodes = instances.find(connection, instance_id), instances.nodes_of(connection, instance_id)
    primary = next((node for node in nodes if node.id == primary_id), None)
    if instance is None or primary is None:
        return
    for node in nodes:
        instances.change_node(connection, node.id, role="primary" if node is primary else "replica")
    if not has_proxy(instance, nodes):
        instances.change(connection, instance_id, address=primary.host, seed_port=primary.port)


async def hand_over(context: OperationContext, instance: Instance, node: Node, nodes: Sequence[Node]) -> bool:
    """Make a replica the primary in place of `node`, which first hands over all acknowledged writes. Return whether
    another node is the primary then."""
    deadline, asked = time.monotonic() + _FAILOVER_SECONDS, float("-inf")
    while time.monotonic() < deadline:
        agreed = await sentinels.agree(context, instance)
        successor = primary_of(nodes, agreed)
        if successor is None or len(nodes) == 1:
            return False
        if agreed.is_known and not agreed.is_moving:
            if successor.id != node.id and await _is_primary(context, instance, successor):
                return True
            if successor.id == node.id and time.monotonic() - asked > _REQUEST_AGAIN_SECONDS:
                if not await _has_replica_in_sync(context, instance, node, nodes):
                    return False
                asked = time.monotonic()
                await sentinels.request_failover(context, instance.id)
        if agreed.is_moving:
            await _report_offsets(context, instance, successors(node, nodes))
        await asyncio.sleep(_POLL_SECONDS)
    return False


async def promote(context: OperationContext, instance: Instance, replica: Node) -> None:
    """Make a replica the primary where the sentinels cannot, because too few of them are left. They forget the instance
    first; the failover watch lets them watch its new primary. Raises one of NODE_GONE or NodeRefused."""
    await sentinels.forget(context, instance.id)
    await plain_replication.promote(replica, context.access(instance))
    await record_primary(context, instance.id, replica.id)
    await context.open_port(instance, replica)


async def _report_offsets(context: OperationContext, instance: Instance, replicas: Sequence[Node]) -> None:
    """Let the replicas report how far they are, so that writers wait less for the one that takes over."""

    async def report(replica: Node) -> None:
        with suppress(*NODE_GONE, NodeRefused):
            await plain_replication.report_offset(replica, context.access(instance))

    await asyncio.gather(*map(report, replicas))


async def _is_primary(context: OperationContext, instance: Instance, node: Node) -> bool:
    view = (await context.views(instance, [node], needed="none"))[node.id]
    return view is not None and view.members[node.id].primary is None


async def _has_another_primary(
    context: OperationContext, instance: Instance, node: Node, nodes: Sequence[Node]
) -> bool:
    """Whether another node accepts writes as a primary."""
    others = [other for other in nodes if other.id != node.id]
    views = await context.views(instance, others, needed="none")
    for other in others:
        view = views[other.id]
        if view is not None and view.members[other.id].primary is None:
            with suppress(*NODE_GONE, NodeRefused):
                if not await plain_replication.is_fenced(other, context.access(instance)):
                    return True
    return False


async def _has_replica_in_sync(
    context: OperationContext, instance: Instance, node: Node, nodes: Sequence[Node]
) -> bool:
    views = await context.views(instance, successors(node, nodes), needed="none")
    return any(view and view.ok and view.members[node_id].primary == node.id for node_id, view in views.items())

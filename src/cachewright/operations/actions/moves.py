"""Actions that move a node to another host: its replacement, a replica in sync, succeeds it before it is removed."""

import asyncio
import time
from collections.abc import Mapping

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.model.instances import Instance, Node
from cachewright.operations import sentinels
from cachewright.operations.actions.action import NodeArguments, action
from cachewright.operations.actions.nodes import ReleaseNode, require_no_slots
from cachewright.operations.actions.rebuild import latest_successor, other_primary
from cachewright.operations.actions.replicas import leave_shard, record_another_primary
from cachewright.operations.context import OperationContext, best_view
from cachewright.operations.ending_node import LONGEST_GRACE_SECONDS, node_detail
from cachewright.operations.watched_roles import promote
from cachewright.store import hosts, instances, stale_nodes
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.topologies import topology_of
from cachewright.valkey import cluster_membership
from cachewright.valkey.client import NodeBusy, NodeRefused
from cachewright.valkey.config import CLUSTER_NODE_TIMEOUT_MS
from cachewright.valkey.topology import View

_POLL_SECONDS = 0.05
_ELECTION_SECONDS = 3 * CLUSTER_NODE_TIMEOUT_MS / 1000


class MoveNode(msgspec.Struct, frozen=True):
    """:ivar replacement: id of the node of its shard that succeeds it.
    :ivar leaving: ids of all nodes that the plan removes; they need not forget each other.
    """

    node_id: str
    replacement: str
    leaving: tuple[str, ...]


@action("move node", MoveNode, timeout=120 + LONGEST_GRACE_SECONDS, attempts=6, cancelling=60)
async def move_node(context: OperationContext, step: StepContext, arguments: MoveNode) -> None:
    """Ensure that a node is removed, and that its replacement has its place. A primary first hands over all
    acknowledged writes."""

    def write() -> None:
        with context.database.write() as connection:
            succeed(connection, step.task.instance_id, arguments.node_id, arguments.replacement)

    async def succeed_former() -> None:
        instance = await context.instance(step.task)
        if topology_of(instance.spec_code).has_sentinel:  # which has chosen the primary
            await record_another_primary(context, instance, arguments.node_id)
        else:
            await asyncio.to_thread(write)

    await leave_shard(context, step, ReleaseNode(arguments.node_id, arguments.leaving), succeed_former)


@action("replace lost node", MoveNode, timeout=60, attempts=8)
async def replace_lost_node(context: OperationContext, step: StepContext, arguments: MoveNode) -> None:
    """Ensure that a node of a host that does not report is forgotten by its cluster, and that its replacement has its
    place. Its host deletes it when it reports again. Sentinels forget it when it is not recorded any more."""
    instance, nodes, views = await context.look(step.task)
    node = next((node for node in nodes if node.id == arguments.node_id), None)
    if node is None:
        return
    step.measure(detail=node_detail(node))
    require_no_slots(node, views)
    topology = topology_of(instance.spec_code)
    for other in nodes if topology.is_cluster else ():
        if other.id in arguments.leaving or views[other.id] is None:
            continue
        try:
            await cluster_membership.forget(other, node.id, context.access(instance))
        except NodeBusy:
            raise
        except NodeRefused as refusal:
            message = f"node {other.id} does not forget {node.id}: {refusal}"
            raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, message) from refusal

    if topology.has_sentinel:
        if not await asyncio.to_thread(_is_given_up, context, node):
            await require_agreed(context, instance, other_primary(node, nodes, views))
        await record_another_primary(context, instance, node.id)

    def succeed_former() -> None:
        with context.database.write() as connection:
            if not topology.has_sentinel:
                succeed(connection, instance.id, node.id, arguments.replacement)
            stale_nodes.give_up(connection, node)

    await asyncio.to_thread(succeed_former)


@action("promote survivor", NodeArguments, timeout=120, attempts=4)
async def promote_survivor(context: OperationContext, step: StepContext, arguments: NodeArguments) -> None:
    """Ensure that another node than the given one, whose host is lost, is the primary of its shard. The cluster or
    Sentinel elects one if it can; where too few primaries or sentinels are left for that, the replica with the latest
    data takes over.

    ActionFailed if the slots are on another node, or if the host is not given up any more: clients may write to the
    primary then.
    """
    instance, nodes = await context.instance_and_nodes(step.task)
    lost = next((node for node in nodes if node.id == arguments.node_id), None)
    deadline = time.monotonic() + _ELECTION_SECONDS
    while lost is not None:
        step.raise_if_cancelled()
        views = await context.views(instance, nodes)
        if views[lost.id]:
            raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"node {lost.id} answers again", True)
        if lead := other_primary(lost, nodes, views):
            step.measure(detail=node_detail(lead))
            return
        if time.monotonic() > deadline:
            await asyncio.to_thread(_require_given_up, context, lost, views)
            chosen = await latest_successor(context, instance, lost, nodes)
            step.measure(detail=node_detail(chosen))
            if topology_of(instance.spec_code).is_cluster:
                await cluster_membership.take_over(chosen, context.access(instance))
            else:
                await promote(context, instance, chosen)
            deadline = time.monotonic() + _ELECTION_SECONDS
        await asyncio.sleep(_POLL_SECONDS)


def _require_given_up(context: OperationContext, lost: Node, views: Mapping[str, View | None]) -> None:
    """Blocks."""
    member = best_view(views).members.get(lost.id)
    if member is None or not member.slots:
        message = f"another node than {lost.id} has the slots of shard {lost.shard}, and does not answer"
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, message, True)
    if not _is_given_up(context, lost):
        message = f"host {lost.host_name} of node {lost.id} is not given up any more"
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, message, True)


def _is_given_up(context: OperationContext, node: Node) -> bool:
    """Whether the operator has said that the host of a node does not come back. Blocks."""
    with context.database.read() as connection:
        host = hosts.get(connection, node.host_name)
    return host is not None and host.state == "lost"


async def require_agreed(context: OperationContext, instance: Instance, primary: Node | None) -> None:
    """ActionFailed unless so many sentinels reach this primary that the others have made no other one. A node that does
    not answer may be that: then it has writes that no node on this side of a broken network has."""
    agreed = await sentinels.agree(context, instance)
    if primary is None or not agreed.is_reached or agreed.port != primary.peer_port:
        message = "too few sentinels reach the primary; nodes on hosts that do not answer may have another one"
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, message)


def succeed(connection: sa.Connection, instance_id: str, node_id: str, successor_id: str) -> None:
    """Record that a node has the place of another one: the role for which that one was created and, if clients have its
    address, that. No effect if either is not recorded any more."""
    nodes = {node.id: node for node in instances.nodes_of(connection, instance_id)}
    former, successor = nodes.get(node_id), nodes.get(successor_id)
    instance = instances.find(connection, instance_id)
    if instance is None or former is None or successor is None:
        return
    if former.role == "primary" != successor.role:
        instances.change_node(connection, former.id, role=successor.role)
        instances.change_node(connection, successor.id, role="primary")
    if (instance.address, instance.seed_port) == (former.host, former.port):
        instances.change(connection, instance_id, address=successor.host, seed_port=successor.port)

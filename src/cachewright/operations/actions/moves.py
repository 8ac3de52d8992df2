"""Actions that move a node to another host: its replacement, a replica in sync, succeeds it before it is removed."""

import asyncio
import time

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.operations.actions.action import NodeArguments, action
from cachewright.operations.actions.nodes import ReleaseNode, give_up, require_no_slots
from cachewright.operations.actions.rebuild import latest_successor, other_primary
from cachewright.operations.actions.replicas import remove_replica
from cachewright.operations.context import OperationContext
from cachewright.operations.ending_node import LONGEST_GRACE_SECONDS, node_detail
from cachewright.store import instances
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.valkey import cluster_membership
from cachewright.valkey.client import NodeBusy, NodeRefused
from cachewright.valkey.config import CLUSTER_NODE_TIMEOUT_MS

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
    await _succeed(context, step, arguments)
    await remove_replica.body(context, step, ReleaseNode(arguments.node_id, arguments.leaving))


@action("replace lost node", MoveNode, timeout=60, attempts=8)
async def replace_lost_node(context: OperationContext, step: StepContext, arguments: MoveNode) -> None:
    """Ensure that a node of a host that does not report is forgotten by its cluster, and that its replacement has its
    place. Its host deletes it when it reports again."""
    instance, nodes, views = await context.look(step.task)
    node = next((node for node in nodes if node.id == arguments.node_id), None)
    if node is None:
        return
    step.measure(detail=node_detail(node))
    require_no_slots(node, views)
    await _succeed(context, step, arguments)
    for other in nodes:
        if other.id in arguments.leaving or views[other.id] is None:
            continue
        try:
            await cluster_membership.forget(other, node.id, context.access(instance))
        except NodeBusy:
            raise
        except NodeRefused as refusal:
            message = f"node {other.id} does not forget {node.id}: {refusal}"
            raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, message) from refusal
    await asyncio.to_thread(give_up, context, node)


@action("promote survivor", NodeArguments, timeout=120, attempts=4)
async def promote_survivor(context: OperationContext, step: StepContext, arguments: NodeArguments) -> None:
    """Ensure that another node than the given one, whose host is lost, is the primary of its shard. The cluster elects
    one if it can; where too few primaries are left for that, the replica with the latest data takes over."""
    instance, nodes, _ = await context.look(step.task)
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
            chosen = await latest_successor(context, instance, lost, nodes)
            step.measure(detail=node_detail(chosen))
            await cluster_membership.take_over(chosen, context.access(instance))
        await asyncio.sleep(_POLL_SECONDS)


async def _succeed(context: OperationContext, step: StepContext, arguments: MoveNode) -> None:
    def write() -> None:
        with context.database.write() as connection:
            succeed(connection, step.task.instance_id, arguments.node_id, arguments.replacement)

    await asyncio.to_thread(write)


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

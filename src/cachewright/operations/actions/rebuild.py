"""Actions that repair a node that cannot start: a replica takes over, the node gets its files or its data again."""

import asyncio
import time
from collections.abc import Mapping, Sequence

import msgspec

from cachewright import errors
from cachewright.model.instances import Instance, Node
from cachewright.operations import sentinels
from cachewright.operations.actions.action import NodeArguments, action
from cachewright.operations.actions.cluster import is_settled
from cachewright.operations.actions.nodes import start_process, wait_until_answering
from cachewright.operations.context import OperationContext, best_view
from cachewright.operations.ending_node import node_detail
from cachewright.operations.succession import successors
from cachewright.operations.watched_roles import admit
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.topologies import topology_of
from cachewright.valkey import cluster_membership, membership_file
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.config import CLUSTER_NODE_TIMEOUT_MS
from cachewright.valkey.membership_file import NODES_CONF
from cachewright.valkey.replication import replication_of
from cachewright.valkey.topology import View, primaries

_POLL_SECONDS = 0.05
_STOP_SECONDS = 30.0
_ELECTION_SECONDS = 3 * CLUSTER_NODE_TIMEOUT_MS / 1000
"""Time for an election of the cluster, which is preferred: other primaries confirm that the node has failed."""


class RebuildNode(msgspec.Struct, frozen=True):
    """`bytes` is the memory of the primary when the plan was made."""

    node_id: str
    bytes: int


@action("promote replica", NodeArguments, timeout=120, attempts=4)
async def promote_replica(context: OperationContext, step: StepContext, arguments: NodeArguments) -> None:
    """Ensure that another node than the given one is the primary of its shard. The cluster or Sentinel elects one if it
    can; where too few primaries of a cluster are left for that, the replica with the latest data takes over."""
    instance, nodes = await context.instance_and_nodes(step.task)
    broken = next(node for node in nodes if node.id == arguments.node_id)
    deadline = time.monotonic() + _ELECTION_SECONDS
    while True:
        step.raise_if_cancelled()
        views = await context.views(instance, nodes)
        lead = other_primary(broken, nodes, views)
        if lead or await context.host.process(broken.id):
            step.measure(detail=node_detail(lead or broken))
            return
        if time.monotonic() > deadline and topology_of(instance.spec_code).is_cluster:
            chosen = await latest_successor(context, instance, broken, nodes)
            step.measure(detail=node_detail(chosen))
            await cluster_membership.take_over(chosen, context.access(instance))
        await asyncio.sleep(_POLL_SECONDS)


@action("rebuild node", RebuildNode, timeout=6 * 3600, attempts=4, cancelling=10)
async def rebuild_node(context: OperationContext, step: StepContext, arguments: RebuildNode) -> None:
    """Ensure that the node is a replica with all data of its primary, with a process that is younger than the
    sub-step. Its former files are kept beside the new ones."""
    instance, nodes, views = await context.look(step.task)
    node = next(node for node in nodes if node.id == arguments.node_id)
    begin_time = (step.sub_step.begin_time or 0) / 1000
    process = await context.host.process(node.id)
    if process is None or process.started_at < begin_time:
        lead = other_primary(node, nodes, views)
        if lead is None:
            raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"no other node of shard {node.shard} is a primary")
        members = await _as_replica(context, instance, node, lead)
        step.measure(detail=node_detail(node))
        try:
            await context.host.set_aside(node.id, begin_time, _STOP_SECONDS)
        except TimeoutError as error:
            raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"node {node.id} does not end: {error}") from error
        await _start(context, instance, node, members)
    await _follow(context, step, node, [other for other in nodes if views[other.id]])


async def _as_replica(context: OperationContext, instance: Instance, node: Node, lead: Node) -> Mapping[str, str]:
    """Files with which the node, empty, becomes a replica of `lead`. ActionFailed if that is not certain: an empty node
    that starts as the primary would be copied by the others."""
    if not topology_of(instance.spec_code).is_cluster:
        agreed = await sentinels.agree(context, instance)
        if not agreed.is_known or agreed.is_moving or agreed.port != lead.peer_port:
            message = f"the sentinels do not agree that node {lead.id} is the primary"
            raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, message)
        return {}
    known = await context.host.read_file(lead.id, NODES_CONF) or ""
    try:
        return {NODES_CONF: membership_file.as_replica(known, node.id, lead.id)}
    except ValueError as error:
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"node {lead.id}: {error}") from error


@action("restore membership", NodeArguments, timeout=600, attempts=4, cancelling=10)
async def restore_membership(context: OperationContext, step: StepContext, arguments: NodeArguments) -> None:
    """Ensure that the node runs with its own data, after its nodes.conf was damaged: it gets the view of another node.

    Its data is kept, so this loses nothing, also where the node is the only one of its shard.
    """
    instance, nodes, views = await context.look(step.task)
    node = next(node for node in nodes if node.id == arguments.node_id)
    step.measure(detail=node_detail(node))
    if not await context.host.process(node.id):
        await _start(context, instance, node, {NODES_CONF: await _view_of_others(context, node, nodes, views)})
    await _follow(context, step, node, [other for other in nodes if views[other.id]])


def other_primary(node: Node, nodes: Sequence[Node], views: Mapping[str, View | None]) -> Node | None:
    """Return the primary of the node's shard, if that is another node and it is alive."""
    others = {node_id: view for node_id, view in views.items() if node_id != node.id}
    if not any(others.values()):
        return None
    view = best_view(others)
    lead = primaries(nodes, view).get(node.shard)
    alive = lead is not None and others.get(lead.id) is not None and bool(view.members[lead.id].slots)
    return lead if alive else None


async def latest_successor(context: OperationContext, instance: Instance, broken: Node, nodes: Sequence[Node]) -> Node:
    """Return the replica that may take over and has the latest data. ActionFailed if none has data of the primary."""
    best: tuple[int, Node] | None = None
    for replica in successors(broken, nodes):
        try:
            found = await replication_of(replica, context.access(instance))
        except (*NODE_GONE, NodeRefused):
            continue
        if found.offset > 0 and (best is None or found.offset > best[0]):
            best = found.offset, replica
    if best is None:
        message = f"no replica of shard {broken.shard} that may take over has its data"
        raise ActionFailed(errors.NO_SUCCESSOR, message, True)
    return best[1]


async def _view_of_others(
    context: OperationContext, node: Node, nodes: Sequence[Node], views: Mapping[str, View | None]
) -> str:
    """The node's nodes.conf, from that of a node that responds."""
    if len(nodes) == 1:
        return membership_file.only_member(node.id, f"{node.host}:{node.port}@{node.bus_port}")
    for other in nodes:
        view = views[other.id]
        if other.id != node.id and view and node.id in view.members:
            known = await context.host.read_file(other.id, NODES_CONF) or ""
            try:
                return membership_file.as_member(known, node.id)
            except ValueError:
                continue
    raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"no other node knows node {node.id}")


async def _start(context: OperationContext, instance: Instance, node: Node, members: Mapping[str, str]) -> None:
    context.host.hold_port(node.host, node.port)
    await context.host.write_files(node.id, {**members, **await context.files(instance, node)})
    await start_process(context, node)


async def _follow(context: OperationContext, step: StepContext, node: Node, members: Sequence[Node]) -> None:
    """Wait until the node is in its cluster with all data, and open its port."""
    instance = await context.instance(step.task)
    topology, access = topology_of(instance.spec_code), context.access(instance)
    node = await wait_until_answering(context, instance, node)
    while True:
        step.raise_if_cancelled()
        admitted = not topology.has_sentinel or await admit(context, instance, node)
        if admitted and await is_settled(topology, node, [*members, node], access):
            break
        received = (await replication_of(node, access)).sync_bytes
        shown = node_detail(node, {"bytes_received": received})
        step.measure(done=min(received, step.sub_step.work.total), detail=shown)
        await asyncio.sleep(_POLL_SECONDS)
    if topology.is_cluster:
        await context.open_port(instance, node)

"""Actions that stop and start nodes which stay in their instance."""

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from cachewright import errors
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Task
from cachewright.operations import sentinels
from cachewright.operations.actions.action import NodeArguments, action
from cachewright.operations.actions.cluster import is_settled
from cachewright.operations.actions.nodes import restore_users, start_process, wait_until_answering
from cachewright.operations.actions.rebuild import other_primary
from cachewright.operations.context import OperationContext, best_view
from cachewright.operations.ending_node import LONGEST_GRACE_SECONDS, EndingNode, node_detail
from cachewright.operations.watched_roles import record_primary, wait_until_admitted
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.topologies import topology_of
from cachewright.valkey.topology import primaries

_STOP_SECONDS = 120.0
_SETTLE_SECONDS = 600.0
_POLL_SECONDS = 0.02


class NodeList(msgspec.Struct, frozen=True):
    node_ids: tuple[str, ...]


@action("halt node", NodeArguments, timeout=300 + LONGEST_GRACE_SECONDS, attempts=4, cancelling=10)
async def halt_node(context: OperationContext, step: StepContext, arguments: NodeArguments) -> None:
    """Ensure that the node does not run. While another node of its shard should run, that one is the primary before the
    node ends, and has all its writes. Clients of the node get time to leave."""
    await step.wait_until_allowed()
    instance, nodes = await context.instance_and_nodes(step.task)
    node = next(node for node in nodes if node.id == arguments.node_id)
    step.measure(detail=node_detail(node))
    views = await context.views(instance, nodes)
    others = [other for other in nodes if other.shard == node.shard and other.id != node.id and other.should_run]
    if views[node.id]:
        ending = EndingNode(context, step, instance, node)
        has_successor = await ending.hand_over(nodes, views)
        _require_successor(node, others, has_successor)
        await ending.end_clients(has_successor=has_successor)
    else:
        _require_successor(node, others, other_primary(node, nodes, views) is not None)
    await context.change_node(node.id, should_run=False)
    if topology_of(instance.spec_code).has_sentinel and not others:
        if views[node.id] and primaries(nodes, best_view(views)).get(node.shard) is node:
            await record_primary(context, instance.id, node.id)  # a failover a moment ago may not be recorded yet
        # At the next start, sentinels could promote a replica that stopped before the primary.
        await sentinels.forget(context, instance.id)
    try:
        await context.host.stop(node.id, _STOP_SECONDS)
    except TimeoutError as error:
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"node {node.id} does not end: {error}") from error


def _require_successor(node: Node, others: Sequence[Node], has_successor: bool) -> None:
    """ActionFailed if the shard would have no primary, or one without the node's last writes."""
    if others and not has_successor:
        message = f"no replica can take over from node {node.id}: none is in sync, or all have priority 0"
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, message)


@action("resume node", NodeArguments, timeout=300, attempts=4, cancelling=10)
async def resume_node(context: OperationContext, step: StepContext, arguments: NodeArguments) -> None:
    """Ensure that the node runs and answers."""
    instance, nodes = await context.instance_and_nodes(step.task)
    node = next(node for node in nodes if node.id == arguments.node_id)
    step.measure(detail=node_detail(node))
    await context.change_node(node.id, should_run=True)
    if not await context.host.process(node.id):
        await start_again(context, instance, node)
    await wait_until_answering(context, instance, node)


async def start_again(context: OperationContext, instance: Instance, node: Node) -> None:
    """Ensure that a node that has run before runs, with its data. ActionFailed DCS.9001."""
    if not await context.has_data(node.id):  # the supervisor repairs it
        raise ActionFailed(errors.NODE_START_FAILED, f"node {node.id}: its files are missing", True)
    await context.host.write_files(node.id, await context.files(instance, node))
    await start_process(context, node)


@action("settle nodes", NodeList, timeout=_SETTLE_SECONDS, attempts=4)
async def settle_nodes(context: OperationContext, step: StepContext, arguments: NodeList) -> None:
    """Wait until the nodes are back in their cluster, and open their ports."""

    def report(settled: int, number: int) -> None:
        step.raise_if_cancelled()
        step.measure(done=settled, detail=f"{{nodes_ready:{settled}/{number}}}")

    await settle(context, step.task, arguments.node_ids, report)


async def settle(
    context: OperationContext, task: Task, node_ids: Sequence[str], report: Callable[[int, int], None]
) -> None:
    """Perform `settle_nodes`. `report` is called with the number of nodes that are back, and that of all."""
    instance, nodes = await context.instance_and_nodes(task)
    topology, access = topology_of(instance.spec_code), context.access(instance)
    started = [node for node in nodes if node.id in node_ids]
    if topology.has_sentinel:
        # No sentinel knows an instance whose nodes were all stopped.
        unasked = all(node.id in node_ids for node in nodes if node.should_run)
        for node in sorted(started, key=lambda node: node.role != "primary"):
            await wait_until_admitted(context, instance, node, lambda: report(0, len(started)), unasked=unasked)
    views = await context.views(instance, nodes)
    members = [node for node in nodes if views[node.id]]
    while True:
        settled = sum(await asyncio.gather(*(is_settled(topology, node, members, access) for node in started)))
        report(settled, len(started))
        if settled == len(started):
            break
        await asyncio.sleep(_POLL_SECONDS)
    for node in started:
        await restore_users(context, instance, node)
        await context.open_port(instance, node)

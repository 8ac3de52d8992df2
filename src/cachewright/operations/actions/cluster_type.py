"""Actions that make a single or primary/standby instance a cluster, with another node and without its data on disk.

A node of a cluster replicates the present primary (`nodes_conf_behind`). Until the record names it, it is apart and the
instance is as before. In the cut-over the former nodes end while writes wait, so that none of them acknowledges a write
that the new node lacks; then one transaction records the cluster, and the new node takes over slots and address. If the
server dies before that transaction, the former nodes start again; after it, the new node has everything. Another
transaction lets the former nodes start again. Of these two, the first one that commits excludes the other.
"""

import asyncio
import threading

import msgspec

from cachewright import errors
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Task
from cachewright.operations import cut_over_records, proxies, sentinels
from cachewright.operations.actions.action import NoArguments, action
from cachewright.operations.actions.cluster import is_settled
from cachewright.operations.actions.node_status import settle, start_again
from cachewright.operations.actions.nodes import close_at_start, remove_node, start_process
from cachewright.operations.actions.replicas import Synchronization
from cachewright.operations.context import OperationContext
from cachewright.operations.ending_node import node_detail
from cachewright.operations.watched_roles import present_primary
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.topologies import CLUSTER, topology_of
from cachewright.valkey import cluster_membership, node_control
from cachewright.valkey.client import ANSWER_SECONDS
from cachewright.valkey.config import is_behind, nodes_conf_behind
from cachewright.valkey.last_writes import NotTheSame, other_databases, writes_paused
from cachewright.valkey.membership_file import NODES_CONF
from cachewright.valkey.replication import replication_of
from cachewright.valkey.single_request import info

_POLL_SECONDS = 0.02
_STOP_SECONDS = 10.0
_END_SECONDS = 1.0
"""Time that the former node has for its shutdown before it is killed. Writes wait for it."""

_OPEN_SECONDS = 60.0


class BecomeCluster(msgspec.Struct, frozen=True):
    """:ivar node_id: the node that takes over.
    :ivar spec_code: of the cluster.
    """

    node_id: str
    spec_code: str


@action("check databases", NoArguments, timeout=20, attempts=8)
async def check_databases(context: OperationContext, step: StepContext, _: NoArguments) -> None:
    """Check that the instance has keys in database 0 alone."""
    instance, nodes = await context.instance_and_nodes(step.task)
    await require_one_database(context, instance, await _primary(context, instance, nodes))


async def require_one_database(context: OperationContext, instance: Instance, primary: Node) -> None:
    """ActionFailed DCS.4102 if the primary has keys in other databases than 0."""
    said = await info(primary, context.access(instance), ("keyspace",), ANSWER_SECONDS)
    if reason := other_databases(said):
        raise ActionFailed(errors.UNSUPPORTED_RESIZE, reason, True)


@action("copy to cluster", BecomeCluster, timeout=24 * 3600, attempts=6, first_delay=1.0, stalled=60, cancelling=5)
async def copy_to_cluster(context: OperationContext, step: StepContext, arguments: BecomeCluster) -> None:
    """Ensure that the new node replicates the primary, and has all its data, also in its append-only file."""
    await step.wait_until_allowed()
    instance = await context.instance(step.task)
    if not topology_of(instance.spec_code).is_cluster:
        await _copy(context, step, instance, arguments)


@action("become cluster", BecomeCluster, timeout=900, attempts=6, cancelling=60)
async def become_cluster(context: OperationContext, step: StepContext, arguments: BecomeCluster) -> None:
    """Ensure that the instance is a cluster whose only node is the new one, at the address that clients have."""
    await step.wait_until_allowed()
    await _restart(context, step.task)  # if an earlier attempt was interrupted
    instance = await context.instance(step.task)
    if not topology_of(instance.spec_code).is_cluster:
        await _copy(context, step, instance, arguments)
        await _cut_over(context, step, arguments)
    await _take_over(context, step.task, arguments.node_id)


@action("remove former nodes", NoArguments, timeout=120, attempts=6, cancelling=60)
async def remove_former_nodes(context: OperationContext, step: StepContext, _: NoArguments) -> None:
    """Remove the nodes that an instance had before it became a cluster."""
    await remove_apart(context, step.task)


async def remove_apart(context: OperationContext, task: Task) -> None:
    """Remove all nodes that are apart."""
    for node in await context.apart_nodes(task.instance_id):
        await remove_node(context, node)


async def settle_type(context: OperationContext, task: Task) -> None:
    """Complete a change to a cluster that has reached the record, and undo one that has not. No effect without one."""
    apart = await context.apart_nodes(task.instance_id)
    if not apart:
        return
    await _restart(context, task)
    instance, nodes = await context.instance_and_nodes(task)
    if topology_of(instance.spec_code).is_cluster:
        at_address = [node for node in nodes if (node.host, node.port) == (instance.address, instance.seed_port)]
        await _take_over(context, task, at_address[0].id)
    await remove_apart(context, task)


async def _copy(context: OperationContext, step: StepContext, instance: Instance, arguments: BecomeCluster) -> None:
    node = await _apart_node(context, instance, arguments.node_id)

    async def attach(primary: Node) -> None:
        await require_one_database(context, instance, primary)
        await _start_behind(context, instance, arguments, primary)

    await Synchronization(context, step, instance, node, attach).ensure()


async def _start_behind(context: OperationContext, instance: Instance, arguments: BecomeCluster, primary: Node) -> None:
    """Ensure that the new node runs and replicates the primary. One that has ended, or replicates another node, begins
    without data: what it has is not compared with anything."""
    node = await _apart_node(context, instance, arguments.node_id)
    process, text = await context.host.process(node.id), await context.host.read_file(node.id, NODES_CONF)
    if process and is_behind(text, node, primary):
        return
    await context.host.remove(node.id, _STOP_SECONDS)
    cluster = msgspec.structs.replace(instance, spec_code=arguments.spec_code)
    files = {NODES_CONF: nodes_conf_behind(node, primary), **await context.files(cluster, node)}
    await context.host.write_files(node.id, files)
    context.host.hold_port(node.host, node.port)
    await start_process(context, node)


async def _cut_over(context: OperationContext, step: StepContext, arguments: BecomeCluster) -> None:
    """End the former nodes when the new one has all their writes, and record the cluster. After a failure the former
    nodes serve again."""
    instance, nodes = await context.instance_and_nodes(step.task)
    access, primary = context.access(instance), await _primary(context, instance, nodes)
    node = await _apart_node(context, instance, arguments.node_id)
    replicas, withdrawn = [other for other in nodes if other.id != primary.id], threading.Event()
    step.raise_if_cancelled()
    try:
        await asyncio.to_thread(cut_over_records.end, context.database, primary, withdrawn)
        if topology_of(instance.spec_code).has_sentinel:
            await sentinels.forget(context, instance.id)
        for former in nodes:  # the supervisor may start it from an earlier view of the record
            await close_at_start(context, instance, former)
        for replica in replicas:  # none of them can take over from here on
            if (await replication_of(replica, access)).role != "replica":
                message = f"node {replica.id} has just become the primary"
                raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, message)
            await _end(context, instance, replica)
        async with writes_paused(primary, access) as pause:
            await pause.until_applied_by(node, access)
            await _end(context, instance, primary)
            pause.require_unfinished()
            to = arguments.spec_code
            await asyncio.to_thread(cut_over_records.become_cluster, context.database, node, to, withdrawn)
            step.measure(detail=f"{node_detail(node)[:-1]},writes_waited_ms:{pause.seconds * 1000:.0f}}}")
    except BaseException as error:
        withdrawn.set()
        await _restart(context, step.task)
        if isinstance(error, NotTheSame):
            raise ActionFailed(errors.UNSUPPORTED_RESIZE, str(error), True) from error
        raise
    context.host.release_port(node.host, node.port)  # the node has the port of the instance now


async def _end(context: OperationContext, instance: Instance, node: Node) -> None:
    await node_control.shut_down(node, context.access(instance))
    await context.host.stop(node.id, _END_SECONDS)


async def _restart(context: OperationContext, task: Task) -> None:
    """Ensure that the former nodes serve again. No effect after the record names the cluster, or if none has ended.
    ActionFailed DCS.9001 if one does not start; the others do."""
    ended = await asyncio.to_thread(cut_over_records.restart, context.database, task.instance_id)
    instance, nodes = await context.instance_and_nodes(task)
    failures: list[ActionFailed | OSError] = []
    for node in ended:
        try:
            await start_again(context, instance, node)
        except (ActionFailed, OSError) as failure:
            failures.append(failure)
    if failures:
        raise failures[0]
    if ended:
        await settle(context, task, [node.id for node in nodes], lambda done, of: None)


async def _take_over(context: OperationContext, task: Task, node_id: str) -> None:
    """Ensure that the new node owns all slots, and listens at the address of the instance."""
    instance, nodes = await context.instance_and_nodes(task)
    node, access = next(node for node in nodes if node.id == node_id), context.access(instance)
    for former in await context.apart_nodes(instance.id):
        await context.host.stop(former.id, _END_SECONDS)
    await proxies.remove(context, instance.id)
    context.host.hold_port(node.host, node.port)
    await context.host.write_files(node.id, await context.files(instance, node))
    await start_process(context, node)
    await node_control.announce_port(node, access)
    await cluster_membership.replace_placeholder(node, access, founding=True)
    async with asyncio.timeout(_OPEN_SECONDS):
        while not await is_settled(CLUSTER, node, [node], access):
            await asyncio.sleep(_POLL_SECONDS)
    await context.open_port(instance, node)


async def _apart_node(context: OperationContext, instance: Instance, node_id: str) -> Node:
    found = {node.id: node for node in await context.apart_nodes(instance.id)}
    if node_id not in found:
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"node {node_id} was removed", True)
    return found[node_id]


async def _primary(context: OperationContext, instance: Instance, nodes: list[Node]) -> Node:
    primary = await present_primary(context, instance, nodes)
    if primary is None:
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, "a failover moves the primary now")
    return primary

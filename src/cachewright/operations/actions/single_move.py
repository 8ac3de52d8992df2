"""Actions that move the only node of a single instance to another host.

A new node, which is apart, replicates the present one. Then Valkey hands over (FAILOVER): the present node makes writes
wait, and the new one becomes the primary when it has all of them. One transaction records it as the node of the
instance; before that no client knows it. If the server dies before that transaction, the former node serves again and
has every acknowledged write; after it, the new one has.
"""

import asyncio
import time
from contextlib import suppress

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.hosts.calls import HostSilent
from cachewright.model.instances import Node
from cachewright.model.tasks import Task
from cachewright.operations import proxies
from cachewright.operations.actions.action import action
from cachewright.operations.actions.node_status import start_again
from cachewright.operations.actions.nodes import (
    close_at_start,
    remove_node,
    restore_users,
    start_process,
    wait_until_answering,
)
from cachewright.operations.actions.replicas import Synchronization
from cachewright.operations.context import OperationContext
from cachewright.operations.ending_node import LONGEST_GRACE_SECONDS, EndingNode, node_detail
from cachewright.store import instances
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.valkey import plain_replication
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.replication import Replication, replication_of

_POLL_SECONDS = 0.02
_HANDOVER_SECONDS = 10.0


class MoveSingle(msgspec.Struct, frozen=True):
    """:ivar node_id: the node that leaves.
    :ivar replacement: the new one.
    """

    node_id: str
    replacement: str


@action("copy single node", MoveSingle, timeout=24 * 3600, attempts=6, first_delay=1.0, stalled=60, cancelling=5)
async def copy_single_node(context: OperationContext, step: StepContext, arguments: MoveSingle) -> None:
    """Ensure that the new node replicates the present one, and has all its data, also in its append-only file."""
    await step.wait_until_allowed()
    if new := await _apart(context, step.task, arguments.replacement):
        await _copy(context, step, new)


@action("hand over single node", MoveSingle, timeout=120, attempts=6, cancelling=60)
async def hand_over_single_node(context: OperationContext, step: StepContext, arguments: MoveSingle) -> None:
    """Ensure that the new node is the node of the instance, with every acknowledged write, and that its address leads
    there."""
    await step.wait_until_allowed()
    if new := await _apart(context, step.task, arguments.replacement):
        await _serve_again(context, step.task, arguments.node_id)  # if an earlier attempt was interrupted
        await _copy(context, step, new)
        await _hand_over(context, step, arguments)
    instance = await context.instance(step.task)
    step.measure(detail=f"{{address:{instance.address}:{instance.seed_port}}}")
    await proxies.ensure_reachable(context, instance.id)


@action("remove single node", MoveSingle, timeout=60 + LONGEST_GRACE_SECONDS, attempts=6, cancelling=60)
async def remove_single_node(context: OperationContext, step: StepContext, arguments: MoveSingle) -> None:
    """Remove the node that the new one has replaced, when its clients have had time to leave."""
    former = await _apart(context, step.task, arguments.node_id)
    if former is None:
        return
    instance = await context.instance(step.task)
    with suppress(*NODE_GONE):
        await EndingNode(context, step, instance, former).end_clients(has_successor=True)
    await remove_node(context, former)


async def settle_single(context: OperationContext, task: Task) -> None:
    """Complete a move that has reached the record, and undo one that has not: the former node serves."""
    apart = await context.apart_nodes(task.instance_id)
    for node in await context.nodes(task.instance_id) if apart else ():
        await _serve_again(context, task, node.id)
    for other in await context.apart_nodes(task.instance_id):
        await remove_node(context, other)


async def _apart(context: OperationContext, task: Task, node_id: str) -> Node | None:
    return next((node for node in await context.apart_nodes(task.instance_id) if node.id == node_id), None)


async def _copy(context: OperationContext, step: StepContext, new: Node) -> None:
    instance = await context.instance(step.task)
    access = context.access(instance)

    async def attach(present: Node) -> None:
        with suppress(*NODE_GONE):
            if not await context.host.process(new.id):
                await context.host.write_files(new.id, await context.files(instance, new))
                context.host.hold_port(new.host, new.port)
                await start_process(context, new)
                await wait_until_answering(context, instance, new)
            await plain_replication.follow(new, present, access)

    await Synchronization(context, step, instance, new, attach).ensure()


async def _hand_over(context: OperationContext, step: StepContext, arguments: MoveSingle) -> None:
    """Let the new node take over, and record that. After a failure the former node serves again."""
    instance, (former,) = await context.instance_and_nodes(step.task)
    new = await _apart(context, step.task, arguments.replacement)
    if new is None:
        return
    access = context.access(instance)
    step.raise_if_cancelled()
    step.measure(detail=node_detail(new))
    try:
        # The supervisor must not start it again as a primary. If it does from an earlier view of the record, the node
        # listens for no client.
        await context.change_node(former.id, should_run=False)
        await close_at_start(context, instance, former)
        deadline = time.monotonic() + _HANDOVER_SECONDS
        await plain_replication.begin_handover(former, new, access)
        while not _is_handed_over(await replication_of(former, access), await replication_of(new, access)):
            if time.monotonic() > deadline:
                message = f"node {new.id} did not take over from {former.id}"
                raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, message)
            await plain_replication.report_offset(new, access)
            await asyncio.sleep(_POLL_SECONDS)
        await asyncio.to_thread(_record, context, former, new)
    except BaseException:
        await _serve_again(context, step.task, former.id)
        raise
    context.host.release_port(new.host, new.port)


def _is_handed_over(former: Replication, new: Replication) -> bool:
    return (former.role, new.role) == ("replica", "primary") and former.is_linked


def _record(context: OperationContext, former: Node, new: Node) -> None:
    """Record that a node has the place of another one. Without a proxy, clients get its address."""
    with context.database.write() as connection:
        instance = instances.find(connection, new.instance_id)
        if instance is None:
            raise LookupError(f"instance {new.instance_id} does not exist")
        _require_withdrawn(connection, former)
        instances.change_node(connection, former.id, apart=True, should_run=False)
        instances.change_node(connection, new.id, apart=False, should_run=True, role="primary")
        if (instance.address, instance.seed_port) == (former.host, former.port):
            instances.change(connection, instance.id, address=new.host, seed_port=new.port)


def _require_withdrawn(connection: sa.Connection, former: Node) -> None:
    """ActionFailed if the former node serves again: it may have acknowledged writes that the new one lacks. A thread
    that waits for its transaction does not end when its sub-step is cancelled."""
    present = {node.id: node for node in instances.nodes_of(connection, former.instance_id)}
    if former.id not in present or present[former.id].should_run:
        message = f"node {former.id} serves the instance again"
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, message)


async def _serve_again(context: OperationContext, task: Task, node_id: str) -> None:
    """Ensure that a node serves as the primary of its instance, unless another one has its place. No effect on one that
    does."""
    if not await asyncio.to_thread(_require_running, context, node_id, task.instance_id):
        return
    instance, (node,) = await context.instance_and_nodes(task)
    try:
        await context.host.write_files(node.id, await context.files(instance, node))
        if not await context.host.process(node.id):
            await start_again(context, instance, node)
    except HostSilent:  # the supervisor starts it when its host reports
        return
    with suppress(*NODE_GONE, NodeRefused):
        await restore_users(context, instance, node)
        await plain_replication.end_handover(node, context.access(instance))


def _require_running(context: OperationContext, node_id: str, instance_id: str) -> bool:
    """Record that a node should run, and return whether it is the node of the instance. `_record` does nothing then."""
    with context.database.write() as connection:
        if all(node.id != node_id for node in instances.nodes_of(connection, instance_id)):
            return False
        instances.change_node(connection, node_id, should_run=True)
        return True

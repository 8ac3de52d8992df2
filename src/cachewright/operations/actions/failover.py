"""Actions on instances that Sentinel watches: start and remove replication, monitoring by Sentinel and the proxy."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.hosts.calls import HostSilent
from cachewright.hosts.host import NodeStartFailed
from cachewright.model.instances import Instance, Node
from cachewright.model.sentinels import Sentinel
from cachewright.operations import proxies, sentinels
from cachewright.operations.actions.action import NoArguments, action
from cachewright.operations.context import OperationContext
from cachewright.operations.watched_roles import primary_of
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.valkey import plain_replication
from cachewright.valkey.client import NODE_GONE

_POLL_SECONDS = 0.05
_LATE_SECONDS = 15.0


@action("form replication", NoArguments, timeout=60, attempts=3)
async def form_replication(context: OperationContext, step: StepContext, _: NoArguments) -> None:
    """Let the replicas of a new instance follow its primary. Returns when they are in sync."""
    instance, nodes = await context.instance_and_nodes(step.task)
    access = context.access(instance)
    primary = next(node for node in nodes if node.role == "primary")
    await context.open_port(instance, primary)
    await plain_replication.accept_writes(primary, access)
    replicas = [node for node in nodes if node.id != primary.id]
    for replica in replicas:
        await plain_replication.follow(replica, primary, access)
        await context.open_port(instance, replica)
    while True:
        views = await context.views(instance, nodes, needed="none")
        lead = views[primary.id]
        ready = sum(bool(lead and lead.knows([node.id]) and (own := views[node.id]) and own.ok) for node in nodes)
        step.measure(done=ready, detail=f"{{nodes_ready:{ready}/{len(nodes)}}}")
        if ready == len(nodes):
            return
        await asyncio.sleep(_POLL_SECONDS)


@action("watch primary", NoArguments, timeout=60, attempts=4)
async def watch_primary(context: OperationContext, step: StepContext, _: NoArguments) -> None:
    """Let the sentinels watch the instance. Returns when each one knows the others and the replicas, which a failover
    needs, and no node that has left."""
    instance, nodes = await context.instance_and_nodes(step.task)
    await ensure_watched(context, step, instance, nodes)


async def ensure_watched(
    context: OperationContext, step: StepContext, instance: Instance, nodes: Sequence[Node]
) -> None:
    """Perform `watch_primary` for an instance that has these nodes. After some seconds those sentinels suffice that can
    perform a failover, to a replica that answers; the failover watch completes the others."""
    try:
        fleet = await sentinels.started(context, instance)
    except ApiError as refused:
        raise ActionFailed(refused.code, refused.message) from refused
    except (NodeStartFailed, HostSilent) as failure:
        raise ActionFailed(errors.NODE_START_FAILED, f"a sentinel did not start: {failure}") from failure
    await _watch(context, fleet, instance, nodes)
    step.measure(detail=f"{{sentinels:{len(fleet)}}}")
    late, has_moved = time.monotonic() + _LATE_SECONDS, False
    while not await _is_watched(context, fleet, instance, nodes, is_late=time.monotonic() > late):
        step.raise_if_cancelled()
        before, fleet = fleet, await sentinels.fleet_of(context, instance)
        has_moved |= fleet != before
        if has_moved:  # one that starts on another host watches nothing, and the failover watch adds no new instance
            await _watch(context, fleet, instance, nodes)
        await sentinels.forget_replicas(context, fleet, instance.id, len(nodes) - 1)
        await asyncio.sleep(_POLL_SECONDS)


async def _is_watched(
    context: OperationContext, fleet: Sequence[Sentinel], instance: Instance, nodes: Sequence[Node], *, is_late: bool
) -> bool:
    replicas = len(nodes) - 1
    if is_late:  # no sentinel finds a node that does not answer, such as one on another host that is lost
        views = await context.views(instance, nodes, needed="none")
        replicas = sum(view is not None for view in views.values()) - 1
    return await sentinels.is_watched(context, fleet, instance.id, replicas, by_quorum=is_late)


async def _watch(
    context: OperationContext, fleet: Sequence[Sentinel], instance: Instance, nodes: Sequence[Node]
) -> None:
    """Let each sentinel that answers watch an instance."""
    primary = primary_of(nodes, await sentinels.agree(context, instance))
    assert primary is not None  # noqa: S101  # every instance is created with one
    for sentinel in fleet:
        with suppress(*NODE_GONE):
            await sentinels.watch(context, sentinel, instance, primary, nodes)


@action("start proxy", NoArguments, timeout=60, attempts=4)
async def start_proxy(context: OperationContext, step: StepContext, _: NoArguments) -> None:
    """Ensure that the address of the instance leads to its primary. Without a proxy it is that of the primary."""
    instance = await context.instance(step.task)
    step.measure(detail=f"{{address:{instance.address}:{instance.seed_port}}}")
    await proxies.ensure_reachable(context, instance.id)


@action("end failover", NoArguments, timeout=60, attempts=6)
async def end_failover(context: OperationContext, step: StepContext, _: NoArguments) -> None:
    """Let the sentinels forget an instance that is deleted, and remove its proxy."""
    await withdraw(context, step.task.instance_id)


@action("end proxy", NoArguments, timeout=60, attempts=6)
async def end_proxy(context: OperationContext, step: StepContext, _: NoArguments) -> None:
    """Remove the proxy of an instance that is deleted, if it has one."""
    await proxies.remove(context, step.task.instance_id)


async def withdraw(context: OperationContext, instance_id: str) -> None:
    """Let the sentinels forget an instance, and remove its proxy. A sentinel that does not answer forgets it later."""
    try:
        await sentinels.forget(context, instance_id)
        await proxies.remove(context, instance_id)
    except NODE_GONE as gone:
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"the proxy cannot be removed: {gone}") from gone

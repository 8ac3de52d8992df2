"""Actions that make a single instance a primary/standby instance, and the reverse. The node keeps running.

The record changes first, in one transaction: from then on every other part treats the instance as what it becomes. If
the node or the server dies at any point, the node starts with the files of the new type, and the action completes.
"""

import asyncio
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.flavors import Flavor, parse
from cachewright.hosts.addresses import LOOPBACK, is_loopback
from cachewright.hosts.ports import NodePorts
from cachewright.model.instances import Instance, Node, has_proxy, node_elsewhere
from cachewright.model.tasks import Task
from cachewright.operations import proxies, sentinels
from cachewright.operations.actions.action import NoArguments, action
from cachewright.operations.actions.failover import ensure_watched
from cachewright.operations.context import AS_WRITTEN, OperationContext
from cachewright.operations.ending_node import LONGEST_GRACE_SECONDS, EndingNode, node_detail
from cachewright.placement.port_reservation import reserve
from cachewright.store import instances
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.topologies import topology_of
from cachewright.valkey import plain_replication


class ChangeType(msgspec.Struct, frozen=True):
    """`spec_code` is that of the new type."""

    spec_code: str


@action("become ha", ChangeType, timeout=60, attempts=6, cancelling=10)
async def become_ha(context: OperationContext, step: StepContext, arguments: ChangeType) -> None:
    """Ensure that a single instance is one of type ha: sentinels watch its node, and its address is that of a proxy,
    where there is HAProxy. The node moves to another port for that, so that clients keep their address. An instance on
    another host has no proxy, because proxies run on the host of the server."""
    await step.wait_until_allowed()
    instance, nodes = await context.instance_and_nodes(step.task)
    access = context.access(instance)
    if _gets_proxy(context, instance, nodes):
        try:
            await proxies.prove(context, instance, [_only(nodes)])
        except ActionFailed as failure:
            raise ActionFailed(failure.code, failure.message, True) from failure  # nothing has changed yet
    await plain_replication.add_watchers(_only(nodes), access)  # before a sentinel or a proxy signs in
    node = await asyncio.to_thread(_record_ha, context, instance, arguments.spec_code)
    instance, nodes = await context.instance_and_nodes(step.task)
    step.measure(detail=node_detail(node))
    await context.host.write_files(node.id, await context.files(instance, node))
    context.host.release_port(instance.address, instance.seed_port)
    await plain_replication.listen(node, access)
    await context.open_port(instance, node)
    await plain_replication.accept_writes(node, access)
    await ensure_watched(context, step, instance, [node])
    await proxies.ensure_reachable(context, instance.id)


@action("end direct connections", NoArguments, timeout=60 + LONGEST_GRACE_SECONDS, attempts=6, cancelling=10)
async def end_direct_connections(context: OperationContext, step: StepContext, _: NoArguments) -> None:
    """Close the connections of clients to the former port of the node, on which the proxy listens now. They would stay
    at the node when another one is the primary. Those that hold something get time."""
    await step.wait_until_allowed()
    instance, nodes = await context.instance_and_nodes(step.task)
    if not has_proxy(instance, nodes):
        return
    node = _only(nodes)
    ending = EndingNode(context, step, instance, node)
    await ending.end_clients(has_successor=True, local_address=f"{instance.address}:{instance.seed_port}")


@action("become single", ChangeType, timeout=60, attempts=6, cancelling=10)
async def become_single(context: OperationContext, step: StepContext, arguments: ChangeType) -> None:
    """Ensure that an instance of type ha whose only node is its primary is a single instance. It keeps its
    proxy, and its address with it."""
    await step.wait_until_allowed()
    await ensure_single(context, step.task.project_id, step.task.instance_id, arguments.spec_code)


async def ensure_single(context: OperationContext, project_id: str, instance_id: str, spec_code: str) -> None:
    """Perform `become_single`."""

    def record() -> tuple[Instance, Node]:
        with context.database.write() as connection:
            instance = instances.get(connection, project_id, instance_id)
            nodes = instances.nodes_of(connection, instance_id)
            if instance is None:
                raise LookupError(f"instance {instance_id} does not exist")
            if len(nodes) != 1:
                raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"the instance has {len(nodes)} nodes")
            instances.change_node(connection, nodes[0].id, role="primary")
            instances.change(connection, instance_id, spec_code=spec_code)
            return msgspec.structs.replace(instance, spec_code=spec_code), nodes[0]

    instance, node = await asyncio.to_thread(record)
    access = context.access(instance)
    await sentinels.forget(context, instance_id)
    await context.host.write_files(node.id, {AS_WRITTEN: "", **await context.files(instance, node)})
    await context.open_port(instance, node)
    await plain_replication.accept_writes(node, access)
    await plain_replication.remove_sentinels(node, access)


async def complete_change_of_type(context: OperationContext, task: Task) -> None:
    """Make an instance with one node a single instance, if it was one before the task, or has become one in the
    record. One that has got a replica stays a primary/standby instance, and one that is a cluster stays that."""
    instance, nodes = await context.instance_and_nodes(task)
    before = task.details.get("old_resource_spec_code", instance.spec_code)
    if single := single_after(parse(before), parse(instance.spec_code), len(nodes)):
        await ensure_single(context, instance.project_id, instance.id, single)


def single_after(before: Flavor, now: Flavor, nodes: int) -> str | None:
    """Return the spec code of the single instance that a change between `single` and `ha` leaves; None if it leaves
    none."""
    if nodes != 1 or {before.cache_mode, now.cache_mode} != {"single", "ha"}:
        return None
    return next(flavor.spec_code for flavor in (before, now) if flavor.cache_mode == "single")


def _gets_proxy(context: OperationContext, instance: Instance, nodes: Sequence[Node]) -> bool:
    return context.host.has_haproxy and not has_proxy(instance, nodes) and node_elsewhere([_only(nodes)]) is None


def _only(nodes: Sequence[Node]) -> Node:
    """The node of the single instance; nodes that the task adds follow it later."""
    return next(node for node in nodes if node.role == "primary")


def _record_ha(context: OperationContext, instance: Instance, spec_code: str) -> Node:
    """Record the new type and, for a proxy, another port of the node. ActionFailed DCS.4039 if no port is free."""

    def change(connection: sa.Connection, ports: Sequence[NodePorts]) -> Node:
        nodes = instances.nodes_of(connection, instance.id)
        for own in ports if not has_proxy(instance, nodes) else ():
            instances.change_node(connection, _only(nodes).id, **own.columns)
        instances.change(connection, instance.id, spec_code=spec_code)
        return _only(instances.nodes_of(connection, instance.id))

    with context.database.read() as connection:
        nodes = instances.nodes_of(connection, instance.id)
    if topology_of(instance.spec_code).has_sentinel or not _gets_proxy(context, instance, nodes):
        with context.database.write() as connection:
            return change(connection, ())
    try:
        host = _only(nodes).host
        address = host if is_loopback(host) else LOOPBACK  # clients reach nodes through the proxy alone
        others = frozenset(port for node in nodes for port in node.ports)
        tls = instance.node_ca is not None
        return reserve(context.database, context.host, context.settings, [address], change, tls=tls, avoid=others)
    except ApiError as refused:
        raise ActionFailed(refused.code, refused.message) from refused

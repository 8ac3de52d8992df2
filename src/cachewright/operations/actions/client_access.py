"""Actions on the address of an instance: its proxy, TLS and the whitelist."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.hosts.addresses import LOOPBACK, is_loopback
from cachewright.hosts.ports import NodePorts
from cachewright.model.instances import Instance, Node, allowed_addresses, has_proxy
from cachewright.operations import client_certificates, client_firewall, proxies
from cachewright.operations.actions.action import NoArguments, action
from cachewright.operations.actions.nodes import SETTLE_SECONDS, ensure_restarted
from cachewright.operations.actions.upgrade import roll_back
from cachewright.operations.context import OperationContext
from cachewright.operations.ending_node import LONGEST_GRACE_SECONDS
from cachewright.placement.port_reservation import reserve
from cachewright.store import instances
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.topologies import topology_of
from cachewright.valkey import node_control
from cachewright.valkey.client import NODE_GONE
from cachewright.valkey.client_addresses import close_others


class Switch(msgspec.Struct, frozen=True):
    enabled: bool


class NodeSwitch(msgspec.Struct, frozen=True):
    node_id: str
    enabled: bool


@action("move port", NoArguments, timeout=60, attempts=4)
async def move_port(context: OperationContext, step: StepContext, _: NoArguments) -> None:
    """Ensure that the only node of an instance listens on loopback, at another port than that of the instance, so that
    a proxy can have the address. Connections of clients to the address are closed."""
    instance, (node,) = await context.instance_and_nodes(step.task)
    if not has_proxy(instance, [node]):
        await proxies.prove(context, instance, [node])
        node = await _moved(context, node)
    step.measure(detail=f"{{node_id:{node.id},address:{node.host}:{node.port}}}")
    await context.host.write_files(node.id, await context.files(instance, node))
    try:
        await node_control.leave_address(node, context.access(instance), instance.address, instance.seed_port)
    except NODE_GONE as gone:
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"node {node.id} does not answer: {gone}") from gone


async def _moved(context: OperationContext, node: Node) -> Node:
    """Record another address of a node. Raises ActionFailed DCS.4039 if no port is free."""
    address, tls = node.host if is_loopback(node.host) else LOOPBACK, node.tls_port is not None

    def change(connection: sa.Connection, ports: Sequence[NodePorts]) -> NodePorts:
        (own,) = ports
        instances.change_node(connection, node.id, **own.columns)
        return own

    def move() -> NodePorts:
        return reserve(context.database, context.host, context.settings, [address], change, tls=tls)

    try:
        own = await asyncio.to_thread(move)
    except ApiError as refused:
        raise ActionFailed(refused.code, refused.message) from refused
    return msgspec.structs.replace(node, **own.columns)


@action("switch tls", Switch, timeout=60, attempts=4)
async def switch_tls(context: OperationContext, step: StepContext, arguments: Switch) -> None:
    """Ensure that clients reach the primary with TLS, or without it."""
    await record_tls(context, step.task.instance_id, enabled=arguments.enabled)
    await proxies.ensure_reachable(context, step.task.instance_id)


@action("apply whitelist", Switch, timeout=60, attempts=4)
async def apply_whitelist(context: OperationContext, step: StepContext, arguments: Switch) -> None:
    """Ensure that clients connect from exactly the recorded addresses: through a proxy that leads to the primary, or to
    the nodes of a cluster. Raises ActionFailed DCS.9005 if the whitelist should be on and is recorded as off."""
    instance = await context.instance(step.task)
    if arguments.enabled and allowed_addresses(instance) is None:
        reason = "the whitelist was switched off since, by a request or a failure; request it again"
        raise ActionFailed(errors.TASK_CANCELLED, reason, True)
    if topology_of(instance.spec_code).is_cluster:
        await _filter_cluster(context, step, instance)
    else:
        await proxies.ensure_reachable(context, instance.id)


async def _filter_cluster(context: OperationContext, step: StepContext, instance: Instance) -> None:
    """Load the rules of the whitelist, and close connections from other addresses: their clients get no more replies,
    which the nodes would notice only minutes later."""
    if context.host.client_firewall is not None or client_firewall.is_filtered(instance):
        await client_firewall.ensure(context.database, context.host)
    allowed = allowed_addresses(instance)
    if allowed is None:
        return

    async def close(node: Node) -> int:
        with suppress(*NODE_GONE):
            return await close_others(node, context.access(instance), allowed)
        return 0

    closed = await asyncio.gather(*map(close, await context.nodes(instance.id)))
    step.measure(detail=f"{{connections_closed:{sum(closed)}}}")


@action("switch node tls", NodeSwitch, timeout=SETTLE_SECONDS + LONGEST_GRACE_SECONDS, attempts=4, cancelling=10)
async def switch_node_tls(context: OperationContext, step: StepContext, arguments: NodeSwitch) -> None:
    """Ensure that a node of a cluster has restarted with TLS of clients, or without it, and is back in its cluster."""
    await ensure_restarted(context, step, arguments.node_id, client_tls=arguments.enabled)


async def return_nodes(
    context: OperationContext, instance: Instance, nodes: Sequence[Node], *, client_tls: bool
) -> None:
    """Restart the nodes of a cluster that do not listen with this TLS of clients. Raises NodeStartFailed."""

    async def give_back(node: Node) -> None:
        wanted, other = (msgspec.structs.replace(node, client_tls=tls) for tls in (client_tls, not client_tls))
        await context.change_node(node.id, client_tls=client_tls)
        if await node_control.tls_port(context.access(instance), wanted, other) != wanted.tls_listener:
            await roll_back(context, instance, wanted)

    await asyncio.gather(*(give_back(node) for node in nodes if node.should_run))


async def record_tls(context: OperationContext, instance_id: str, *, enabled: bool) -> None:
    """Record a certificate for clients of the instance, or that they use no TLS."""

    def write() -> None:
        with context.database.write() as connection:
            instance = instances.find(connection, instance_id)
            if instance is not None and enabled != (instance.server_certificate is not None):
                certificate = client_certificates.of_instance(connection, instance) if enabled else None
                instances.change_certificate(connection, instance_id, certificate)

    await asyncio.to_thread(write)

"""Actions on single nodes: start, restart, set the memory limit, release, stop."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.concurrency import GrowingPauses
from cachewright.errors import ApiError
from cachewright.flavors import parse
from cachewright.hosts.calls import HostSilent
from cachewright.hosts.host import CONFIG, NodeStartFailed
from cachewright.hosts.ports import NodePorts
from cachewright.model.hosts import EMBEDDED
from cachewright.model.instances import Instance, Node
from cachewright.operations.actions.action import NodeArguments, action
from cachewright.operations.actions.cluster import is_settled
from cachewright.operations.context import OperationContext
from cachewright.operations.ending_node import LONGEST_GRACE_SECONDS, EndingNode, node_detail
from cachewright.operations.watched_roles import wait_until_admitted
from cachewright.placement.port_reservation import reserve
from cachewright.store import instances, stale_nodes
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.topologies import topology_of
from cachewright.valkey import cluster_membership, node_control
from cachewright.valkey.access import can_close_all_ports
from cachewright.valkey.client import NODE_GONE, NodeBusy, NodeRefused
from cachewright.valkey.config import LISTENER_CONF
from cachewright.valkey.membership_file import NODES_CONF
from cachewright.valkey.topology import View
from cachewright.valkey.users import NO_USERS, ensure_users, users_of

_POLL_SECONDS = 0.02
_STOP_SECONDS = 10.0
_RESTART_SECONDS = 120.0
SETTLE_SECONDS = 600.0


class StartNode(msgspec.Struct, frozen=True):
    """`founding` nodes are those that a new instance begins with."""

    node_id: str
    founding: bool


class ReleaseNode(msgspec.Struct, frozen=True):
    """`leaving` are ids of all nodes that the plan removes; they need not forget each other."""

    node_id: str
    leaving: tuple[str, ...]


@action("start node", StartNode, timeout=300, attempts=4, cancelling=5)
async def start_node(context: OperationContext, step: StepContext, arguments: StartNode) -> None:
    """Ensure that the node runs and answers. A founding primary gets its share of the slots."""
    instance, node = await launch(context, step, arguments)
    node = await wait_until_answering(context, instance, node)
    await take_slots(context, instance, node, arguments)


async def launch(
    context: OperationContext, step: StepContext, arguments: StartNode, *, closed: bool = False
) -> tuple[Instance, Node]:
    """Ensure that the process of a node of `start_node` runs. Clients cannot use a `closed` one, whatever its topology,
    until its files are written again."""
    instance = await context.instance(step.task)
    node = next(node for node in await context.nodes(instance.id) if node.id == arguments.node_id)
    if not await context.host.process(node.id) and not await _are_ports_free(context, node):
        node = await _change_ports(context, instance, node)
    step.measure(detail=node_detail(node))
    await _write_files(context, instance, node, founding=arguments.founding)
    if closed:
        await close_at_start(context, instance, node)
    context.host.hold_port(node.host, node.port)
    await start_process(context, node)
    return instance, node


async def start_process(context: OperationContext, node: Node) -> None:
    """Ensure that the process of a node runs. ActionFailed DCS.9001."""
    try:
        await context.host.start(node.id)
    except NodeStartFailed as failure:
        raise ActionFailed(errors.NODE_START_FAILED, f"node {node.id} did not start: {failure}") from failure


async def close_at_start(context: OperationContext, instance: Instance, node: Node) -> None:
    """Keep clients from using the node after its next start, until its files are written again. It does not listen on
    their port. Where that is not enough, it has no users of clients: the control plane needs that port on another host,
    and a proxy uses the port for TLS."""
    if not _starts_without_users(instance, node):
        files = await context.files(instance, node)
        await context.host.write_files(node.id, {CONFIG: files[CONFIG] + LISTENER_CONF})
    else:
        await context.host.write_files(node.id, await context.files(instance, node, users=NO_USERS))


def _starts_without_users(instance: Instance, node: Node) -> bool:
    is_closed = node.host_name == EMBEDDED and topology_of(instance.spec_code).is_cluster
    return not (is_closed or can_close_all_ports(node))


async def restore_users(context: OperationContext, instance: Instance, node: Node) -> None:
    """Ensure that a node has its users of clients, which it lacks if `close_at_start` has kept clients out by that.
    Raises one of NODE_GONE or NodeRefused."""
    if _starts_without_users(instance, node):
        await ensure_users(node, context.access(instance), users_of(instance))


async def take_slots(context: OperationContext, instance: Instance, node: Node, arguments: StartNode) -> None:
    """Let a node of `start_node` take over its slots, if it is a founding primary of a cluster."""
    if arguments.founding and node.role == "primary":
        await cluster_membership.replace_placeholder(node, context.access(instance), founding=True)


@action("restart node", NodeArguments, timeout=SETTLE_SECONDS + LONGEST_GRACE_SECONDS, attempts=4, cancelling=10)
async def restart_node(context: OperationContext, step: StepContext, arguments: NodeArguments) -> None:
    """Ensure that the node's process is younger than the sub-step and that the node is back in its cluster.

    Before a primary restarts, a replica that is in sync takes over. Clients of the node get time to leave.
    """
    await ensure_restarted(context, step, arguments.node_id)


async def ensure_restarted(
    context: OperationContext,
    step: StepContext,
    node_id: str,
    *,
    server_version: str | None = None,
    parameters: Mapping[str, str] | None = None,
    client_tls: bool | None = None,
) -> None:
    """Perform `restart_node`, with a valkey-server of this version if one is given. `parameters` are values with which
    the node starts and that are not recorded yet. `client_tls`, unless it is None, is recorded when the node has
    started with it: the control plane then reaches a node on another host at another port."""
    await step.wait_until_allowed()
    instance, nodes, views = await context.look(step.task)
    node = next(node for node in nodes if node.id == node_id)
    if server_version:
        node = msgspec.structs.replace(node, server_version=server_version)
    started = node if client_tls is None else msgspec.structs.replace(node, client_tls=client_tls)
    begin_time = (step.sub_step.begin_time or 0) / 1000
    process = await context.host.process(node.id)
    if client_tls is not None and process:
        listener = await node_control.tls_port(context.access(instance), node, started)
        if listener not in {None, started.tls_listener}:
            begin_time = max(begin_time, time.time())
    if server_version and process and await _runs_another(context, instance, node, server_version):
        begin_time = max(begin_time, time.time())  # the supervisor may have started it with its former files
    if process is None or process.started_at < begin_time:
        await context.views(instance, [node], needed="all")  # a node that runs a script cannot end
        step.measure(detail=node_detail(node))
        ending = EndingNode(context, step, instance, node)
        await ending.end_clients(has_successor=await ending.hand_over(nodes, views))
        await context.host.write_files(node.id, await context.files(instance, started, parameters))
        try:
            await context.host.restart(node.id, begin_time, _RESTART_SECONDS)
        except NodeStartFailed as failure:
            raise ActionFailed(errors.NODE_START_FAILED, f"node {node.id} did not start: {failure}") from failure
        except TimeoutError as error:
            await context.views(instance, [node], needed="all")
            raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"node {node.id} does not end: {error}") from error
    if client_tls is not None:
        await context.change_node(node.id, client_tls=client_tls)
    async with asyncio.timeout(SETTLE_SECONDS):
        node = await wait_until_answering(context, instance, started)
        await wait_until_admitted(context, instance, node, step.raise_if_cancelled)
        topology, pauses = topology_of(instance.spec_code), GrowingPauses(_POLL_SECONDS)
        while not await is_settled(topology, node, nodes, context.access(instance)):
            await pauses.next()
    await context.open_port(instance, node)


async def _runs_another(context: OperationContext, instance: Instance, node: Node, version: str) -> bool:
    """Whether the node answers, and runs another version of valkey-server."""
    try:
        return await node_control.server_version(node, context.access(instance)) != version
    except NODE_GONE:
        return False


@action("set memory", NodeArguments, timeout=20, attempts=6)
async def set_memory(context: OperationContext, step: StepContext, arguments: NodeArguments) -> None:
    """Set the node's memory limit to that of the task's spec code, now and for its next start.

    Raises ActionFailed DCS.9008 if the node holds more than that: Valkey would evict keys or refuse writes.
    """
    instance = await context.instance(step.task)
    node = await context.node(instance.id, arguments.node_id)
    if node is None:
        return
    limit = parse(step.task.params["spec_code"]).shard_bytes
    used = await node_control.set_memory_limit(node, context.access(instance), limit)
    if used > limit:
        # Not final: slots that have just moved away are deleted in the background, and on replicas a moment later.
        raise ActionFailed(errors.SHARDS_TOO_FULL, f"node {node.id} holds {used} bytes, its new limit is {limit}")
    changed = msgspec.structs.replace(node, maxmemory=limit)
    await context.host.write_files(node.id, await context.files(instance, changed))
    await context.change_node(node.id, maxmemory=limit)


@action("release node", ReleaseNode, timeout=60 + LONGEST_GRACE_SECONDS, attempts=6, cancelling=60)
async def release_node(context: OperationContext, step: StepContext, arguments: ReleaseNode) -> None:
    """Remove a node without slots from its cluster, once its clients have learnt where its slots went."""
    instance, nodes, views = await context.look(step.task)
    node = next((node for node in nodes if node.id == arguments.node_id), None)
    if node is None:
        return
    require_no_slots(node, views)
    await context.change_node(node.id, should_run=False)
    await EndingNode(context, step, instance, node).end_clients(has_successor=True)
    await take_out(context, instance, node, [other for other in nodes if other.id not in arguments.leaving])


def require_no_slots(node: Node, views: Mapping[str, View | None]) -> None:
    """ActionFailed DCS.9004 if the node owns slots in any of the views."""
    if any(view and node.id in view.members and view.members[node.id].slots for view in views.values()):
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"node {node.id} still owns slots")


async def take_out(context: OperationContext, instance: Instance, node: Node, others: Sequence[Node]) -> None:
    """Remove a node from its cluster, in which the `others` stay, and from the host."""
    access = context.access(instance)
    for other in others if topology_of(instance.spec_code).is_cluster else []:
        try:
            await cluster_membership.forget(other, node.id, access)
        except NodeBusy:
            raise
        except NodeRefused as refusal:
            message = f"node {other.id} does not forget {node.id}: {refusal}"
            raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, message) from refusal
    await node_control.shut_down(node, access)
    await remove_node(context, node)


@action("stop node", NodeArguments, timeout=60, attempts=6)
async def stop_node(context: OperationContext, step: StepContext, arguments: NodeArguments) -> None:
    """Remove a node of an instance that is deleted."""
    instance_id = step.task.instance_id
    found = [*await context.nodes(instance_id), *await context.apart_nodes(instance_id)]
    for node in (node for node in found if node.id == arguments.node_id):
        await context.change_node(node.id, should_run=False)
        await remove_node(context, node)


async def remove_node(context: OperationContext, node: Node) -> None:
    """Remove process, files and record, in this order: a later attempt finds the remainder by the record. If the node's
    host does not report, the node ends if it answers, and its host deletes the rest when it reports."""
    try:
        await context.host.remove(node.id, _STOP_SECONDS)
    except HostSilent:
        if node.host_name in await asyncio.to_thread(context.host.measured):
            raise  # it is only slow
        instance, _ = await context.recorded(node.instance_id)
        if instance is not None:
            await node_control.shut_down(node, context.access(instance))
        await asyncio.to_thread(give_up, context, node)
        return
    except TimeoutError as error:
        message = f"node {node.id} cannot be removed: {error}"
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, message) from error

    def remove() -> None:
        with context.database.write() as connection:
            instances.remove_nodes(connection, [node.id])

    await asyncio.to_thread(remove)
    context.host.release_port(node.host, node.port)


def give_up(context: OperationContext, node: Node) -> None:
    """Remove the record of a node whose host does not report. Blocks."""
    with context.database.write() as connection:
        stale_nodes.give_up(connection, node)


async def _write_files(context: OperationContext, instance: Instance, node: Node, *, founding: bool) -> None:
    """Write the node's files. Those that belong to Valkey after the first start are written if they are missing, and
    valkey.conf comes last: a node that has it can be started."""
    nodes = await context.nodes(instance.id)
    known = None if founding else await _known_members(context, instance, node, nodes)
    first = topology_of(instance.spec_code).first_files(node, nodes, founding=founding, known=known)
    missing = {name: text for name, text in first.items() if not await context.host.has_file(node.id, name)}
    await context.host.write_files(node.id, missing | await context.files(instance, node))


async def _known_members(
    context: OperationContext, instance: Instance, node: Node, nodes: Sequence[Node]
) -> str | None:
    """Return the nodes.conf of the first other node in whose view the cluster is healthy, or None without one."""
    if not topology_of(instance.spec_code).is_cluster:
        return None
    for other in nodes:
        view = None if other.id == node.id else (await context.views(instance, [other]))[other.id]
        if view and not cluster_membership.fault(view):
            with suppress(HostSilent):
                return await context.host.read_file(other.id, NODES_CONF)
    return None


async def wait_until_answering(context: OperationContext, instance: Instance, node: Node) -> Node:
    """Wait until the node answers; the timeout of the action limits this. Returns the node with the kind of access that
    it offers. Raises NodeBusy while the node loads its data."""
    while True:
        node = await context.started_with_socket(node)
        if (await context.views(instance, [node], needed="all"))[node.id] is not None:
            return node
        if await context.host.process(node.id) is None:
            raise ActionFailed(errors.NODE_START_FAILED, f"node {node.id} has died while it was starting")
        await asyncio.sleep(_POLL_SECONDS)


async def _are_ports_free(context: OperationContext, node: Node) -> bool:
    def check() -> bool:
        return all(context.host.is_port_free(node.host, port) for port in node.ports)

    return await asyncio.to_thread(check)


async def _change_ports(context: OperationContext, instance: Instance, node: Node) -> Node:
    """Give the node other ports, because another program has taken one since it was reserved. Raises ActionFailed if
    the node has run before or its port was chosen by the owner of the instance."""
    if await context.host.has_file(node.id, CONFIG) or instance.attributes.get("port") == node.port:
        ports = " or ".join(map(str, node.ports))
        raise ActionFailed(errors.NODE_START_FAILED, f"port {ports} of node {node.id} is taken")

    def change(connection: sa.Connection, ports: Sequence[NodePorts]) -> Node:
        (own,) = ports
        instances.change_node(connection, node.id, **own.columns)
        if (instance.address, instance.seed_port) == (node.host, node.port):
            instances.change(connection, instance.id, seed_port=own.client)
        return next(other for other in instances.nodes_of(connection, instance.id) if other.id == node.id)

    def reserve_ports() -> Node:
        tls = node.tls_port is not None
        with context.database.read() as connection:
            avoid = {port for other in instances.nodes_of(connection, instance.id) for port in other.ports}
        return reserve(context.database, context.host, context.settings, [node.host], change, tls=tls, avoid=avoid)

    try:
        return await asyncio.to_thread(reserve_ports)
    except ApiError as refused:
        raise ActionFailed(refused.code, refused.message) from refused

"""Sub-steps on single nodes: start one, set its memory limit, stop it for good."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.flavors import parse
from cachewright.hosts.host import CONFIG, Host, NodeStartFailed
from cachewright.hosts.ports import NodePorts
from cachewright.model.instances import Instance, Node
from cachewright.operations.actions import cluster
from cachewright.operations.actions.cluster import settled
from cachewright.operations.context import OperationContext, best_view
from cachewright.placement.port_reservation import reserve
from cachewright.store import instances
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.topologies import topology_of
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused, ask, connect
from cachewright.valkey.client_activity import client_activity
from cachewright.valkey.topology import View, primaries

_POLL_SECONDS = 0.02
_STOP_SECONDS = 10.0
_DRAIN_SECONDS = 5.0
_DRAIN_POLL_SECONDS = 0.1  # the node lists all its clients each time
IDLE_SECONDS = 0.5
_LEAVE_SECONDS = 120.0
_FAILOVER_SECONDS = 6.0


async def start(site: OperationContext, running: StepContext) -> None:
    """Ensures the node runs and answers. A founding master leads, with its share of the slots."""
    arguments, task = running.sub_step.arguments, running.task
    instance = await site.instance(task)
    nodes = await site.nodes(task.instance_id)
    node = next(node for node in nodes if node.id == arguments["node_id"])
    if await site.host.process(node.id) is None and not await _ports_free(site.host, node):
        node = await _on_other_ports(site, instance, node)
        nodes = await site.nodes(task.instance_id)
    running.measure(detail=f"{{node_id:{node.id},address:{node.host}:{node.port}}}")
    files = await site.files(instance, node)
    first = topology_of(instance.spec_code).first_files(node, nodes, founding=arguments["founding"])
    missing = {name: text for name, text in first.items() if not await site.host.has_file(node.id, name)}
    await site.host.write_files(node.id, missing | files)  # valkey.conf last: a node that has it can be started
    try:
        await site.host.start(node.id)
    except NodeStartFailed as failure:
        raise ActionFailed(errors.NODE_START_FAILED, f"node {node.id} did not start: {failure}") from failure
    access = site.access(instance)
    node = await _answering(site, instance, node)
    if arguments["founding"] and node.role == "primary":
        await cluster.lead(node, access, founding=True)


async def restart(site: OperationContext, running: StepContext) -> None:
    """Ensures the node's process is younger than the sub-step, and that the node is back in its cluster.

    A master hands over to a replica before it goes, where it has one that is in step with it.
    """
    await running.proceed()
    instance, nodes, seen = await site.look(running.task)
    node = next(node for node in nodes if node.id == running.sub_step.arguments["node_id"])
    access = site.access(instance)
    begun = (running.sub_step.begin_time or 0) / 1000
    process = await site.host.process(node.id)
    if process is None or process.started_at < begun:
        await _hand_over(node, nodes, seen, access)
        running.measure(detail=f"{{node_id:{node.id},address:{node.host}:{node.port}}}")
        await site.host.write_files(node.id, await site.files(instance, node))
        try:
            await site.host.restart(node.id, begun, _LEAVE_SECONDS)
        except NodeStartFailed as failure:
            raise ActionFailed(errors.NODE_START_FAILED, f"node {node.id} did not start: {failure}") from failure
        except TimeoutError as error:
            raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"node {node.id} does not end: {error}") from error
    node = await _answering(site, instance, node)
    while not await settled(topology_of(instance.spec_code), node, nodes, access):
        await asyncio.sleep(_POLL_SECONDS)


async def _hand_over(node: Node, nodes: Sequence[Node], seen: Mapping[str, View | None], access: Access) -> None:
    """Returns when a replica of the node leads in its place, or when there is none that could. What the node has
    acknowledged is with its successor before that leads (CLUSTER FAILOVER)."""
    if primaries(nodes, best_view(seen)).get(node.shard) is not node:
        return
    for heir in (other for other in nodes if other.shard == node.shard and other is not node):
        try:
            async with connect(heir, access) as client:
                if (await client.info("replication")).get("master_link_status") != "up":
                    continue
                await ask(client, "CLUSTER FAILOVER")
                deadline = time.monotonic() + _FAILOVER_SECONDS
                while time.monotonic() < deadline:
                    if (await client.info("replication"))["role"] == "master":
                        return
                    await asyncio.sleep(_POLL_SECONDS)
        except (*NODE_GONE, NodeRefused):
            continue


async def set_memory(site: OperationContext, running: StepContext) -> None:
    """Gives the node its new memory limit, now and for its next start. ActionFailed DCS.9008 where it holds more than
    that already: Valkey would evict keys, or refuse writes."""
    instance = await site.instance(running.task)
    node = await site.node(running.task.instance_id, running.sub_step.arguments["node_id"])
    if node is None:
        return
    limit = parse(running.task.params["spec_code"]).shard_bytes
    async with connect(node, site.access(instance)) as client:
        used = (await client.info("memory"))["used_memory"]
        if used > limit:
            raise ActionFailed(
                errors.SHARDS_TOO_FULL, f"node {node.id} holds {used} bytes, its new limit is {limit}", True
            )
        await client.config_set("maxmemory", limit)
    changed = msgspec.structs.replace(node, maxmemory=limit)
    await site.host.write_files(node.id, await site.files(instance, changed))

    def remember() -> None:
        with site.database.write() as connection:
            instances.change_node(connection, node.id, maxmemory=limit)

    await asyncio.to_thread(remember)


async def release(site: OperationContext, running: StepContext) -> None:
    """Takes a node without slots out of its cluster: its clients are let go, the others forget it, it ends."""
    instance, nodes, seen = await site.look(running.task)
    node = next((node for node in nodes if node.id == running.sub_step.arguments["node_id"]), None)
    if node is None:
        return
    if any(sight and node.id in sight.members and sight.members[node.id].slots for sight in seen.values()):
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"node {node.id} still owns slots")
    access = site.access(instance)
    await _unwanted(site, node)
    await _drained(node, access)
    staying = [other for other in nodes if other.id not in running.sub_step.arguments["leaving"]]
    for other in staying:
        async with connect(other, access) as client:
            try:
                await ask(client, "CLUSTER FORGET", node.id)
            except NodeRefused as refusal:
                if "Unknown node" not in str(refusal):
                    raise ActionFailed(
                        errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"node {other.id} does not forget {node.id}: {refusal}"
                    ) from refusal
    await _shut_down(node, access)
    await end(site, node)


async def _shut_down(node: Node, access: Access) -> None:
    """Asks the node to end, which it does at once. A signal it would see a tenth of a second later, and it need not
    save what it is not to know again."""
    with suppress(*NODE_GONE, NodeRefused):
        async with connect(node, access) as client:
            await ask(client, "SHUTDOWN", "NOSAVE", "NOW")


async def stop(site: OperationContext, running: StepContext) -> None:
    """Ends a node of an instance that is deleted."""
    node = await site.node(running.task.instance_id, running.sub_step.arguments["node_id"])
    if node is not None:
        await _unwanted(site, node)
        await end(site, node)


async def end(site: OperationContext, node: Node) -> None:
    """Process, files and record, in this order: a record without a process can be ended again, not the reverse."""
    try:
        await site.host.remove(node.id, _STOP_SECONDS)
    except TimeoutError as error:
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"node {node.id} does not go: {error}") from error

    def forget() -> None:
        with site.database.write() as connection:
            instances.remove_nodes(connection, [node.id])

    await asyncio.to_thread(forget)


async def _unwanted(site: OperationContext, node: Node) -> None:
    def mark() -> None:
        with site.database.write() as connection:
            instances.change_node(connection, node.id, should_run=False)

    await asyncio.to_thread(mark)


async def _drained(node: Node, access: Access) -> None:
    """Returns when no client has asked the node anything for a moment: each has learnt where its slots went. One that
    goes on for longer than the limit is served by nobody else and is cut off."""
    deadline = time.monotonic() + _DRAIN_SECONDS
    try:
        async with connect(node, access) as client:
            last = now = await client_activity(client)
            while now.connected and now.at < min(last.at + IDLE_SECONDS, deadline):
                await asyncio.sleep(_DRAIN_POLL_SECONDS)
                now = await client_activity(client)
                if now.calls != last.calls:
                    last = now
    except NODE_GONE:
        return


async def _answering(site: OperationContext, instance: Instance, node: Node) -> Node:
    """Returns when the node has loaded its data and answers; the sub-step's limit is the limit."""
    while True:
        node = await site.started_with_socket(node)
        if (await site.views(instance, [node]))[node.id] is not None:
            return node
        if await site.host.process(node.id) is None:
            raise ActionFailed(errors.NODE_START_FAILED, f"node {node.id} has died while it was starting")
        await asyncio.sleep(_POLL_SECONDS)


async def _ports_free(host: Host, node: Node) -> bool:
    def check() -> bool:
        return all(host.is_port_free(port) for port in node.ports)

    return await asyncio.to_thread(check)


async def _on_other_ports(site: OperationContext, instance: Instance, node: Node) -> Node:
    """Somebody has taken the node's port since it was chosen. A node that has never run may have another."""
    if await site.host.has_file(node.id, CONFIG) or instance.attributes.get("port") == node.port:
        ports = " or ".join(map(str, node.ports))
        raise ActionFailed(errors.NODE_START_FAILED, f"port {ports} of node {node.id} is taken")

    def change(connection: sa.Connection, ports: Sequence[NodePorts]) -> Node:
        (own,) = ports
        instances.change_node(connection, node.id, port=own.client, bus_port=own.bus, tls_port=own.tls)
        if instance.seed_port == node.port:
            instances.change(connection, instance.id, seed_port=own.client)
        return next(other for other in instances.nodes_of(connection, instance.id) if other.id == node.id)

    def reserved() -> Node:
        return reserve(site.database, site.host, site.settings, 1, change, tls=node.tls_port is not None)

    try:
        return await asyncio.to_thread(reserved)
    except ApiError as refused:
        raise ActionFailed(refused.code, refused.message) from refused

"""The nodes that a resize adds, as it stores them before any of them starts: with hosts and free ports."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import msgspec
import sqlalchemy as sa

from cachewright.errors import ApiError
from cachewright.hosts.addresses import LOOPBACK, is_loopback
from cachewright.hosts.ports import NodePorts
from cachewright.hosts.server_binary import version_key
from cachewright.model.hosts import EMBEDDED
from cachewright.model.instances import Instance, Node, allowed_addresses, are_hidden, node_elsewhere
from cachewright.model.tasks import ENDED, Task
from cachewright.operations import client_firewall, node_placement
from cachewright.operations.context import OperationContext
from cachewright.placement.capacity import Limits
from cachewright.placement.port_reservation import reserve
from cachewright.store import instances, task_controls, tasks
from cachewright.tasks.operation import ActionFailed, cancellation
from cachewright.topologies import becomes_cluster, layout, topology_of
from cachewright.topologies.topology import Topology


def store(
    context: OperationContext,
    task: Task,
    added: Sequence[Node],
    *,
    leaving: Collection[str] = (),
    zones: Sequence[str] = (),
    targets: Mapping[str, str] | None = None,
    kept_port: tuple[str, int] | None = None,
    apart: bool = False,
) -> None:
    """Store new nodes with hosts and free ports, before any of them starts. Nodes that an earlier plan of this run has
    stored keep theirs. Where the instance becomes a cluster, the first one gets its address, and all of them are apart.
    ActionFailed DCS.4036 if no host has room, DCS.4039 if too few ports are free, DCS.9005 if the
    task has been cancelled.

    :param leaving: ids of nodes that the task removes.
    :param zones: zones to use; empty for those of the instance.
    :param targets: hosts of new nodes by node id, where the task names them.
    :param kept_port: id of a new node and the port that it gets if it is free there.
    :param apart: whether the new nodes are apart.
    """
    limits = node_placement.limits(context.host, context.settings)
    with context.database.read() as connection:
        stored = {node.id: node for node in instances.nodes_of(connection, task.instance_id)}
        instance = instances.get(connection, task.project_id, task.instance_id)
        known = {node.id for node in instances.apart_of(connection, task.instance_id)} if apart else set()
        missing = [node for node in added if node.id not in {*stored, *known}]
        if not missing:
            return
        if instance is None:
            raise tasks.StaleTask(task.id)
        asked, tls = zones or instance.attributes.get("az_codes", ()), any(node.tls_port for node in stored.values())
        try:
            present, spec_code = list(stored.values()), task.params.get("spec_code", instance.spec_code)
            topology, replaces = topology_of(spec_code), becomes_cluster(instance.spec_code, spec_code)
            gets_proxy = _gets_proxy(context, instance, present, topology)
            here = (gets_proxy and not is_loopback(context.host.address)) or _needs_server(instance, present, topology)
            only = node_placement.hosts_of(connection, topology, context.host.address, here=here)
            placed: list[Node] = []
            if replaces:
                placed = _placed_cluster(connection, limits, missing, asked, tls=tls)
            else:
                # On one host nothing is spread, and nodes behind its proxy may have another address than the host.
                is_spread = only != node_placement.HERE
                staying = [node for node in present if node.id not in leaving] if is_spread else []
                for target, group in _by_target(missing, targets or {}).items():
                    beside = [*staying, *placed]
                    placed += node_placement.place(
                        connection, limits, group, asked, beside, only=only, target=target, tls=tls
                    )
            placed.sort(key=lambda node: kept_port is None or node.id != kept_port[0])
        except ApiError as refused:
            raise ActionFailed(refused.code, refused.message, True) from refused
    own_address = {node.host_name: node.host for node in stored.values()}
    if replaces:  # without a proxy, clients reach nodes at the address of the instance
        own_address = {EMBEDDED: instance.address}
    addresses = [own_address.get(node.host_name, node.host) for node in placed]
    if gets_proxy:
        addresses = [address if is_loopback(address) else LOOPBACK for address in addresses]
    avoid = {port for node in stored.values() for port in node.ports}
    first = kept_port[1] if kept_port and placed[0].id == kept_port[0] else None

    def add(connection: sa.Connection, ports: Sequence[NodePorts]) -> None:
        _require_unfinished(connection, task)
        node_placement.require_fit(connection, limits, placed)
        client_tls = any(node.client_tls for node in stored.values())
        values = {"client_tls": client_tls, "apart": replaces or apart, "should_run": not (replaces or apart)}
        added = [msgspec.structs.replace(node, **values) for node in layout.placed(placed, ports)]
        instances.add_nodes(connection, added)

    keeps = first is not None and context.host.is_port_free(addresses[0], first)
    for wanted in (first, None) if keeps else (None,):
        try:
            reserve(
                context.database, context.host, context.settings, addresses, add, tls=tls, first=wanted, avoid=avoid
            )
            return
        except ApiError as refused:
            if wanted is None:
                raise ActionFailed(refused.code, refused.message, True) from refused


def bound_to_server(instance: Instance, nodes: Sequence[Node]) -> str | None:
    """Return why nodes of an instance that is no cluster can only be on the host of the server; None if they can be on
    others."""
    if instance.server_certificate is not None:
        return "the proxy of an instance with TLS of clients runs on the host of the server, and so do its nodes"
    if allowed_addresses(instance) is not None:
        return "the proxy of an instance with a whitelist runs on the host of the server, and so do its nodes"
    if are_hidden(instance, nodes):
        return "its nodes listen on loopback addresses behind the proxy, because it was created on a single host"
    return None


def _needs_server(instance: Instance, nodes: Sequence[Node], topology: Topology) -> bool:
    """Whether new nodes of the instance can only be on the host of the server."""
    if topology.is_cluster:
        return client_firewall.is_filtered(instance)
    return bound_to_server(instance, nodes) is not None


def _gets_proxy(context: OperationContext, instance: Instance, nodes: Sequence[Node], topology: Topology) -> bool:
    """Whether the instance becomes one of type ha, and its only node leaves its address for a proxy, which runs on the
    host of the server: it moves to loopback."""
    becomes_ha = topology.has_sentinel and not topology_of(instance.spec_code).has_sentinel
    return becomes_ha and context.host.has_haproxy and node_elsewhere(nodes) is None


def newest_version(nodes: Sequence[Node]) -> str | None:
    """Return the version of valkey-server that new nodes get: the newest one that these nodes have; None if none has a
    recorded one."""
    versions = {node.server_version for node in nodes if node.server_version}
    return max(versions, key=version_key, default=None)


def _by_target(nodes: Sequence[Node], targets: Mapping[str, str]) -> Mapping[str | None, list[Node]]:
    """Return the nodes by the host that the task names for them; None for any."""
    found: dict[str | None, list[Node]] = defaultdict(list)
    for node in nodes:
        found[targets.get(node.id)].append(node)
    return found


def _placed_cluster(
    connection: sa.Connection, limits: Limits, added: Sequence[Node], zones: Sequence[str], *, tls: bool
) -> list[Node]:
    """Return the nodes with their hosts. The first one is on the host of the instance's address."""
    first, *others = added
    placed = node_placement.place(connection, limits, [first], zones, only={EMBEDDED}, tls=tls)
    return placed + (node_placement.place(connection, limits, others, zones, placed, tls=tls) if others else [])


def _require_unfinished(connection: sa.Connection, task: Task) -> None:
    """Raise ActionFailed DCS.9005 if the task has been cancelled, and StaleTask if its run has ended otherwise:
    no later step would remove the new nodes."""
    control, current = task_controls.get(connection, task.id), tasks.get(connection, task.instance_id, task.id)
    if control.is_cancelled:
        raise cancellation(control)
    if current is None or current.status in ENDED or current.run_id != task.run_id:
        raise tasks.StaleTask(task.id)

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
from cachewright.model.instances import Node, has_proxy
from cachewright.model.tasks import ENDED, Task
from cachewright.operations import client_firewall, node_placement
from cachewright.operations.context import OperationContext
from cachewright.placement.capacity import Limits
from cachewright.placement.port_reservation import reserve
from cachewright.store import instances, task_controls, tasks
from cachewright.tasks.operation import ActionFailed, cancellation
from cachewright.topologies import becomes_cluster, layout, topology_of


def store(
    context: OperationContext,
    task: Task,
    added: Sequence[Node],
    *,
    leaving: Collection[str] = (),
    zones: Sequence[str] = (),
    targets: Mapping[str, str] | None = None,
    kept_port: tuple[str, int] | None = None,
) -> None:
    """Store new nodes with hosts and free ports, before any of them starts. Nodes that an earlier plan of this run has
    stored keep theirs. Where the instance becomes a cluster, the first one gets its address, and all of them are apart.
    ActionFailed DCS.4036 if no host has room, DCS.4039 if too few ports are free, DCS.9005 if the
    task has been cancelled.

    :param leaving: ids of nodes that the task removes.
    :param zones: zones to use; empty for those of the instance.
    :param targets: hosts of new nodes by node id, where the task names them.
    :param kept_port: id of a new node and the port that it gets if it is free there.
    """
    limits = node_placement.limits(context.host, context.settings)
    with context.database.read() as connection:
        stored = {node.id: node for node in instances.nodes_of(connection, task.instance_id)}
        instance = instances.get(connection, task.project_id, task.instance_id)
        missing = [node for node in added if node.id not in stored]
        if not missing:
            return
        if instance is None:
            raise tasks.StaleTask(task.id)
        asked, tls = zones or instance.attributes.get("az_codes", ()), any(node.tls_port for node in stored.values())
        try:
            present, spec_code = list(stored.values()), task.params.get("spec_code", instance.spec_code)
            topology, replaces = topology_of(spec_code), becomes_cluster(instance.spec_code, spec_code)
            behind_proxy = has_proxy(instance, present) or (topology.has_sentinel and context.host.has_haproxy)
            only = node_placement.hosts_of(topology, here=behind_proxy or client_firewall.is_filtered(instance))
            placed: list[Node] = []
            if replaces:
                placed = _placed_cluster(connection, limits, missing, asked)
            else:
                # On one host nothing is spread, and nodes behind its proxy have another address than the host.
                staying = [node for node in present if node.id not in leaving] if only is None else []
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
    gets_proxy = topology.has_sentinel and not topology_of(instance.spec_code).has_sentinel and behind_proxy
    if gets_proxy:  # its node moves to loopback, too
        addresses = [address if is_loopback(address) else LOOPBACK for address in addresses]
    avoid = {port for node in stored.values() for port in node.ports}
    first = kept_port[1] if kept_port and placed[0].id == kept_port[0] else None

    def add(connection: sa.Connection, ports: Sequence[NodePorts]) -> None:
        _require_unfinished(connection, task)
        node_placement.require_fit(connection, limits, placed)
        client_tls = any(node.client_tls for node in stored.values())
        values = {"client_tls": client_tls, "apart": replaces, "should_run": not replaces}
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
    connection: sa.Connection, limits: Limits, added: Sequence[Node], zones: Sequence[str]
) -> list[Node]:
    """Return the nodes with their hosts. The first one is on the host of the instance's address."""
    first, *others = added
    placed = node_placement.place(connection, limits, [first], zones, only={EMBEDDED})
    return placed + (node_placement.place(connection, limits, others, zones, placed) if others else [])


def _require_unfinished(connection: sa.Connection, task: Task) -> None:
    """Raise ActionFailed DCS.9005 if the task has been cancelled, and StaleTask if its run has ended otherwise:
    no later step would remove the new nodes."""
    control, current = task_controls.get(connection, task.id), tasks.get(connection, task.instance_id, task.id)
    if control.is_cancelled:
        raise cancellation(control)
    if current is None or current.status in ENDED or current.run_id != task.run_id:
        raise tasks.StaleTask(task.id)

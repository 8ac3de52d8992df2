"""Which hosts run new nodes: the rules of `placement.hosts`, with the figures of the database and of the hosts."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

import sqlalchemy as sa

from cachewright import errors
from cachewright.config import Settings
from cachewright.errors import ApiError
from cachewright.flavors import UnknownFlavor, parse
from cachewright.hosts.addresses import is_loopback
from cachewright.hosts.host import Host
from cachewright.model.hosts import EMBEDDED
from cachewright.model.instances import Node
from cachewright.model.tasks import Task
from cachewright.operations.resize.request import RESIZE_KIND
from cachewright.placement import capacity
from cachewright.placement import hosts as placement
from cachewright.placement.capacity import HostLimits, Limits, Size
from cachewright.placement.hosts import HostRoom, NoHost
from cachewright.store import allocations, hosts, instances, tasks
from cachewright.topologies import becomes_cluster
from cachewright.topologies.topology import Topology

_ROOM_IS_GONE = "the host that was chosen has no room any more, or was cordoned; repeat the request"


def limits(host: Host, settings: Settings) -> Limits:
    """Resources of all hosts now, and the quota of each project. Call it outside transactions: the hosts measure."""
    first, end = settings.node_ports
    found = {
        name: HostLimits(
            address=measured.address,
            memory=measured.resources.memory,
            disk_free=measured.resources.disk_free,
            ports=end - first,
            tls=measured.tls,
        )
        for name, measured in host.measured().items()
    }
    plain = Limits(
        host_memory=0,
        overcommit=settings.memory_overcommit,
        disk_free=0,
        ports=0,
        quota_instances=settings.quota_instances,
        quota_nodes=settings.quota_nodes,
        quota_memory=settings.quota_memory_gb * capacity.GIGABYTE,
        hosts=found,
    )
    return plain.of(found)


def rooms(connection: sa.Connection, limits: Limits) -> list[HostRoom]:
    """The hosts that take new nodes, with the room that they have left."""
    held, taking = allocated_by_host(connection), taking_hosts(connection, limits)
    return [
        HostRoom(
            name=host.name,
            address=limits.hosts[host.name].address,
            zone=host.zone,
            memory=limits.memory_of(host.name) or 0,
            allocated=held.get(host.name, Size()),
            nodes=limits.hosts[host.name].ports // capacity.PORTS_A_NODE,
        )
        for host in hosts.without_reports(connection)
        if host.name in taking
    ]


HERE: Collection[str] = frozenset({EMBEDDED})
"""The host of the server alone. There an instance may have an address of its own, and its nodes reach each other at
every address."""


def hosts_of(connection: sa.Connection, topology: Topology, address: str, *, here: bool) -> Collection[str] | None:
    """Names of the hosts that can run an instance; None for all. Sentinels and the proxy must reach the nodes, so nodes
    that Sentinel watches are all on loopback, or none of them is, as the host of the server is.

    :param address: of the host of the server.
    :param here: whether the instance needs that host: for TLS that its proxy ends, a whitelist, the data of a backup.
    """
    if here:
        return HERE
    if not topology.has_sentinel:
        return None
    others = [host for host in hosts.without_reports(connection) if host.name != EMBEDDED and host.address]
    return {EMBEDDED, *(host.name for host in others if is_loopback(host.address) == is_loopback(address))}


def place(
    connection: sa.Connection,
    limits: Limits,
    nodes: Sequence[Node],
    zones: Sequence[str],
    neighbours: Sequence[Node] = (),
    *,
    only: Collection[str] | None = None,
    target: str | None = None,
    tls: bool = False,
) -> list[Node]:
    """Return the nodes with their hosts. ApiError DCS.4036 if no host has room. For the parameters see
    `placement.hosts.place`.

    :param only: hosts that may be used, regardless of their zones; None for all.
    :param target: the host to use, regardless of its zone; None for any.
    :param tls: whether the nodes have TLS, which the valkey-server of their host must have, too.
    """
    every = hosts.without_reports(connection)
    zone_of = {host.name: host.zone for host in every}
    left = {host.zone for host in every if host.state != "lost"}
    asked = [zone for zone in zones if zone in left]  # a zone may have been renamed, or lost, since
    possible = rooms(connection, limits)
    if only is not None:
        possible = [room for room in possible if room.name in only]
        asked = [zone for zone in asked if zone in {zone_of[name] for name in only}] or asked
    if target is not None:
        possible, asked = [room for room in possible if room.name == target], []
    without_tls = [room for room in possible if tls and not limits.hosts[room.name].tls]
    possible = [room for room in possible if room not in without_tls]
    try:
        return placement.place(
            nodes, possible, zones=asked, neighbours=neighbours, zone_of=zone_of, one_machine=only == HERE
        )
    except NoHost as error:
        names = ", ".join(room.name for room in without_tls if not asked or room.zone in asked)
        why = f"; the nodes have TLS, which valkey-server does not have on {names}" if names else ""
        raise ApiError(errors.NOT_ENOUGH_MEMORY, reason=f"{error}{why}") from error


def require_fit(connection: sa.Connection, limits: Limits, nodes: Sequence[Node]) -> None:
    """ApiError DCS.4036 if the hosts of these new nodes no longer have room for them. Call it in the transaction that
    stores them."""
    if not placement.fits(nodes, rooms(connection, limits)):
        raise ApiError(
            errors.NOT_ENOUGH_MEMORY,
            reason=_ROOM_IS_GONE,
        )


def taking_hosts(connection: sa.Connection, limits: Limits) -> set[str]:
    """Names of the hosts that take new nodes."""
    return {
        host.name for host in hosts.without_reports(connection) if host.state == "active" and host.name in limits.hosts
    }


def allocated_by_host(connection: sa.Connection, without: str | None = None) -> Mapping[str, Size]:
    """Nodes of all projects by host, without those of the instance `without`. A node of an instance with an unfinished
    resize counts with the larger size."""
    sizes: defaultdict[str, Size] = defaultdict(Size)
    for allocation in allocations.of_projects(connection):
        sizes[allocation.host_name] += Size(allocation.nodes, allocation.maxmemory)
    for allocation in allocations.of_instances(connection, [without] if without else []):
        sizes[allocation.host_name] -= Size(allocation.nodes, allocation.maxmemory)
    for task in tasks.unfinished_of_kind(connection, RESIZE_KIND):
        if task.instance_id != without:
            for host_name, growth in _growth(connection, task):
                sizes[host_name] += Size(0, growth)
    return sizes


def _growth(connection: sa.Connection, task: Task) -> Iterator[tuple[str, int]]:
    """Yield the host of each node of a resize, and the bytes by which the node may still grow."""
    try:
        flavor = parse(str(task.params.get("spec_code")))
    except UnknownFlavor:
        return  # unreadable parameters must not block other requests
    nodes, instance = instances.nodes_of(connection, task.instance_id), instances.find(connection, task.instance_id)
    if instance is None or becomes_cluster(instance.spec_code, flavor.spec_code):
        return  # other nodes replace these
    grown = capacity.grown_nodes(nodes, flavor)
    for node in nodes:
        yield node.host_name, grown[node.id] - node.maxmemory

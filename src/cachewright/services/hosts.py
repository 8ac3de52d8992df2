"""Hosts: what they have and what runs there, their zones, and whether they take new nodes."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import msgspec
import sqlalchemy as sa

import cachewright
from cachewright.clock import now_ms
from cachewright.config import Settings
from cachewright.hosts.agent_reports import SILENT_SECONDS
from cachewright.hosts.host import Host
from cachewright.model.hosts import EMBEDDED, HostRecord, HostReport, HostState
from cachewright.model.identity import Principal
from cachewright.model.instances import Node
from cachewright.monitoring.reach import Reach
from cachewright.operations import node_placement
from cachewright.operations.move_nodes import MOVE_NODES, immovable
from cachewright.operations.requests import MoveCause
from cachewright.services.accounts import InvalidInput
from cachewright.services.host_traffic import HostTraffic, traffic
from cachewright.store import hosts, instances, sentinels, server_records, task_controls, tasks
from cachewright.store.database import Database
from cachewright.topologies import TOPOLOGIES
from cachewright.topologies.topology import Topology

_LABEL = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}")


class HostDetails(msgspec.Struct, frozen=True, kw_only=True):
    """A host with its use.

    :ivar nodes: number of its nodes, of all projects.
    :ivar own_nodes: its nodes of the caller's project.
    :ivar allocated: bytes of memory that are allocated to its nodes.
    :ivar memory: bytes of memory that may be allocated; None if it does not report.
    :ivar moving: number of its nodes that tasks move to other hosts.
    :ivar unreached: number of its nodes that run, as its agent reports, and do not answer this server.
    :ivar traffic: with other hosts; None if there are none, or it has not reported.
    """

    record: HostRecord
    nodes: int
    own_nodes: Sequence[Node]
    allocated: int
    memory: int | None
    moving: int = 0
    unreached: int = 0
    traffic: HostTraffic | None = None


class HostQueries(msgspec.Struct, frozen=True):
    database: Database
    host: Host
    settings: Settings
    reach: Reach

    def zones(self) -> list[str]:
        """Return all availability zones, ordered."""
        with self.database.read() as connection:
            return hosts.zones(connection)

    def available_zones(self, topology: Topology | None = None) -> list[str]:
        """Return the zones in which a host takes new nodes, ordered; with a topology, those for its instances."""
        limits = node_placement.limits(self.host, self.settings)
        with self.database.read() as connection:
            taking = node_placement.taking_hosts(connection, limits)
            if topology:
                only = node_placement.hosts_of(connection, topology, self.host.address, here=False)
                taking = taking if only is None else taking & set(only)
            return sorted({host.zone for host in hosts.without_reports(connection) if host.name in taking})

    def zones_by_mode(self) -> dict[str, tuple[str, ...]]:
        """Return the available zones for each cache mode."""
        return {mode: tuple(self.available_zones(topology)) for mode, topology in TOPOLOGIES.items()}

    def all(self, principal: Principal) -> list[HostDetails]:
        """Return all hosts, ordered by name."""
        limits = node_placement.limits(self.host, self.settings)
        unreached = self.reach.unreached()
        with self.database.read() as connection:
            use = node_placement.allocated_by_host(connection)
            counts = hosts.node_counts(connection)
            own = instances.nodes_by_host(connection, principal.project_id)
            leaving_now, every = moving(connection), hosts.every(connection)
            between = traffic(connection, every)
            return [
                HostDetails(
                    record=record,
                    nodes=counts.get(record.name, 0),
                    own_nodes=own.get(record.name, ()),
                    allocated=use[record.name].host_memory if record.name in use else 0,
                    memory=limits.memory_of(record.name),
                    moving=leaving_now[record.name],
                    unreached=unreached.get(record.name, 0),
                    traffic=between.get(record.name),
                )
                for record in every
            ]


def moving(connection: sa.Connection) -> Counter[str]:
    """Return the number of nodes, by host, that unfinished tasks move to others. Those that were replaced and are apart
    count until they are removed, as they do among the nodes of the host."""
    found: Counter[str] = Counter()
    for task in tasks.active_of_kind(connection, MOVE_NODES.kind):
        moved = MOVE_NODES.params_of(task).node_ids
        nodes = [*instances.nodes_of(connection, task.instance_id), *instances.apart_of(connection, task.instance_id)]
        found.update(node.host_name for node in nodes if node.id in moved)
    return found


def silent_seconds(host: HostRecord, now: int) -> float | None:
    """Return for how long the agent of a host has not reported; None if it reports. Pure.

    :param now: time of the database, epoch milliseconds. The record has the time by the clock of the host.
    """
    ahead = host.report.clock_offset if host.report else 0.0
    seconds = (now - (host.seen_at or host.created_at)) / 1000 - ahead
    return seconds if host.seen_at is None or seconds > SILENT_SECONDS else None


def report_of(host: Host) -> HostReport:
    """Measure a host. Blocks."""
    resources = host.resources()
    return HostReport(
        release=cachewright.__version__,
        cpus=host.cpus,
        memory=resources.memory,
        memory_free=resources.memory_free,
        disk_free=resources.disk_free,
        server_versions=tuple(host.server_versions()),
        tls=host.supports_tls(),
        haproxy=host.has_haproxy,
    )


def add(connection: sa.Connection, name: str, zone: str) -> None:
    """Add a host, whose agent has not reported yet. Raises InvalidInput if the name is taken, or a name is invalid."""
    if not _LABEL.fullmatch(name):
        raise InvalidInput(f"invalid name {name!r}: use up to 63 letters, digits, dots, dashes and underscores")
    if hosts.get(connection, name):
        raise InvalidInput(f"there is a host {name!r}")
    hosts.add(connection, HostRecord(name=name, address="", zone=zone, state="active", created_at=now_ms()))
    set_zone(connection, name, zone)


def remove(connection: sa.Connection, name: str) -> None:
    """Remove a host. Raises InvalidInput if there is none of this name, it has nodes or a sentinel, or it is that of
    the server."""
    require(connection, name)
    if name == EMBEDDED:
        raise InvalidInput("the host of the server cannot be removed; cordon it instead")
    if count := hosts.node_counts(connection).get(name):
        raise InvalidInput(f"host {name!r} has {count} nodes")
    if sentinels.on_host(connection, name):
        raise InvalidInput(f"host {name!r} has a sentinel; cachewright hosts drain {name} moves it")
    _remove(connection, name)


def give_up(connection: sa.Connection, name: str) -> int:
    """Record that a host does not come back, so that its nodes and sentinels are made again on other hosts, and remove
    it once it has none. Return the number of its nodes. Raises InvalidInput if there is none of this name, or it is
    that of the server."""
    require(connection, name)
    if name == EMBEDDED:
        raise InvalidInput("the host of the server cannot be lost while commands run on it")
    count = hosts.node_counts(connection).get(name, 0)
    if count or sentinels.on_host(connection, name):
        hosts.change(connection, name, state="lost")
    else:
        _remove(connection, name)
    return count


def _remove(connection: sa.Connection, name: str) -> None:
    if not hosts.remove(connection, name):
        raise InvalidInput(f"the agent of host {name!r} is storing a report; try again, or end its database sessions")


def staying(connection: sa.Connection, name: str) -> dict[str, str]:
    """Return why nodes stay on a host that is drained, by the id of their instance. Raises InvalidInput if there is no
    host of this name."""
    cause: MoveCause = "lost_host" if require(connection, name).state == "lost" else "drain"
    found = {}
    for instance_id, there in _nodes_on(connection, name).items():
        if all(node.apart for node in there):
            continue
        instance, nodes = instances.find(connection, instance_id), instances.nodes_of(connection, instance_id)
        if instance is not None and (reason := immovable(instance, nodes, cause)):
            found[instance_id] = reason
    return found


def leaving(connection: sa.Connection, name: str) -> dict[str, tuple[int, str]]:
    """Return, by the id of their instance, the number of nodes that a drain moves away from a host, and why no task
    moves them now; empty while one does, or soon will. Nodes that are apart count: the task that left them removes
    them."""
    stays = staying(connection, name)
    host, now = require(connection, name), server_records.now(connection)
    is_silent = name != EMBEDDED and silent_seconds(host, now) is not None
    return {
        instance_id: (len(nodes), _obstacle(connection, instance_id, nodes, silent=name if is_silent else ""))
        for instance_id, nodes in _nodes_on(connection, name).items()
        if instance_id not in stays
    }


def _obstacle(connection: sa.Connection, instance_id: str, nodes: Sequence[Node], *, silent: str) -> str:
    """:param silent: name of the host of the nodes, if it does not report."""
    instance, unfinished = instances.find(connection, instance_id), tasks.active_of(connection, instance_id)
    if any(task_controls.get(connection, task.id).state == "paused" for task in unfinished):
        return "its task is paused"
    if instance is None or unfinished:
        return ""
    if instance.status not in MOVE_NODES.accepts:
        return f"it is {instance.status}"
    if stopped := [node.id for node in nodes if not (node.should_run or node.apart)]:
        return f"node {stopped[0]} is stopped; start it"
    if silent:
        return f"host {silent} does not report"
    _, earlier = tasks.of_kind(connection, instance_id, MOVE_NODES.kind, offset=0, limit=1)
    return earlier[0].message if earlier and earlier[0].status == "FAILED" else ""


def _nodes_on(connection: sa.Connection, name: str) -> Mapping[str, list[Node]]:
    """Return the nodes on a host by the id of their instance. Those that are apart too."""
    found: dict[str, list[Node]] = defaultdict(list)
    for node in instances.nodes_on(connection, name):
        found[node.instance_id].append(node)
    return found


def set_state(connection: sa.Connection, name: str, state: HostState) -> None:
    """Let a host take new nodes, or no longer, or move its nodes away. Raises InvalidInput if there is none of this
    name, or if it was given up and does not become active again."""
    if require(connection, name).state == "lost" and state != "active":
        raise InvalidInput(f"host {name!r} was given up as lost; uncordon it first")
    hosts.change(connection, name, state=state)


def set_zone(connection: sa.Connection, name: str, zone: str) -> None:
    """Change the zone of a host. If no other host is in its former zone, the zone is renamed: instances that were
    created in it are in the new one. Raises InvalidInput if there is no such host, or the name is invalid."""
    former = require(connection, name).zone
    if not _LABEL.fullmatch(zone):
        raise InvalidInput(f"invalid zone {zone!r}: use up to 63 letters, digits, dots, dashes and underscores")
    hosts.change(connection, name, zone=zone)
    if former not in hosts.zones(connection):
        for instance in instances.every(connection):
            before = instance.attributes.get("az_codes", [former])
            after = list(dict.fromkeys(zone if code == former else code for code in before))
            if after != before:
                instances.change(connection, instance.id, attributes={**instance.attributes, "az_codes": after})


def require(connection: sa.Connection, name: str) -> HostRecord:
    """Return a host. Raises InvalidInput if there is none of this name."""
    found = hosts.get(connection, name)
    if found is None:
        names = ", ".join(host.name for host in hosts.without_reports(connection))
        raise InvalidInput(f"there is no host {name!r}; there is: {names}")
    return found

"""Metrics of nodes and background loops, read for each scrape."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from cachewright.model.incidents import FaultKind
from cachewright.model.instances import Node
from cachewright.monitoring.faults import RULES
from cachewright.monitoring.node_stats import NodeStats


class Loops(Protocol):
    """Time of the latest round of each background loop, epoch seconds by its name."""

    def last(self) -> Mapping[str, float]: ...


class NodeStarts(Protocol):
    """Starts of nodes that had died."""

    @property
    def starts(self) -> int: ...


class IncidentCounts(Protocol):
    """Incidents by kind: those that are open, and those that began since the server started."""

    @property
    def begun(self) -> Mapping[FaultKind, int]: ...

    def open_by_kind(self) -> Mapping[FaultKind, int]: ...


class ForgottenMembers(Protocol):
    """Number of foreign members that nodes have forgotten."""

    @property
    def forgotten(self) -> int: ...


class HazardCounts(Protocol):
    """Counts of hazards of slot migration since the server started."""

    @property
    def ended_children(self) -> int: ...

    @property
    def stopped_targets(self) -> int: ...

    @property
    def write_loss_warnings(self) -> int: ...


class FailoverCounts(Protocol):
    """Sentinels: how many there should be, how many work, and what they did."""

    @property
    def sentinels(self) -> int: ...

    @property
    def sentinels_up(self) -> int: ...

    @property
    def failovers(self) -> int: ...


class ProxyCounts(Protocol):
    """Proxies of instances: how many there should be, and how many run."""

    @property
    def proxies(self) -> int: ...

    @property
    def proxies_up(self) -> int: ...


class HostReports(Protocol):
    """Seconds for which each host has not reported, by its name; 0 for a host that reports."""

    def silent_seconds(self) -> Mapping[str, float]: ...


class UnreachedNodes(Protocol):
    """Number of nodes that run, as their agents report, and do not answer, by the name of each other host."""

    def unreached(self) -> Mapping[str, int]: ...


class NodeCounters(Protocol):
    """Latest statistics of every node that should run; None for a node that does not respond."""

    def nodes(self) -> Iterable[tuple[Node, NodeStats | None]]: ...


class Monitors(Protocol):
    """The parts of the server that run in the background."""

    @property
    def heartbeats(self) -> Loops: ...

    @property
    def supervisor(self) -> NodeStarts: ...

    @property
    def incidents(self) -> IncidentCounts: ...

    @property
    def cluster_check(self) -> ForgottenMembers: ...

    @property
    def hazards(self) -> HazardCounts: ...

    @property
    def failover_watch(self) -> FailoverCounts: ...

    @property
    def proxy_watch(self) -> ProxyCounts: ...

    @property
    def host_watch(self) -> HostReports: ...

    @property
    def reach(self) -> UnreachedNodes: ...

    @property
    def statistics(self) -> NodeCounters: ...


def of_monitors(monitors: Monitors) -> Iterator[Metric]:
    """Metrics of the parts of the server that run in the background."""
    text = "Time of the latest round of each background loop."
    beats = (((loop,), at) for loop, at in monitors.heartbeats.last().items())
    yield gauge("cachewright_heartbeat_timestamp_seconds", text, ("loop",), beats)
    starts = CounterMetricFamily("cachewright_node_starts", "Starts of nodes that had died.")
    starts.add_metric((), monitors.supervisor.starts)
    yield starts
    open_now, begun = monitors.incidents.open_by_kind(), monitors.incidents.begun
    text = "Incidents that are open."
    yield gauge("cachewright_incidents_open", text, ("kind",), (((kind,), open_now[kind]) for kind in RULES))
    incidents = CounterMetricFamily("cachewright_incidents", "Incidents since the server started.", labels=("kind",))
    for kind in RULES:
        incidents.add_metric((kind,), begun[kind])
    yield incidents
    forgotten = CounterMetricFamily("cachewright_foreign_members_forgotten", "Nodes that forgot a foreign member.")
    forgotten.add_metric((), monitors.cluster_check.forgotten)
    yield forgotten
    text = "Time for which a host has not reported; 0 while it reports."
    silent = (((host,), seconds) for host, seconds in monitors.host_watch.silent_seconds().items())
    yield gauge("cachewright_host_silent_seconds", text, ("host",), silent)
    text = "Nodes that run, as the agent of their host reports, and do not answer this server."
    unreached = (((host,), count) for host, count in monitors.reach.unreached().items())
    yield gauge("cachewright_host_unreached_nodes", text, ("host",), unreached)
    yield from _of_failover(monitors.failover_watch, monitors.proxy_watch)
    yield from _of_hazards(monitors.hazards)
    yield from _of_nodes(monitors.statistics.nodes())


def _of_failover(counts: FailoverCounts, proxies: ProxyCounts) -> Iterator[Metric]:
    figures = {
        "cachewright_sentinels": ("Sentinels that should run.", counts.sentinels),
        "cachewright_sentinels_up": ("Sentinels that answer.", counts.sentinels_up),
        "cachewright_proxies": ("Instances with a proxy.", proxies.proxies),
        "cachewright_proxies_up": ("Instances whose proxy runs.", proxies.proxies_up),
    }
    for name, (text, value) in figures.items():
        yield gauge(name, text, (), [((), value)])
    failovers = CounterMetricFamily("cachewright_failovers", "Changes of the primary of primary/standby instances.")
    failovers.add_metric((), counts.failovers)
    yield failovers


def _of_hazards(hazards: HazardCounts) -> Iterator[Metric]:
    counted = {
        "cachewright_snapshot_processes_ended": (
            "Snapshot processes that survived their slot migration and were ended.",
            hazards.ended_children,
        ),
        "cachewright_migration_targets_stopped": (
            "Targets that were stopped because they did not complete a handover of slots in time.",
            hazards.stopped_targets,
        ),
        "cachewright_write_loss_warnings": (
            "Slot migrations whose source has logged that writes may be lost.",
            hazards.write_loss_warnings,
        ),
    }
    for name, (text, value) in counted.items():
        family = CounterMetricFamily(name, text)
        family.add_metric((), value)
        yield family


def gauge(name: str, text: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]) -> Metric:
    """A gauge with a value for each of several labels."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for of, value in values:
        family.add_metric(of, value)
    return family


def _of_nodes(nodes: Iterable[tuple[Node, NodeStats | None]]) -> Iterator[Metric]:
    labels = ("instance_id", "node_id", "shard")
    numbers = {
        "used_memory_bytes": "Memory in use.",
        "keys": "Keys.",
        "ops_per_second": "Commands a second.",
        "clients": "Connections.",
    }
    up = GaugeMetricFamily("cachewright_node_up", "Whether a node that should run answers.", labels=labels)
    most = GaugeMetricFamily("cachewright_node_max_memory_bytes", "Memory that a node may use.", labels=labels)
    families = {
        field: GaugeMetricFamily(f"cachewright_node_{field}", text, labels=(*labels, "role"))
        for field, text in numbers.items()
    }
    for node, stats in nodes:
        of = (node.instance_id, node.id, str(node.shard))
        up.add_metric(of, 1 if stats else 0)
        most.add_metric(of, node.maxmemory)
        if stats:
            values = {
                "used_memory_bytes": stats.used_memory,
                "keys": stats.keys,
                "ops_per_second": stats.ops_per_second,
                "clients": stats.clients,
            }
            for field, value in values.items():
                families[field].add_metric((*of, stats.role), value)
    yield up
    yield most
    yield from families.values()

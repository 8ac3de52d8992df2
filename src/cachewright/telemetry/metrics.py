"""Metrics in Prometheus' format (https://prometheus.io/docs/instrumenting/exposition_formats/).

Events are counted as they happen: responses, ended tasks, migrated bytes. States are read for each scrape: waiting
tasks, instances, nodes.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

import cachewright
from cachewright.model.incidents import FaultKind
from cachewright.model.instances import Node
from cachewright.model.tasks import ENDED, UNFINISHED, Task
from cachewright.monitoring.faults import RULES
from cachewright.monitoring.node_stats import NodeStats
from cachewright.operations import OPERATIONS
from cachewright.services.tokens import OUTCOMES, Outcome
from cachewright.store import counts
from cachewright.store.database import Database
from cachewright.tasks.operation import CANCELLED

_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
_UNKNOWN = "OTHER"
"""Label of methods that HTTP does not define: clients choose them, and each label must have few values."""
_OUTCOMES = ("success", "failed", "cancelled")
_REQUEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_TASK_SECONDS = (0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
_ERRORS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2)


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
    def statistics(self) -> NodeCounters: ...


class Metrics:
    """The metrics of one server."""

    def __init__(self, database: Database, monitors: Monitors | None = None) -> None:
        """Without `monitors`, the page has no metrics of nodes and background loops."""
        self._database = database
        self._monitors = monitors
        self._registry = registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        Info("cachewright_build", "The release that runs.", registry=registry).info(
            {"version": cachewright.__version__}
        )
        self._requests = Histogram(
            "cachewright_http_request_duration_seconds",
            "From a request's arrival to the first byte of its answer.",
            ("operation", "method", "status"),
            buckets=_REQUEST_SECONDS,
            registry=registry,
        )
        self._sign_ins = Counter(
            "cachewright_sign_ins",
            "Sign-ins since the server started: successful, failed, and refused because there were too many.",
            ("outcome",),
            registry=registry,
        )
        for outcome in OUTCOMES:
            self._sign_ins.labels(outcome)
        self._ended = Counter(
            "cachewright_tasks_ended",
            "Tasks that have ended since the server started.",
            ("kind", "outcome"),
            registry=registry,
        )
        for kind, end in itertools.product(OPERATIONS, _OUTCOMES):
            self._ended.labels(kind, end)  # starts at 0, so that the first task that ends is an increase
        self._durations = Histogram(
            "cachewright_task_duration_seconds",
            "From a task's begin to its end.",
            ("kind", "status"),
            buckets=_TASK_SECONDS,
            registry=registry,
        )
        self._errors = Histogram(
            "cachewright_task_prediction_error_ratio",
            "By how much of a task's duration its end was predicted wrongly, at a percent of its progress.",
            ("kind", "progress"),
            buckets=_ERRORS,
            registry=registry,
        )
        self._migrated = Counter(
            "cachewright_migrated_bytes", "What slot migrations have moved since the server started.", registry=registry
        )
        self._closed = Counter(
            "cachewright_http_connections_closed",
            "Connections that the server closed: silent, idle, or too many.",
            ("reason",),
            registry=registry,
        )
        self._moved: dict[str, float] = {}
        registry.register(self)

    def text(self) -> bytes:
        """The page in Prometheus' format. Reads the database."""
        return generate_latest(self._registry)

    def answered(self, operation: str, method: str, status: int, seconds: float) -> None:
        """Count a response. `operation` is a served operation, or empty for an unknown path."""
        label = method if method in _METHODS else _UNKNOWN
        self._requests.labels(operation, label, str(status)).observe(seconds)

    def connections_closed(self, reason: str, count: int) -> None:
        """Count closed connections. `reason` is one of `api.connections.REASONS`."""
        self._closed.labels(reason).inc(count)

    def signed_in(self, outcome: Outcome) -> None:
        self._sign_ins.labels(outcome).inc()

    def see(self, task: Task) -> None:
        """Count a change of a task. Called for each stored change."""
        if task.status in ENDED:
            self._moved.pop(task.id, None)
            self._conclude(task)
        else:
            self._count_moved(task)

    def _conclude(self, task: Task) -> None:
        outcome = "cancelled" if task.error_code == CANCELLED else task.status.lower()
        self._ended.labels(task.kind, outcome).inc()
        if task.begin_time is not None and task.end_time is not None:
            self._durations.labels(task.kind, task.status).observe((task.end_time - task.begin_time) / 1000)
        for forecast in task.forecasts:
            if forecast.error is not None:
                self._errors.labels(task.kind, str(forecast.percent)).observe(abs(forecast.error))

    def _count_moved(self, task: Task) -> None:
        """Count bytes moved since the last change. Bytes from before the first change seen were moved under an earlier
        server."""
        moved = sum(sub.done for step in task.steps for sub in step.sub_steps if sub.work.unit == "bytes")
        self._migrated.inc(max(0.0, moved - self._moved.get(task.id, moved)))
        self._moved[task.id] = moved

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        with self._database.read() as connection:
            unfinished = counts.unfinished_tasks(connection)
            statuses = counts.instances_of_all(connection)
            waiting = counts.waiting_deliveries(connection)
        # A count of 0 is exported as well: an alert on a missing series would stay silent.
        counted = dict.fromkeys(itertools.product(OPERATIONS, UNFINISHED), 0) | unfinished
        there = dict.fromkeys(("RUNNING", "ERROR"), 0) | statuses
        yield _gauge(
            "cachewright_tasks_unfinished", "Tasks in line and under way.", ("kind", "status"), counted.items()
        )
        yield _gauge("cachewright_instances", "Instances.", ("status",), (((s,), n) for s, n in there.items()))
        yield _gauge("cachewright_webhook_deliveries_waiting", "Events on their way to webhooks.", (), [((), waiting)])
        if self._monitors:
            yield from _of_monitors(self._monitors)

    def describe(self) -> Iterable[Metric]:
        """Called by the registry, which must not read the database for it."""
        return ()


def _of_monitors(monitors: Monitors) -> Iterator[Metric]:
    text = "When each of the server's loops last came round."
    beats = (((loop,), at) for loop, at in monitors.heartbeats.last().items())
    yield _gauge("cachewright_heartbeat_timestamp_seconds", text, ("loop",), beats)
    starts = CounterMetricFamily("cachewright_node_starts", "Starts of nodes that had died.")
    starts.add_metric((), monitors.supervisor.starts)
    yield starts
    open_now, begun = monitors.incidents.open_by_kind(), monitors.incidents.begun
    text = "Incidents that are open."
    yield _gauge("cachewright_incidents_open", text, ("kind",), (((kind,), open_now[kind]) for kind in RULES))
    incidents = CounterMetricFamily("cachewright_incidents", "Incidents since the server started.", labels=("kind",))
    for kind in RULES:
        incidents.add_metric((kind,), begun[kind])
    yield incidents
    forgotten = CounterMetricFamily("cachewright_foreign_members_forgotten", "Nodes that forgot a foreign member.")
    forgotten.add_metric((), monitors.cluster_check.forgotten)
    yield forgotten
    yield from _of_nodes(monitors.statistics.nodes())


def _gauge(name: str, text: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]) -> Metric:
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

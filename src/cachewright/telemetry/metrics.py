"""Metrics in Prometheus' format (https://prometheus.io/docs/instrumenting/exposition_formats/).

Events are counted as they happen: responses, ended tasks, migrated bytes. States are read for each scrape: waiting
tasks, instances, nodes.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence

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
from prometheus_client.core import Metric

import cachewright
from cachewright.jobs.migrations.figures import following_figures
from cachewright.model.tasks import ENDED, UNFINISHED, Task
from cachewright.model.write_logs import ATTRIBUTE
from cachewright.operations import OPERATIONS
from cachewright.operations.actions.slots import move_slots
from cachewright.operations.backup import BACKUP
from cachewright.operations.online_migrations.operation import MIGRATE_ONLINE
from cachewright.services.host_traffic import traffic
from cachewright.services.servers import overview
from cachewright.services.tokens import OUTCOMES, Outcome
from cachewright.store import backups, counts, hosts, instances, server_records, tasks, write_logs
from cachewright.store.database import Database
from cachewright.tasks.forecast import MARKS
from cachewright.tasks.operation import CANCELLED
from cachewright.telemetry.backup_metrics import of_backups, of_storage
from cachewright.telemetry.monitor_metrics import Monitors, gauge, of_monitors
from cachewright.telemetry.predictions import AT_BEGIN, HELD, Prediction, latest, outcomes
from cachewright.telemetry.server_metrics import of_servers
from cachewright.telemetry.write_log_metrics import of_write_logs

_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
_UNKNOWN = "OTHER"
"""Label of methods that HTTP does not define: clients choose them, and each label must have few values."""
_OUTCOMES = ("success", "failed", "cancelled")
_REQUEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_TASK_SECONDS = (0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
_ERRORS = (0.01, 0.02, 0.05, 0.08, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5, 1, 2)
_SIGNED_ERRORS = (*(-bound for bound in reversed(_ERRORS)), 0.0, *_ERRORS)


class Metrics:
    """The metrics of one server."""

    def __init__(self, database: Database, monitors: Monitors | None = None, *, storage_limit: int = 0) -> None:
        """Without `monitors`, the page has no metrics of nodes and background loops.

        :param storage_limit: bytes that a project may store as backups and write logs; 0 for no limit.
        """
        self._storage_limit = storage_limit
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
        self._biases = Histogram(
            "cachewright_task_prediction_bias_ratio",
            "The same error with its sign: negative if the end was predicted too early.",
            ("kind", "progress"),
            buckets=_SIGNED_ERRORS,
            registry=registry,
        )
        self._intervals = Counter(
            "cachewright_task_prediction_intervals",
            "Whether tasks have ended within the interval of their remaining time, at a percent of their progress.",
            ("kind", "progress", "outcome"),
            registry=registry,
        )
        for kind, mark, held in itertools.product(OPERATIONS, (AT_BEGIN, *MARKS), HELD):
            self._intervals.labels(kind, str(mark), held)
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
        self._predictions: dict[str, tuple[Prediction, ...]] = {}
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
            self._conclude(task, self._predictions.pop(task.id, ()))
        else:
            self._count_moved(task)
            self._predictions[task.id] = latest(task, self._predictions.get(task.id, ()))

    def _conclude(self, task: Task, predictions: tuple[Prediction, ...]) -> None:
        ended_as = "cancelled" if task.error_code == CANCELLED else task.status.lower()
        self._ended.labels(task.kind, ended_as).inc()
        if task.begin_time is not None and task.end_time is not None:
            self._durations.labels(task.kind, task.status).observe((task.end_time - task.begin_time) / 1000)
        for outcome in outcomes(task, predictions):
            labels = (task.kind, str(outcome.mark))
            self._errors.labels(*labels).observe(abs(outcome.error))
            self._biases.labels(*labels).observe(outcome.error)
            if outcome.held:
                self._intervals.labels(*labels, outcome.held).inc()

    def _count_moved(self, task: Task) -> None:
        """Count bytes moved since the last change. Bytes from before the first change seen were moved under an earlier
        server."""
        if task.kind == BACKUP.kind:
            return
        moved = sum(sub.done for step in task.steps for sub in step.sub_steps if sub.work.unit == "bytes")
        subs = [sub for step in task.steps for sub in step.sub_steps if sub.action == move_slots.name]
        moved = sum(sub.done for sub in subs if sub.work.unit == "bytes")
        self._migrated.inc(max(0.0, moved - self._moved.get(task.id, moved)))
        self._moved[task.id] = moved

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        with self._database.read() as connection:
            unfinished = counts.unfinished_tasks(connection)
            statuses = counts.instances_of_all(connection)
            waiting = counts.waiting_deliveries(connection)
            hosted, every = hosts.node_counts(connection), hosts.every(connection)
            between = traffic(connection, every)
            last = backups.last_good(connection)
            stored = {"backups": backups.sizes(connection), "write_logs": write_logs.sizes(connection)}
            logged = [one.id for one in instances.with_attribute(connection, ATTRIBUTE)]
            logs = write_logs.of_instances(connection, logged)
            servers, taken = overview(connection), server_records.latest_by_cause(connection)
            migrating = tasks.active_of_kind(connection, MIGRATE_ONLINE.kind)
        # A count of 0 is exported as well: an alert on a missing series would stay silent.
        counted = dict.fromkeys(itertools.product(OPERATIONS, UNFINISHED), 0) | unfinished
        there = dict.fromkeys(("RUNNING", "ERROR"), 0) | statuses
        yield gauge("cachewright_tasks_unfinished", "Tasks that wait or run.", ("kind", "status"), counted.items())
        yield gauge("cachewright_instances", "Instances.", ("status",), (((s,), n) for s, n in there.items()))
        yield gauge(
            "cachewright_webhook_deliveries_waiting", "Events that wait for delivery to webhooks.", (), [((), waiting)]
        )
        labels = ("host", "zone", "state")
        yield gauge(
            "cachewright_host_nodes",
            "Nodes of all projects on each host.",
            labels,
            (((host.name, host.zone, host.state), hosted.get(host.name, 0)) for host in every),
        )
        yield gauge(
            "cachewright_host_plain_nodes",
            "Nodes of all projects whose traffic with the server or nodes on other hosts is not encrypted.",
            ("host",),
            (((name,), of_host.plain) for name, of_host in between.items()),
        )
        yield gauge(
            "cachewright_performs_tasks",
            "Whether this server performs tasks.",
            (),
            [((), int(self._database.claim.is_held))],
        )
        yield from of_servers(servers, taken)
        yield from of_backups(last)
        yield from of_storage(stored, self._storage_limit)
        yield from of_write_logs(logs)
        yield from _lags(migrating)
        if self._monitors:
            yield from of_monitors(self._monitors)

    def describe(self) -> Iterable[Metric]:
        """Called by the registry, which must not read the database for it."""
        return ()


def _lags(migrating: Sequence[Task]) -> Iterator[Metric]:
    """The lag of migrations that follow their sources. 0 is exported as well, for alerts."""
    figures = [found for task in migrating if (found := following_figures(task))]
    text = "Longest time by which an instance is behind the source of its migration."
    yield gauge(
        "cachewright_migration_lag_seconds", text, (), [((), max((one.lag_seconds for one in figures), default=0))]
    )
    text = "Changed keys that migrations have not copied yet."
    yield gauge("cachewright_migration_lag_keys", text, (), [((), sum(one.lag_keys for one in figures))])

"""The parts of a server process, and their start and stop."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from cachewright import structs
from cachewright.api.app import create_app
from cachewright.api.connections import Connections
from cachewright.api.http_server import HttpServer
from cachewright.config import Listen, Settings
from cachewright.errors import DatabaseUnavailable
from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.all_hosts import AllHosts
from cachewright.hosts.host import Host
from cachewright.hosts.local import LocalHost
from cachewright.hosts.remote import HostCalls
from cachewright.model.tasks import Task
from cachewright.monitoring.adoption import adopt_nodes
from cachewright.monitoring.backup_retention import BackupRetention
from cachewright.monitoring.cluster_check import ClusterCheck
from cachewright.monitoring.equality_check import EqualityCheck
from cachewright.monitoring.failover_watch import FailoverWatch
from cachewright.monitoring.firewall_watch import FirewallWatch
from cachewright.monitoring.gateway_watch import GatewayWatch
from cachewright.monitoring.hazard_watch import HazardWatch
from cachewright.monitoring.host_watch import HostWatch
from cachewright.monitoring.incidents import Incidents
from cachewright.monitoring.inspection import NodeBudget, NodeInspector
from cachewright.monitoring.node_stats import StatsCollector
from cachewright.monitoring.parameter_enforcement import ParameterEnforcement
from cachewright.monitoring.proxy_watch import ProxyWatch
from cachewright.monitoring.scheduled_backups import ScheduledBackups
from cachewright.monitoring.scheduled_scans import ScheduledScans
from cachewright.monitoring.snapshots import SnapshotReader
from cachewright.monitoring.supervisor import Supervisor
from cachewright.monitoring.write_log_archive import WriteLogArchive
from cachewright.operations.backup import BACKUP
from cachewright.operations.context import OperationContext
from cachewright.operations.execution import executable_operations
from cachewright.operations.start_failure import StartFailure
from cachewright.server.housekeeping import Housekeeping
from cachewright.server.services import build_services
from cachewright.services.accounts import Credentials, first_credentials
from cachewright.services.instance_queries import count_by_tls
from cachewright.services.scheduled_tasks import TaskScheduler
from cachewright.store.driver_errors import translate_errors
from cachewright.store.notifications import CALLS, notify
from cachewright.store.opening import open_database
from cachewright.tasks.engine import QUEUE, WORKFLOW_VERSION, Engine
from cachewright.tasks.feed import TaskFeed
from cachewright.telemetry.metrics import Metrics
from cachewright.threads import in_background
from cachewright.valkey.migration.source_state import MigrationState
from cachewright.webhooks.delivery import QUEUE as WEBHOOK_QUEUE
from cachewright.webhooks.delivery import WebhookDeliveryWorker

log = logging.getLogger(__name__)

_ADOPT_SECONDS = 2.0
_THREADS = 16
"""For what requests do beside the work that has threads of its own (`cachewright.threads`)."""


class Traces(Protocol):
    """Sends a trace of each task that has ended."""

    def see(self, task: Task) -> None:
        """Called for each change of each task, from any thread."""

    def stop(self) -> None:
        """Sends what has not been sent."""


class ControlPlane:
    """The parts of one server process."""

    def __init__(self, settings: Settings) -> None:
        """Opens the database and brings its tables up to date; starts nothing."""
        self._settings = settings
        self._stopped = asyncio.Event()
        self._database = open_database(settings)
        self._feed = TaskFeed()
        self._traces: Traces | None = None
        self._calls: HostCalls | None = None
        host = self._hosts(settings)
        self._context = context = OperationContext(self._database, settings, host, MigrationState(host.cpus))
        self._engine = Engine(
            self._database,
            executable_operations(context),
            self._feed,
            queue_polling=settings.queue_polling,
            queues=(QUEUE, WEBHOOK_QUEUE),
        )

        self.heartbeats = LoopHeartbeats()
        self.hazards = context.hazards
        self.statistics = StatsCollector(context, self.heartbeats)
        self.incidents = Incidents(self._database, self.heartbeats)
        self.supervisor = Supervisor(context, self.incidents, self.heartbeats, self._repair)
        self.cluster_check = ClusterCheck(context, self.incidents, self.heartbeats)
        self._hazard_watch = HazardWatch(context, self.incidents, self.heartbeats)
        self._gateway_watch = GatewayWatch(context, self.heartbeats)
        self.failover_watch = FailoverWatch(context, self.incidents, self.heartbeats)
        self.proxy_watch = ProxyWatch(context, self.incidents, self.heartbeats)
        self._firewall_watch = FirewallWatch(context, self.incidents, self.heartbeats)
        self._equality_check = EqualityCheck(context, self.incidents, self.heartbeats)
        self._enforcement = ParameterEnforcement(context, self.heartbeats)
        self._webhook_delivery = WebhookDeliveryWorker(
            self._database,
            self.heartbeats,
            to_private=settings.webhooks_to_private,
            queue_polling=settings.queue_polling,
        )
        self._metrics = Metrics(self._database, self)
        self._feed.listen(self._enforcement.see)
        self._feed.listen(self.supervisor.client_ports.see)
        self._feed.listen(self._metrics.see)

        self._housekeeping = Housekeeping(
            context, self._engine, TaskScheduler(self._database, self._feed, self._engine.enqueue), self.heartbeats
        )
        budget = NodeBudget()
        self._services = build_services(
            context,
            self._feed,
            enqueue=self._engine.enqueue,
            statistics=self.statistics,
            inspector=NodeInspector(context.access, budget),
            snapshots=SnapshotReader(context, budget),
            budget=budget,
            count_sign_in=self._metrics.signed_in,
        )

        tasks = self._services.tasks
        self._scheduled_scans = ScheduledScans(self._database, tasks.submit, self.heartbeats)

        self._scheduled_backups = ScheduledBackups(
            self._database,
            lambda owner, instance_id, request: tasks.submit(BACKUP, owner, instance_id, request),
            self.heartbeats,
        )
        moves = self._services.host_moves
        self.host_watch = HostWatch(
            context,
            self.incidents,
            self.statistics,
            self.heartbeats,
            move=moves.start,
            end_obsolete=moves.end_obsolete,
        )
        self._backup_retention = BackupRetention(context, self.heartbeats)
        self._write_logs = WriteLogArchive(context, self.heartbeats)

    def _hosts(self, settings: Settings) -> Host:
        """The machine of the server, and on PostgreSQL also hosts with agents."""
        local = LocalHost(settings)
        if settings.database_url is None:
            return local
        url, database = self._database.workflow_url, self._database
        self._calls = HostCalls(url, WORKFLOW_VERSION, lambda host_name: notify(database, CALLS, host_name))
        return AllHosts(local, database, self._calls)

    def trace(self, traces: Traces) -> None:
        """Sends traces of tasks to `traces` from now on."""
        self._traces = traces
        self._feed.listen(traces.see)

    def first_credentials(self) -> Credentials | None:
        """The oldest key that works; in a new database the first user is created with it. None where no key works."""
        with self._database.write() as connection:
            return first_credentials(connection)

    def count_instances_by_tls(self) -> tuple[int, int]:
        """The number of instances with TLS between their nodes, and of those without."""
        with self._database.read() as connection:
            return count_by_tls(connection)

    async def start(self, listen: Listen) -> HttpServer:
        """Adopts nodes of earlier releases, then resumes every task that has not ended. Returns the HTTP server, which
        is ready for `serve`."""
        structs.resolve()
        connections = Connections()
        app = create_app(self._services, self._metrics, connections=connections)
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="requests"))
        await in_background(self._housekeeping.report_host)
        await in_background(self.incidents.load)
        await adopt_nodes(self._context)
        await in_background(lambda: self._webhook_delivery.start(self._engine.start()))
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signal_number, self._stopped.set)
        return HttpServer(app, self._settings, listen, connections, self._metrics.connections_closed)

    async def serve(self, http: HttpServer) -> None:
        """Serves the API and runs the background loops until SIGTERM or SIGINT."""
        loops = [
            asyncio.create_task(_forever(loop))
            for loop in (
                self.supervisor.run,
                self.cluster_check.run,
                self._hazard_watch.run,
                self._equality_check.run,
                self.failover_watch.run,
                self.proxy_watch.run,
                self._firewall_watch.run,
                self._gateway_watch.run,
                self.host_watch.run,
                self.incidents.run,
                self._adopt,
                self.statistics.measure,
                self._enforcement.run,
                self._scheduled_scans.run,
                self._scheduled_backups.run,
                self._backup_retention.run,
                self._write_logs.run,
                self._housekeeping.run,
                self._webhook_delivery.run,
                http.watch,
            )
        ]
        await http.serve(self._stopped)
        for loop in loops:
            loop.cancel()
        self._feed.close()
        await http.close()
        await asyncio.gather(*loops, return_exceptions=True)

    def stop(self) -> None:
        """Nodes keep running; tasks wait for the next start."""
        if self._traces:
            self._traces.stop()
        self._webhook_delivery.stop()
        self._engine.stop()
        if self._calls:
            self._calls.close()
        self._database.close()

    def _repair(self, instance_id: str, node_id: str, failure: StartFailure) -> None:
        """Start the repair of a node that does not start."""
        self._services.rebuilds.repair(instance_id, node_id, failure)

    async def _adopt(self) -> None:
        """Until cancelled: adopts nodes of earlier releases that could not be reached before."""
        while True:
            self.heartbeats.beat("adoption")
            await adopt_nodes(self._context)
            await asyncio.sleep(_ADOPT_SECONDS)


async def _forever(loop: Callable[[], Awaitable[None]]) -> None:
    """Runs a background loop again after every error: a database that was locked for too long, a full disk."""
    while True:
        try:
            with translate_errors():
                await loop()
        except DatabaseUnavailable as error:
            log.warning("%s: the database is unavailable, retrying: %s", loop.__qualname__, error)
        except Exception:
            log.exception("%s was interrupted; it is run again", loop.__qualname__)
        await asyncio.sleep(1)

"""The parts of a server process, and their start and stop."""

import asyncio
import logging
import signal
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
from cachewright.monitoring.reach import Reach
from cachewright.monitoring.scheduled_backups import ScheduledBackups
from cachewright.monitoring.scheduled_scans import ScheduledScans
from cachewright.monitoring.snapshots import SnapshotReader
from cachewright.monitoring.supervisor import Supervisor
from cachewright.monitoring.write_log_archive import write_log_loops
from cachewright.operations.backup import BACKUP
from cachewright.operations.context import OperationContext
from cachewright.operations.execution import executable_operations
from cachewright.operations.start_failure import StartFailure
from cachewright.server.agents import keep_agents
from cachewright.server.housekeeping import Housekeeping
from cachewright.server.loops import forever
from cachewright.server.messages import Messages
from cachewright.server.presence import Presence
from cachewright.server.services import build_services
from cachewright.services.accounts import Credentials, first_credentials
from cachewright.services.instance_queries import count_by_tls
from cachewright.services.scheduled_tasks import TaskScheduler
from cachewright.store.driver_errors import translate_errors
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
_CLAIM_POLL_SECONDS = 0.1
_PREPARE_SECONDS = 1.0
_THREADS = 16
"""For what requests do beside the work that has threads of its own (`cachewright.threads`)."""


class Traces(Protocol):
    """Sends a trace of each task that has ended."""

    def see(self, task: Task) -> None:
        """Called for each change of each task, from any thread."""

    def stop(self) -> None:
        """Send what has not been sent."""


class ControlPlane:
    """The parts of one server process.

    :ivar has_failed: it stops because it cannot perform tasks.
    """

    def __init__(self, settings: Settings) -> None:
        """Open the database and bring its tables up to date; start nothing."""
        self._settings = settings
        self._stopped = asyncio.Event()
        self._database = open_database(settings)
        self._feed = TaskFeed()
        self._traces: Traces | None = None
        self._calls: HostCalls | None = None
        self._messages: Messages | None = None
        self._performs_tasks = False
        self.has_failed = False
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
        self._presence = Presence(self._database, settings, self.heartbeats)
        self.hazards = context.hazards
        self._enforcement = ParameterEnforcement(context, self.heartbeats)
        self.statistics = StatsCollector(context, self.heartbeats, self._enforcement.session)
        self.reach = Reach(self._database, host, self.statistics)
        self.incidents = Incidents(self._database, self.heartbeats)
        self.supervisor = Supervisor(context, self.incidents, self.heartbeats, self._repair)
        self.cluster_check = ClusterCheck(context, self.incidents, self.heartbeats)
        self._hazard_watch = HazardWatch(context, self.incidents, self.heartbeats)
        self._gateway_watch = GatewayWatch(context, self.heartbeats)
        self.failover_watch = FailoverWatch(context, self.incidents, self.heartbeats)
        self.proxy_watch = ProxyWatch(context, self.incidents, self.heartbeats)
        self._firewall_watch = FirewallWatch(context, self.incidents, self.heartbeats)
        self._equality_check = EqualityCheck(context, self.incidents, self.heartbeats)
        self._webhook_delivery = WebhookDeliveryWorker(
            self._database,
            self.heartbeats,
            to_private=settings.webhooks_to_private,
            queue_polling=settings.queue_polling,
        )
        self._metrics = Metrics(self._database, self, storage_limit=settings.backup_quota)
        self._feed.listen(self._enforcement.see)
        self._feed.listen(self.supervisor.client_ports.see)
        self._feed.listen(self._metrics.see)

        self._housekeeping = Housekeeping(
            context,
            self._engine,
            TaskScheduler(self._database, self._feed, self._engine.enqueue),
            self.heartbeats,
            keep_agents=lambda: keep_agents(self._database, self._calls),
        )
        if self._database.is_shared:
            self._messages = Messages(self._database, self._feed, self._engine.performs, self._enqueue_here)
        budget = NodeBudget()
        self._services = build_services(
            context,
            self._feed,
            enqueue=self._enqueue,
            statistics=self.statistics,
            inspector=NodeInspector(context.access, budget),
            snapshots=SnapshotReader(context, budget),
            budget=budget,
            count_sign_in=self._metrics.signed_in,
        )

        tasks = self._services.tasks
        self._scheduled_scans = ScheduledScans(self._database, tasks.submit_scheduled, self.heartbeats)

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
        self._write_logs = write_log_loops(context, self.incidents, self.heartbeats)

    def _hosts(self, settings: Settings) -> Host:
        """Return the machine of the server, and on PostgreSQL also hosts with agents."""
        local = LocalHost(settings)
        if not self._database.is_shared:
            return local
        self._calls = HostCalls(self._database, WORKFLOW_VERSION)
        return AllHosts(local, self._database, self._calls)

    @property
    def is_standby(self) -> bool:
        """Whether another server performs tasks."""
        return not self._performs_tasks

    def trace(self, traces: Traces) -> None:
        """Send traces of tasks to `traces` from now on."""
        self._traces = traces
        self._feed.listen(traces.see)

    def first_credentials(self) -> Credentials | None:
        """Return the oldest key that works; in a new database create the first user with it. None if no key works."""
        with self._database.write() as connection:
            return first_credentials(connection)

    def count_instances_by_tls(self) -> tuple[int, int]:
        """Return the number of instances on this machine with TLS between their nodes, and of those without."""
        with self._database.read() as connection:
            return count_by_tls(connection)

    async def start(self, listen: Listen) -> HttpServer:
        """Begin to perform tasks, unless another server does. Return the HTTP server, which is ready for `serve`."""
        structs.resolve()
        connections = Connections()
        app = create_app(self._services, self._metrics, connections=connections)
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="requests"))
        if self._database.claim.is_held:
            await self._prepare()
            await self._perform_tasks()
        if self._messages:
            self._messages.start()
        self._presence.listens(listen)
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signal_number, self._stopped.set)
        return HttpServer(app, self._settings, listen, connections, self._metrics.connections_closed)

    async def serve(self, http: HttpServer) -> None:
        """Serve the API and run the background loops until SIGTERM or SIGINT."""
        loops = [
            asyncio.create_task(forever(self.statistics.measure)),
            asyncio.create_task(forever(http.watch)),
            asyncio.create_task(forever(self._presence.run)),
            asyncio.create_task(forever(self._gateway_watch.run)),  # the machine may have performed tasks before
            asyncio.create_task(self._watch_nodes()),
        ]
        await http.serve(self._stopped)
        for loop in loops:
            loop.cancel()
        self._feed.close()
        await http.close()
        await asyncio.gather(*loops, return_exceptions=True)

    async def _prepare(self) -> None:
        """Read what the loops need, and adopt nodes of earlier releases. It may be repeated."""
        await in_background(self._housekeeping.report_host)
        await in_background(self.incidents.load)
        await adopt_nodes(self._context)

    async def _perform_tasks(self) -> None:
        """Resume every task that has not ended."""
        await in_background(lambda: self._webhook_delivery.start(self._engine.start()))
        self._performs_tasks = True

    async def _watch_nodes(self) -> None:
        """Run the loops of the server that performs tasks, from when this server does, until cancelled."""
        if not self._performs_tasks:
            await self._take_over()
        loops = (
            self.supervisor.run,
            self.cluster_check.run,
            self._hazard_watch.run,
            self._equality_check.run,
            self.failover_watch.run,
            self.proxy_watch.run,
            self._firewall_watch.run,
            self.host_watch.run,
            self.incidents.run,
            self._adopt,
            self._enforcement.run,
            self._scheduled_scans.run,
            self._scheduled_backups.run,
            self._backup_retention.run,
            *self._write_logs,
            self._housekeeping.run,
            self._webhook_delivery.run,
        )
        await asyncio.gather(*map(forever, loops))

    async def _take_over(self) -> None:
        """Wait for the claim to perform tasks, and begin to perform them when the database can be read. If that
        fails otherwise, this server stops, and the next one takes over."""
        while not self._database.claim.is_held:
            await asyncio.sleep(_CLAIM_POLL_SECONDS)
        try:
            while not await self._is_prepared():
                await asyncio.sleep(_PREPARE_SECONDS)
            await self._perform_tasks()
        except Exception:
            log.exception("this server cannot perform tasks; it stops")
            self.has_failed = True
            self._stopped.set()
            raise

    async def _is_prepared(self) -> bool:
        """Prepare. Return False if the database is unavailable, as it may be when servers are replaced."""
        try:
            with translate_errors():
                await self._prepare()
        except DatabaseUnavailable as error:
            log.warning("this server cannot perform tasks yet: %s", error)
            return False
        return True

    def _enqueue(self, task: Task) -> None:
        """Pass a stored task to the engine of this server or of another one."""
        if self._performs_tasks:
            self._engine.enqueue(task)
        elif self._messages:
            self._messages.announce(task)

    def _enqueue_here(self, task: Task) -> None:
        """Pass a task of another server to the engine. Before it is started, it finds tasks itself."""
        if self._performs_tasks:
            self._engine.enqueue(task)

    def stop(self) -> None:
        """Stop all parts. Nodes keep running; tasks wait for the next start."""
        if self._messages:
            self._messages.stop()
        if self._traces:
            self._traces.stop()
        self._webhook_delivery.stop()
        self._engine.stop()
        self._presence.stop()
        if self._calls:
            self._calls.close()
        self._database.close()

    def _repair(self, instance_id: str, node_id: str, failure: StartFailure) -> None:
        """Start the repair of a node that does not start."""
        self._services.rebuilds.repair(instance_id, node_id, failure)

    async def _adopt(self) -> None:
        """Adopt nodes of earlier releases that could not be reached before, until cancelled."""
        while True:
            self.heartbeats.beat("adoption")
            await adopt_nodes(self._context)
            await asyncio.sleep(_ADOPT_SECONDS)

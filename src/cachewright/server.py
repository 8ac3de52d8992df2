"""Puts the parts together: a database, a host, an engine with every operation, and the control plane before them."""

import asyncio
import time

from cachewright import structs
from cachewright.clock import now_ms
from cachewright.config import Settings
from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.local import LocalHost
from cachewright.monitoring.adoption import adopt_nodes
from cachewright.monitoring.cluster_check import ClusterCheck
from cachewright.monitoring.incidents import Incidents
from cachewright.monitoring.inspection import NodeBudget, NodeInspector
from cachewright.monitoring.node_stats import StatsCollector
from cachewright.monitoring.parameter_enforcement import ParameterEnforcement
from cachewright.monitoring.snapshots import SnapshotReader
from cachewright.monitoring.supervisor import Supervisor
from cachewright.operations.context import OperationContext
from cachewright.operations.execution import executable_operations
from cachewright.services.instances import InstanceService
from cachewright.services.tasks import TaskService
from cachewright.store import audit, incidents, tokens, webhooks
from cachewright.store.opening import open_database
from cachewright.store.read_cache import ReadCache
from cachewright.tasks.engine import Engine
from cachewright.tasks.feed import TaskFeed
from cachewright.threads import in_background
from cachewright.valkey.migration.source_state import MigrationState
from cachewright.webhooks.delivery import WebhookDeliveryWorker

_TAKE_UP_SECONDS = 5.0
_SWEEP_SECONDS = 600.0
_ADOPT_SECONDS = 2.0
_DAY_MS = 24 * 3600 * 1000


class ControlPlane:
    """:ivar plane: what requests are made to.
    :ivar statistics: the latest counters of the nodes.
    :ivar incidents: what is wrong with instances now.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = open_database(settings)
        host = LocalHost(settings)
        self._site = site = OperationContext(self._database, settings, host, MigrationState(host.cpus))
        feed = TaskFeed()
        self.heartbeats = LoopHeartbeats()
        self.statistics = StatsCollector(site, self.heartbeats)
        self._engine = Engine(self._database, executable_operations(site), feed, queue_polling=settings.queue_polling)
        self.enforcement = ParameterEnforcement(site, self.heartbeats)
        feed.listen(self.enforcement.see)
        self.webhook_delivery = WebhookDeliveryWorker(
            self._database,
            self.heartbeats,
            to_private=settings.webhooks_to_private,
            queue_polling=settings.queue_polling,
        )
        self.incidents = Incidents(self._database, self.heartbeats)
        self.supervisor = Supervisor(site, self.incidents, self.heartbeats)
        self.cluster_check = ClusterCheck(site, self.incidents, self.heartbeats)
        budget = NodeBudget()
        self.plane = InstanceService(
            database=self._database,
            host=host,
            kept=ReadCache(self._database),
            feed=feed,
            settings=settings,
            tasks=TaskService(site, feed, self._engine.enqueue, self.statistics, budget),
            access=site.access,
            statistics=self.statistics,
            observer=SnapshotReader(site, budget),
            inspector=NodeInspector(site.access, budget),
        )

    def start(self) -> None:
        """Adopts nodes of earlier releases, then takes up every task that has not ended."""
        structs.resolve()
        self.incidents.load()
        asyncio.run(adopt_nodes(self._site))
        self.webhook_delivery.start(self._engine.start())

    async def tend(self) -> None:
        """Until cancelled: takes up what has broken off, forgets what is older than is kept."""
        swept = float("-inf")
        while True:
            self.heartbeats.beat("housekeeping")
            await in_background(self._engine.take_up)
            if time.monotonic() - swept >= _SWEEP_SECONDS:
                swept = time.monotonic()
                await in_background(self._sweep)
            await asyncio.sleep(_TAKE_UP_SECONDS)

    async def adopt(self) -> None:
        """Until cancelled: adopts nodes of earlier releases that could not be reached before."""
        while True:
            self.heartbeats.beat("adoption")
            await adopt_nodes(self._site)
            await asyncio.sleep(_ADOPT_SECONDS)

    def _sweep(self) -> None:
        now = now_ms()
        self._engine.forget(now - int(self._settings.task_retention_days * _DAY_MS))
        with self._database.write() as connection:
            audit.forget(connection, now - int(self._settings.audit_retention_days * _DAY_MS))
            tokens.forget(connection, now)
            incidents.forget(connection, now - int(self._settings.audit_retention_days * _DAY_MS))
            webhooks.forget(connection, now - int(self._settings.task_retention_days * _DAY_MS))

    def stop(self) -> None:
        """Nodes go on; tasks wait for the next start."""
        self.webhook_delivery.stop()
        self._engine.stop()
        self._database.close()

"""Resume interrupted tasks, begin scheduled ones, and delete records after their retention."""

import asyncio
import time
from collections.abc import Callable

from cachewright.clock import now_ms
from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.local import LocalHost
from cachewright.model.hosts import EMBEDDED
from cachewright.operations import restore_sweep
from cachewright.operations.context import OperationContext
from cachewright.services.hosts import report_of
from cachewright.services.scheduled_tasks import TaskScheduler
from cachewright.store import audit, hosts, incidents, server_records, tokens, webhooks
from cachewright.tasks.engine import Engine
from cachewright.threads import in_background

_TAKE_UP_SECONDS = 5.0
_SWEEP_SECONDS = 600.0
_DAY_MS = 24 * 3600 * 1000


class Housekeeping:
    def __init__(
        self,
        context: OperationContext,
        engine: Engine,
        scheduler: TaskScheduler,
        heartbeats: LoopHeartbeats,
        keep_agents: Callable[[], None],
    ) -> None:
        """:param keep_agents: brings what agents reach in the database up to date. Blocks."""
        self._context = context
        self._database = context.database
        self._settings = context.settings
        self._engine = engine
        self._scheduler = scheduler
        self._heartbeats = heartbeats
        self._keep_agents = keep_agents

    async def run(self) -> None:
        """Resume interrupted tasks, begin scheduled ones, and delete records that are older than their retention, until
        cancelled."""
        swept = float("-inf")
        while True:
            self._heartbeats.beat("housekeeping")
            await in_background(self._engine.resume_orphans)
            await in_background(self._scheduler.begin_due)
            if time.monotonic() - swept >= _SWEEP_SECONDS:
                swept = time.monotonic()
                await in_background(self._sweep)
            await restore_sweep.sweep(self._context)
            await asyncio.sleep(_TAKE_UP_SECONDS)

    def report_host(self) -> None:
        """Record what the machine of the server has."""
        host = LocalHost(self._settings)
        report = report_of(host)
        with self._database.write() as connection:
            hosts.saw(connection, EMBEDDED, host.address, report)

    def _sweep(self) -> None:
        self.report_host()
        self._keep_agents()
        now = now_ms()
        self._engine.forget(now - int(self._settings.task_retention_days * _DAY_MS))
        with self._database.write() as connection:
            audit.forget(connection, now - int(self._settings.audit_retention_days * _DAY_MS))
            tokens.forget(connection, now)
            incidents.forget(connection, now - int(self._settings.audit_retention_days * _DAY_MS))
            server_records.forget_silent(connection, server_records.now(connection) - _DAY_MS)
            server_records.forget_takeovers(connection, now - int(self._settings.audit_retention_days * _DAY_MS))
            webhooks.forget(connection, now - int(self._settings.task_retention_days * _DAY_MS))

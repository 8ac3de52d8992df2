"""Supervision of nodes: start those whose process has died.

The pauses between starts grow while a node keeps dying. Each node is started by a task of its own, so one that starts
slowly delays no other.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Collection, Mapping

import msgspec

from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.host import CONFIG, NodeStartFailed, ProcessInfo
from cachewright.logs import about
from cachewright.monitoring.client_ports import ClientPorts
from cachewright.monitoring.incidents import Incidents
from cachewright.operations import STATUSES_WITH_RUNNING_NODES
from cachewright.operations.context import OperationContext
from cachewright.store import instances
from cachewright.threads import in_background

log = logging.getLogger(__name__)

_ROUND_SECONDS = 0.5
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_STABLE_SECONDS = 30.0
"""After this time of running, earlier deaths of a node no longer count."""

_FAILED_STARTS = 3
"""Failed starts in a row after which the instance has an incident."""


class Deaths(msgspec.Struct):
    """Deaths of one node. Times are in seconds of the monotonic clock.

    :ivar count: starts in a row after which it died soon.
    :ivar failed: starts in a row that failed.
    :ivar started: time of the last start.
    :ivar next_start: earliest time of the next one.
    """

    count: int = 0
    failed: int = 0
    started: float = 0.0
    next_start: float = 0.0


class Supervisor:
    def __init__(self, context: OperationContext, incidents: Incidents, heartbeats: LoopHeartbeats) -> None:
        """:ivar starts: number of starts of nodes that had died.
        :ivar client_ports: opens the ports of nodes that have started.
        """
        self.client_ports = ClientPorts(context)
        self._context = context
        self._host = context.host
        self._incidents = incidents
        self._heartbeats = heartbeats
        self._deaths: dict[str, Deaths] = defaultdict(Deaths)
        self._starting: dict[str, asyncio.Task[None]] = {}
        self.starts = 0

    async def run(self) -> None:
        """Supervise until cancelled."""
        try:
            while True:
                self._heartbeats.beat("supervisor")
                supervised = await in_background(self._supervised)
                processes = await self._host.processes()
                dead = await self._dead(supervised, processes)
                for removed in self._deaths.keys() - supervised.keys():
                    del self._deaths[removed]
                for living in self._deaths.keys() - dead:
                    self._deaths[living].failed = 0
                for node_id in dead - self._starting.keys():
                    self._starting[node_id] = asyncio.create_task(self._start(node_id, supervised[node_id]))
                self._report(supervised, dead)
                self.client_ports.check(supervised, processes)
                await asyncio.sleep(_ROUND_SECONDS)
        finally:
            self.client_ports.stop()
            for starting in self._starting.values():
                starting.cancel()

    def _supervised(self) -> dict[str, str]:
        """Nodes that should run, by id, each with the id of its instance."""
        with self._context.database.read() as connection:
            return instances.should_run_in(connection, STATUSES_WITH_RUNNING_NODES)

    async def _dead(self, supervised: Mapping[str, str], processes: Mapping[str, ProcessInfo]) -> set[str]:
        """Nodes that have no process although they have run before."""
        stopped = supervised.keys() - processes.keys()
        return stopped & await self._host.with_file(CONFIG) if stopped else set()

    async def _start(self, node_id: str, instance_id: str) -> None:
        try:
            with about(instance_id=instance_id, node_id=node_id):
                await self._start_if_due(node_id, instance_id)
        except Exception:
            log.exception("node %s could not be started; retrying", node_id)
        finally:
            del self._starting[node_id]

    async def _start_if_due(self, node_id: str, instance_id: str) -> None:
        if await self._host.is_busy(node_id) or await self._host.process(node_id):
            return  # a task restarts or stops it, or has started it since this round began
        deaths, now = self._deaths[node_id], time.monotonic()
        if now < deaths.next_start:
            return
        if now - deaths.started > _STABLE_SECONDS:
            deaths.count = 0
        deaths.count += 1
        deaths.started = now
        deaths.next_start = now + min(_FIRST_PAUSE * 2**deaths.count, _LONGEST_PAUSE)
        log.warning("node %s of instance %s has died; starting it", node_id, instance_id)
        try:
            await self._context.prepare_start(instance_id, node_id)
            await self._host.start(node_id)
            self.starts += 1
        except (NodeStartFailed, OSError) as failure:
            deaths.failed += 1
            log.error("node %s does not start: %s", node_id, failure)

    def _report(self, supervised: Mapping[str, str], dead: Collection[str]) -> None:
        """Report an incident for each instance with a node that cannot be started; clear it once all its nodes run."""
        for node_id in dead:
            if self._deaths[node_id].failed >= _FAILED_STARTS:
                self._incidents.report(supervised[node_id], "node_start", f"node {node_id} does not start")
        broken = {supervised[node_id] for node_id in dead}
        for instance_id in self._incidents.of_kind("node_start") - broken:
            self._incidents.clear(instance_id, "node_start")

"""Supervision of nodes: start those whose process has died, and end those of creations that have failed.

The pauses between starts grow while a node keeps dying. Each node is started by a task of its own, so one that starts
slowly delays no other.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping

import msgspec

from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.calls import HostSilent
from cachewright.hosts.host import CONFIG, LogPosition, NodeStartFailed, ProcessInfo
from cachewright.logs import RARELY, about
from cachewright.model.incidents import FaultKind
from cachewright.monitoring.client_ports import ClientPorts
from cachewright.monitoring.incidents import Incidents
from cachewright.operations import STATUSES_WITH_RUNNING_NODES
from cachewright.operations.context import OperationContext
from cachewright.operations.start_failure import FILES_MISSING, StartFailure, start_failure, way_out
from cachewright.store import instances, tasks
from cachewright.threads import in_background

log = logging.getLogger(__name__)

_ROUND_SECONDS = 0.5
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_STABLE_SECONDS = 30.0
"""After this time of running, earlier deaths of a node no longer count."""

_STOP_SECONDS = 5.0

_FAILED_STARTS = 3
"""Failed starts in a row after which the instance has an incident."""


class Deaths(msgspec.Struct):
    """Deaths of one node. Times are in seconds of the monotonic clock.

    :ivar count: starts in a row after which it died soon.
    :ivar failed: starts in a row that failed.
    :ivar failure: why the last of them failed.
    :ivar log: end of the node's log before the last start.
    :ivar started: time of the last start.
    :ivar next_start: earliest time of the next one.
    """

    count: int = 0
    failed: int = 0
    failure: StartFailure | None = None
    log: LogPosition | None = None
    started: float = 0.0
    next_start: float = 0.0


class Supervised(msgspec.Struct, frozen=True, gc=False):
    """A node that should run. `idle`: its instance has no unfinished task, so the node has run before, and no task
    makes or repairs it."""

    instance_id: str
    shard: int
    idle: bool


class Supervisor:
    def __init__(
        self,
        context: OperationContext,
        incidents: Incidents,
        heartbeats: LoopHeartbeats,
        rebuild: Callable[[str, str, StartFailure], None],
    ) -> None:
        """
        :param rebuild: starts a task that repairs a node of an instance, unless one has been started lately. Blocks.
        :ivar starts: number of starts of nodes that had died.
        :ivar client_ports: opens the ports of nodes that have started.
        """
        self.client_ports = ClientPorts(context)
        self._context = context
        self._host = context.host
        self._incidents = incidents
        self._heartbeats = heartbeats
        self._rebuild = rebuild
        self._deaths: dict[str, Deaths] = defaultdict(Deaths)
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._ending: dict[str, asyncio.Task[None]] = {}
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
                await self._report(supervised, dead)
                await self._end_leftovers(processes.keys() - supervised.keys() - self._ending.keys())
                self.client_ports.check({node_id: of.instance_id for node_id, of in supervised.items()}, processes)
                await asyncio.sleep(_ROUND_SECONDS)
        finally:
            self.client_ports.stop()
            for begun in (*self._starting.values(), *self._ending.values()):
                begun.cancel()

    def _supervised(self) -> dict[str, Supervised]:
        """Nodes that should run, by id."""
        with self._context.database.read() as connection:
            nodes = instances.should_run_in(connection, STATUSES_WITH_RUNNING_NODES)
            busy = tasks.worked_on_now(connection)
        return {node_id: Supervised(of, shard, of not in busy) for node_id, (of, shard) in nodes.items()}

    def _should_run(self, instance_id: str, node_id: str) -> bool:
        with self._context.database.read() as connection:
            return any(node.id == node_id and node.should_run for node in instances.nodes_of(connection, instance_id))

    async def _dead(self, supervised: Mapping[str, Supervised], processes: Mapping[str, ProcessInfo]) -> set[str]:
        """Nodes that have no process although they have run before. While a task of their instance runs, nodes without
        files are new."""
        stopped = supervised.keys() - processes.keys()
        if not stopped:
            return set()
        with_files = await self._host.with_file(CONFIG)
        return {node_id for node_id in stopped if node_id in with_files or supervised[node_id].idle}

    async def _end_leftovers(self, node_ids: Collection[str]) -> None:
        """Begin to end those of these nodes whose creation has failed while their host did not report."""
        for node_id in await in_background(self._leftovers, node_ids) if node_ids else []:
            self._ending[node_id] = asyncio.create_task(self._end(node_id))

    def _leftovers(self, node_ids: Collection[str]) -> list[str]:
        with self._context.database.read() as connection:
            return instances.ids_of_nodes_in(connection, node_ids, "CREATEFAILED")

    async def _end(self, node_id: str) -> None:
        try:
            if await self._host.process(node_id) is None:
                return
            await self._host.stop(node_id, _STOP_SECONDS)
            log.warning("node %s is ended: its creation has failed", node_id)
        except (HostSilent, TimeoutError) as error:
            log.warning("node %s is not ended: %s", node_id, error, extra=RARELY)
        except Exception:
            log.exception("node %s could not be ended; retrying", node_id)
        finally:
            del self._ending[node_id]

    async def _start(self, node_id: str, of: Supervised) -> None:
        try:
            with about(instance_id=of.instance_id, node_id=node_id):
                await self._start_if_due(node_id, of)
        except HostSilent as silent:
            log.warning("node %s is not started: %s", node_id, silent, extra=RARELY)
        except Exception:
            log.exception("node %s could not be started; retrying", node_id)
        finally:
            del self._starting[node_id]

    async def _start_if_due(self, node_id: str, of: Supervised) -> None:
        if await self._host.is_busy(node_id) or await self._host.process(node_id):
            return  # a task restarts or stops it, or has started it since this round began
        deaths, now = self._deaths[node_id], time.monotonic()
        missing = not await self._context.has_data(node_id)
        if missing and not of.idle:
            return  # a task makes it or repairs it
        if not missing and deaths.failed < _FAILED_STARTS:
            await self._count_damage(node_id, deaths)
            if deaths.failed >= _FAILED_STARTS:  # its incident and its repair come before the next start
                deaths.next_start = now + _LONGEST_PAUSE
                return
        if not of.idle and deaths.failed >= _FAILED_STARTS and deaths.failure and deaths.failure.damage == "data":
            return  # a repair must find it down
        if now < deaths.next_start:
            return
        if now - deaths.started > _STABLE_SECONDS:
            deaths.count = 0
        deaths.count += 1
        deaths.started = now
        deaths.next_start = now + min(_FIRST_PAUSE * 2**deaths.count, _LONGEST_PAUSE)
        if missing:
            deaths.failed, deaths.failure = _FAILED_STARTS, FILES_MISSING
            log.error("node %s is not started: its files are missing", node_id, extra=RARELY)
            return
        deaths.log = (await self._host.read_log(node_id, None)).position
        log.warning("node %s of instance %s has died; starting it", node_id, of.instance_id)
        try:
            await self._context.prepare_start(of.instance_id, node_id)
            # A task may have ended it since this round began.
            if await in_background(self._should_run, of.instance_id, node_id):
                await self._host.start(node_id)
                self.starts += 1
        except (NodeStartFailed, OSError) as failure:
            deaths.failed += 1
            deaths.failure = start_failure(str(failure))
            log.error("node %s does not start: %s", node_id, failure)

    async def _count_damage(self, node_id: str, deaths: Deaths) -> None:
        """Count the last start as failed if the node has died over damaged files, which it may read for minutes."""
        if deaths.log is None:
            return
        failure = start_failure("\n".join((await self._host.read_log(node_id, deaths.log)).lines))
        if failure.damage != "none":
            deaths.failed, deaths.failure = _FAILED_STARTS, failure

    async def _report(self, supervised: Mapping[str, Supervised], dead: Collection[str]) -> None:
        """Report an incident for each instance with a node that cannot be started, and start its repair; clear it once
        all its nodes run."""
        found: dict[FaultKind, set[str]] = {"node_start": set(), "broken_node": set()}
        for node_id in sorted(dead):
            deaths, of = self._deaths[node_id], supervised[node_id]
            if deaths.failed < _FAILED_STARTS or deaths.failure is None:
                continue
            others = [other for other, place in supervised.items() if _same_shard(place, of) and other not in dead]
            kind: FaultKind = "broken_node" if others else "node_start"
            found[kind].add(of.instance_id)
            advice = way_out(deaths.failure, has_other=bool(others))
            detail = f"node {node_id} of shard {of.shard} does not start: {deaths.failure.cause}. {advice}"
            self._incidents.report(of.instance_id, kind, detail)
            if of.idle and (deaths.failure.damage == "membership" or (deaths.failure.damage == "data" and others)):
                await in_background(self._rebuild, of.instance_id, node_id, deaths.failure)
        unsettled = {supervised[node_id].instance_id for node_id in dead}
        for kind, reported in found.items():
            for instance_id in self._incidents.of_kind(kind) - reported:
                if instance_id not in unsettled or any(instance_id in others for others in found.values()):
                    self._incidents.clear(instance_id, kind)


def _same_shard(one: Supervised, other: Supervised) -> bool:
    return (one.instance_id, one.shard) == (other.instance_id, other.shard)

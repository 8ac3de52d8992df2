"""Watch nodes for hazards of slot migration: snapshot processes that survive, and warnings about lost writes.

Each move checks for both itself. This loop finds the rest: leaked processes after the server was killed or somebody
migrated slots by hand, and warnings that were logged while the server was down. A round costs a few system calls for
each node.
"""

import asyncio
import logging
import time
from collections import defaultdict

import msgspec

from cachewright.clock import now_ms
from cachewright.concurrency import gather_limited
from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.host import ChildProcess, LogPosition
from cachewright.logs import RARELY, about
from cachewright.model.incidents import FaultKind
from cachewright.model.instances import Node
from cachewright.monitoring.faults import RULES
from cachewright.monitoring.incidents import Incidents
from cachewright.operations import STATUSES_WITH_RUNNING_NODES
from cachewright.operations.context import OperationContext
from cachewright.operations.slot_moves.ended_jobs import known_jobs
from cachewright.operations.slot_moves.leaked_children import (
    LEAKED_SECONDS,
    children_without_job,
    end_leaked_child,
    snapshot_children,
)
from cachewright.store import instances
from cachewright.threads import in_background
from cachewright.valkey.access import Access
from cachewright.valkey.node_log import WriteLossWarning, confirmed, write_loss_warnings

log = logging.getLogger(__name__)

_ROUND_SECONDS = 5.0
_KIND: FaultKind = "write_loss_risk"
_MOST_PENDING = 100
_AT_ONCE = 16


class _Watched(msgspec.Struct):
    """State of one node between rounds.

    :ivar position: end of what was read of its log.
    :ivar warned_at: time of its last warning, epoch milliseconds; 0 without one.
    :ivar pending: warnings in its log that its jobs have neither confirmed nor refuted yet, by job.
    :ivar reported: jobs whose warnings were reported.
    :ivar suspects: snapshot processes without a job, each with the time at which it was found, in seconds of the
        monotonic clock.
    """

    position: LogPosition | None = None
    warned_at: int = 0
    pending: dict[str, WriteLossWarning] = {}
    reported: frozenset[str] = frozenset()
    suspects: dict[ChildProcess, float] = {}


class HazardWatch:
    def __init__(self, context: OperationContext, incidents: Incidents, heartbeats: LoopHeartbeats) -> None:
        self._context = context
        self._incidents = incidents
        self._heartbeats = heartbeats
        self._nodes: dict[str, _Watched] = defaultdict(_Watched)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            self._heartbeats.beat("hazards")
            await self.watch()
            await asyncio.sleep(_ROUND_SECONDS)

    async def watch(self) -> None:
        """Look at every node once. An error at one node does not affect the others."""
        targets = await in_background(self._targets)
        for removed in self._nodes.keys() - {node.id for node, _ in targets}:
            del self._nodes[removed]
        await gather_limited(lambda target: self._look_at(*target), targets, _AT_ONCE)
        begin = now_ms() - RULES[_KIND].hold_seconds * 1000
        at_risk = {node.instance_id for node, _ in targets if self._nodes[node.id].warned_at > begin}
        for instance_id in self._incidents.of_kind(_KIND) - at_risk:
            self._incidents.clear(instance_id, _KIND)

    async def _look_at(self, node: Node, access: Access) -> None:
        await asyncio.sleep(0)  # many nodes without news must not hold up other work
        watched = self._nodes[node.id]
        with about(instance_id=node.instance_id, node_id=node.id):
            try:
                await self._read_log(node, watched)
                await self._report_confirmed(node, access, watched)
                await self._end_leaked(node, access, watched)
            except Exception:
                log.exception("node %s could not be checked for hazards of slot migration; retrying", node.id)

    async def _read_log(self, node: Node, watched: _Watched) -> None:
        logged = await self._context.host.read_log(node.id, watched.position)
        watched.position = logged.position
        now = now_ms()
        for warning in write_loss_warnings(logged.lines, now):
            is_recent = warning.at > now - RULES[_KIND].hold_seconds * 1000
            if is_recent and warning.job not in watched.reported and len(watched.pending) < _MOST_PENDING:
                watched.pending.setdefault(warning.job, warning)

    async def _report_confirmed(self, node: Node, access: Access, watched: _Watched) -> None:
        """Report the warnings that the jobs of the node confirm. If it does not answer, the next round asks again."""
        if not watched.pending or (jobs := await known_jobs(node, access)) is None:
            return
        real = confirmed(watched.pending.values(), jobs)
        if ignored := len(watched.pending) - len(real):
            message = "node %s: its jobs do not confirm %d log lines about lost writes, which are ignored"
            log.warning(message, node.id, ignored, extra=RARELY)
        watched.pending = {}
        watched.reported &= {job.name for job in jobs}
        for warning in real:
            text = warning.described(node.id)
            log.error("instance %s: %s", node.instance_id, text)
            watched.warned_at = max(watched.warned_at, warning.at)
            watched.reported |= {warning.job}
            self._context.hazards.write_loss_warnings += 1
            self._incidents.report(node.instance_id, _KIND, text)

    async def _end_leaked(self, node: Node, access: Access, watched: _Watched) -> None:
        """End processes that had no job in two rounds."""
        if not await snapshot_children(self._context, node):
            watched.suspects = {}
            return
        now = time.monotonic()
        found = await children_without_job(self._context, node, access)
        watched.suspects = {child: watched.suspects.get(child, now) for child in found}
        for child, since in watched.suspects.items():
            if now - since >= LEAKED_SECONDS:
                await end_leaked_child(self._context, node, child)

    def _targets(self) -> list[tuple[Node, Access]]:
        with self._context.database.read() as connection:
            nodes = instances.nodes_here(connection)
            secrets = instances.secrets(connection, STATUSES_WITH_RUNNING_NODES) if nodes else {}
        return [
            (node, self._context.access(secrets[node.instance_id])) for node in nodes if node.instance_id in secrets
        ]

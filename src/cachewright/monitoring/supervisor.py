"""Keeps nodes running: one that has died is started again, with longer and longer waits while it keeps dying. Each is
started on its own, so that one that takes long to start, or does not, delays no other."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Collection, Mapping

import msgspec

from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.local import CONFIG, NodeStartFailed
from cachewright.logs import about
from cachewright.monitoring.incidents import Incidents
from cachewright.operations.context import OperationContext
from cachewright.store import instances
from cachewright.threads import in_background

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 30.0
_STABLE_SECONDS = 30.0
"""A node that has run this long has not just kept dying."""

_HOPELESS = 3
"""Starts in a row that have failed, after which the instance is shown to be in ERROR."""

_SETTLED = {"RUNNING", "EXTENDING", "RESTARTING", "ERROR"}
"""Instance statuses in which a node that was started once should be running."""


class Deaths(msgspec.Struct):
    """Of one node: how many starts in a row have not held, how many have failed outright, when it was last started,
    when it may be again."""

    count: int = 0
    failed: int = 0
    started: float = 0.0
    next_start: float = 0.0


class Supervisor:
    def __init__(self, site: OperationContext, incidents: Incidents, heartbeats: LoopHeartbeats) -> None:
        """:ivar starts: how often a node that had died was started again."""
        self._site = site
        self._incidents = incidents
        self._heartbeats = heartbeats
        self._deaths: dict[str, Deaths] = defaultdict(Deaths)
        self._starting: dict[str, asyncio.Task[None]] = {}
        self.starts = 0

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._heartbeats.beat("supervisor")
                wanted, dead = await in_background(self._look)
                for gone in self._deaths.keys() - wanted.keys():
                    del self._deaths[gone]
                for living in self._deaths.keys() - dead:
                    self._deaths[living].failed = 0
                for node_id in dead - self._starting.keys():
                    self._starting[node_id] = asyncio.create_task(self._tended(node_id, wanted[node_id]))
                self._report(wanted, dead)
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            for starting in self._starting.values():
                starting.cancel()

    def _look(self) -> tuple[dict[str, str], set[str]]:
        """Nodes that should be running, each with its instance's id, and those of them that could be and are not."""
        with self._site.database.read() as connection:
            wanted = instances.should_run_in(connection, _SETTLED)
        host = self._site.host
        return wanted, {node_id for node_id in wanted if not host.runs(node_id) and host.has(node_id, CONFIG)}

    async def _tended(self, node_id: str, instance_id: str) -> None:
        try:
            with about(instance_id=instance_id, node_id=node_id):
                await self._revive(node_id, instance_id)
        except Exception:
            log.exception("node %s could not be started; it is tried again", node_id)
        finally:
            del self._starting[node_id]

    async def _revive(self, node_id: str, instance_id: str) -> None:
        if self._site.host.busy(node_id) or self._site.host.runs(node_id):  # somebody else has, since it was looked at
            return
        deaths, now = self._deaths[node_id], time.monotonic()
        if now < deaths.next_start:
            return
        if now - deaths.started > _STABLE_SECONDS:
            deaths.count = 0
        deaths.count += 1
        deaths.started = now
        deaths.next_start = now + min(_FIRST_WAIT * 2**deaths.count, _LONGEST_WAIT)
        log.warning("node %s of instance %s has died; starting it", node_id, instance_id)
        try:
            await self._site.renew_certificate(instance_id, node_id)
            await self._site.host.start(node_id)
            self.starts += 1
        except (NodeStartFailed, OSError) as failure:
            deaths.failed += 1
            log.error("node %s does not start: %s", node_id, failure)

    def _report(self, wanted: Mapping[str, str], dead: Collection[str]) -> None:
        """An instance with a node that cannot be started has an incident, until all its nodes run."""
        for node_id in dead:
            failed = self._deaths[node_id].failed
            if failed >= _HOPELESS:
                self._incidents.report(wanted[node_id], "node_start", f"node {node_id} does not start")
        broken = {wanted[node_id] for node_id in dead}
        for instance_id in self._incidents.of_kind("node_start") - broken:
            self._incidents.clear(instance_id, "node_start")

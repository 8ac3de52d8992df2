"""Keeps nodes running: one that has died is started again, with longer and longer waits while it keeps dying."""

import asyncio
import logging
import time
from collections import defaultdict

import msgspec

from cachewright.hosts.local import NodeDidNotStart
from cachewright.logs import about
from cachewright.operations.adoption import adopt_nodes
from cachewright.operations.site import Site
from cachewright.store import instances
from cachewright.tasks.clock import now_ms
from cachewright.tasks.heartbeats import Heartbeats

log = logging.getLogger(__name__)

_CODE = "DCS.9001"
_LOOK_SECONDS = 0.5
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 30.0
_ADOPT_SECONDS = 2.0
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
    def __init__(self, site: Site, heartbeats: Heartbeats) -> None:
        """:ivar starts: how often a node that had died was started again."""
        self._site = site
        self._heartbeats = heartbeats
        self._deaths: dict[str, Deaths] = defaultdict(Deaths)
        self._failing: set[str] | None = None
        self.starts = 0
        self._next_adoption = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._heartbeats.beat("supervisor")
            wanted, dead = await asyncio.to_thread(self._look)
            for gone in self._deaths.keys() - wanted.keys():
                del self._deaths[gone]
            for living in self._deaths.keys() - dead:
                self._deaths[living].failed = 0
            await asyncio.gather(*(self._tended(node_id, wanted[node_id]) for node_id in dead))
            if time.monotonic() >= self._next_adoption:
                self._next_adoption = time.monotonic() + _ADOPT_SECONDS
                await adopt_nodes(self._site)
            failing = {wanted[node_id] for node_id, deaths in self._deaths.items() if deaths.failed >= _HOPELESS}
            if failing != self._failing:
                await asyncio.to_thread(self._report, failing)
            await asyncio.sleep(_LOOK_SECONDS)

    def _look(self) -> tuple[dict[str, str], set[str]]:
        """Nodes that should be running, each with its instance's id, and those of them that could be and are not."""
        with self._site.database.read() as connection:
            wanted = instances.wanted_in(connection, _SETTLED)
        host = self._site.host
        return wanted, {node_id for node_id in wanted if not host.runs(node_id) and host.has(node_id, "nodes.conf")}

    async def _tended(self, node_id: str, instance_id: str) -> None:
        with about(instance_id=instance_id, node_id=node_id):
            await self._revive(node_id, instance_id)

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
        except (NodeDidNotStart, OSError) as failure:
            deaths.failed += 1
            log.error("node %s does not start: %s", node_id, failure)

    def _report(self, failing: set[str]) -> None:
        """An instance with a node that cannot be started is in ERROR, until it can. One that a task is working on
        keeps the task's status."""
        with self._site.database.write() as connection:
            for instance in instances.every(connection):
                if instance.id in failing and instance.status == "RUNNING":
                    instances.change(connection, instance.id, status="ERROR", error_code=_CODE, updated_at=now_ms())
                elif instance.id not in failing and instance.status == "ERROR" and instance.error_code == _CODE:
                    instances.change(connection, instance.id, status="RUNNING", error_code=None, updated_at=now_ms())
        self._failing = failing

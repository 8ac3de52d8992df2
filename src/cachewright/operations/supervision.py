"""Keeps nodes running: one that has died is started again, with longer and longer waits while it keeps dying."""

import asyncio
import logging
import time
from collections import defaultdict

import msgspec

from cachewright.hosts.local import NodeDidNotStart
from cachewright.logs import about
from cachewright.operations.site import Site
from cachewright.store import instances
from cachewright.store.records import Node
from cachewright.tasks.clock import now_ms
from cachewright.tasks.heartbeats import Heartbeats

log = logging.getLogger(__name__)

_CODE = "DCS.9001"
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
    def __init__(self, site: Site, heartbeats: Heartbeats) -> None:
        """:ivar starts: how often a node that had died was started again."""
        self._site = site
        self._heartbeats = heartbeats
        self._deaths: dict[str, Deaths] = defaultdict(Deaths)
        self._failing: set[str] | None = None
        self.starts = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._heartbeats.beat("supervisor")
            nodes = await asyncio.to_thread(self._wanted)
            for gone in self._deaths.keys() - {node.id for node in nodes}:
                del self._deaths[gone]
            await asyncio.gather(*(self._tended(node) for node in nodes))
            await asyncio.to_thread(self._report, nodes)
            await asyncio.sleep(_LOOK_SECONDS)

    def _wanted(self) -> list[Node]:
        with self._site.database.read() as connection:
            statuses = instances.statuses(connection)
            nodes = instances.wanted_nodes(connection)
        return [node for node in nodes if statuses.get(node.instance_id) in _SETTLED]

    async def _tended(self, node: Node) -> None:
        with about(instance_id=node.instance_id, node_id=node.id):
            await self._revive(node)

    async def _revive(self, node: Node) -> None:
        if self._site.host.process(node.id) or not self._site.host.has(node.id, "nodes.conf"):
            self._deaths[node.id].failed = 0
            return
        if self._site.host.busy(node.id):
            return
        deaths, now = self._deaths[node.id], time.monotonic()
        if now < deaths.next_start:
            return
        if now - deaths.started > _STABLE_SECONDS:
            deaths.count = 0
        deaths.count += 1
        deaths.started = now
        deaths.next_start = now + min(_FIRST_WAIT * 2**deaths.count, _LONGEST_WAIT)
        log.warning("node %s of instance %s has died; starting it", node.id, node.instance_id)
        try:
            await self._site.host.start(node.id)
            self.starts += 1
        except (NodeDidNotStart, OSError) as failure:
            deaths.failed += 1
            log.error("node %s does not start: %s", node.id, failure)

    def _report(self, nodes: list[Node]) -> None:
        """An instance with a node that cannot be started is in ERROR, until it can. One that a task is working on
        keeps the task's status."""
        failing = {node.instance_id for node in nodes if self._deaths[node.id].failed >= _HOPELESS}
        if failing == self._failing:
            return
        with self._site.database.write() as connection:
            for instance in instances.every(connection):
                if instance.id in failing and instance.status == "RUNNING":
                    instances.change(connection, instance.id, status="ERROR", error_code=_CODE, updated_at=now_ms())
                elif instance.id not in failing and instance.status == "ERROR" and instance.error_code == _CODE:
                    instances.change(connection, instance.id, status="RUNNING", error_code=None, updated_at=now_ms())
        self._failing = failing

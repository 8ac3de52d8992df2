"""Watches hosts: replaces nodes of those that do not report, empties those that are drained, removes lost ones."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from cachewright.heartbeats import LoopHeartbeats
from cachewright.model.hosts import EMBEDDED, HostRecord, HostState
from cachewright.model.instances import Node
from cachewright.monitoring.host_findings import WatchedHost, faults, moves
from cachewright.monitoring.incidents import Incidents
from cachewright.monitoring.node_stats import StatsCollector
from cachewright.operations.context import OperationContext
from cachewright.operations.requests import MoveRequest
from cachewright.store import hosts, instances, sentinels, tasks
from cachewright.threads import in_background

_ROUND_SECONDS = 1.0


class HostWatch:
    def __init__(
        self,
        context: OperationContext,
        incidents: Incidents,
        statistics: StatsCollector,
        heartbeats: LoopHeartbeats,
        *,
        move: Callable[[str, MoveRequest], None],
        end_obsolete: Callable[[Mapping[str, HostState]], None],
    ) -> None:
        """:param move: starts a task that moves nodes of an instance, unless one must wait. Blocks.
        :param end_obsolete: cancels moves of which the states of all hosts are not the cause any more. Blocks.
        """
        self._context = context
        self._incidents = incidents
        self._statistics = statistics
        self._heartbeats = heartbeats
        self._move = move
        self._end_obsolete = end_obsolete
        self._silent_since: dict[str, float] = {}
        self._names: set[str] = set()

    def silent_seconds(self) -> dict[str, float]:
        """Return the seconds for which each host has not reported, by its name; 0 for a host that reports."""
        now, since = time.monotonic(), dict(self._silent_since)
        return {name: now - since[name] if name in since else 0.0 for name in self._names}

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            self._heartbeats.beat("hosts")
            await self._round()
            await asyncio.sleep(_ROUND_SECONDS)

    async def _round(self) -> None:
        records, reporting = await in_background(self._read)
        watched = {host.name: host for host in self._watched(records, reporting)}
        nodes, busy = await in_background(self._nodes_of, watched) if watched else ([], set[str]())
        if nodes and not self._statistics.is_measured:
            return  # the server has just started
        answering = {node.id for node, stats in self._statistics.nodes() if stats is not None}
        rebuild_seconds = self._context.settings.host_rebuild_seconds
        found = faults(watched, nodes, answering, rebuild_seconds, busy=busy)
        for kind in ("silent_host", "lost_data"):
            for instance_id in self._incidents.of_kind(kind):
                if (instance_id, kind) not in found:
                    self._incidents.clear(instance_id, kind)
        for (instance_id, kind), detail in found.items():
            self._incidents.report(instance_id, kind, detail)
        await in_background(self._end_obsolete, {record.name: record.state for record in records})
        for instance_id, request in moves(watched, nodes, answering, rebuild_seconds):
            await in_background(self._move, instance_id, request)
        if empty := {name for name, host in watched.items() if host.state == "lost"} - {n.host_name for n in nodes}:
            await in_background(self._remove, empty)

    def _read(self) -> tuple[list[HostRecord], set[str]]:
        reporting = set(self._context.host.measured())
        with self._context.database.read() as connection:
            return hosts.without_reports(connection), reporting

    def _watched(self, records: Sequence[HostRecord], reporting: Collection[str]) -> list[WatchedHost]:
        """Return hosts that need attention."""
        now = time.monotonic()
        self._names = {record.name for record in records}
        silent = {record.name for record in records if record.name not in {*reporting, EMBEDDED}}
        self._silent_since = {name: self._silent_since.get(name, now) for name in silent}
        return [
            WatchedHost(
                name=record.name,
                state=record.state,
                silent_seconds=now - self._silent_since[record.name] if record.name in silent else None,
            )
            for record in records
            if record.name in silent or record.state in ("draining", "lost")
        ]

    def _nodes_of(self, names: Collection[str]) -> tuple[list[Node], set[str]]:
        """Return all nodes of instances that have nodes on these hosts, and the ids of instances with a task that has
        not ended."""
        with self._context.database.read() as connection:
            return instances.nodes_beside(connection, names), tasks.worked_on_now(connection)

    def _remove(self, names: Collection[str]) -> None:
        """Remove lost hosts that have no nodes and no sentinels any more."""
        with self._context.database.write() as connection:
            counts = hosts.node_counts(connection)
            for name in names:
                record = hosts.get(connection, name)
                is_lost = record is not None and record.state == "lost"
                if is_lost and not counts.get(name) and not sentinels.on_host(connection, name):
                    hosts.remove(connection, name)

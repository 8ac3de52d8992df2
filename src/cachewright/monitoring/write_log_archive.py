"""Keep write logs of the instances whose owners want them.

What cannot be stored ends a log, or it waits; the nodes do not wait for it, and `WriteLogGuard` keeps it from filling
their disk.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from cachewright.backups.storage import StorageFailed
from cachewright.clock import Clock, now_ms
from cachewright.concurrency import gather_limited
from cachewright.heartbeats import LoopHeartbeats
from cachewright.logs import RARELY
from cachewright.model.instances import Instance, Node, node_elsewhere
from cachewright.model.tasks import Task
from cachewright.model.write_logs import ATTRIBUTE, WriteLog
from cachewright.monitoring.write_log_retention import WriteLogRetention
from cachewright.monitoring.write_log_rules import Shard
from cachewright.monitoring.write_log_space import WriteLogGuard, log_space
from cachewright.monitoring.write_log_storing import LINKS, ShardStoring
from cachewright.monitoring.write_log_times import SeenClock
from cachewright.operations.context import OperationContext, best_view
from cachewright.operations.resize.operation import RESIZE
from cachewright.operations.restore import RESTORE
from cachewright.store import instances, tasks, write_logs
from cachewright.tasks.operation import ActionFailed
from cachewright.threads import in_background
from cachewright.topologies import topology_of
from cachewright.valkey.client import NODE_GONE, NodeBusy, NodeRefused
from cachewright.valkey.topology import primaries

log = logging.getLogger(__name__)

_ROUND_SECONDS = 2.0
_AT_ONCE = 4
_MOVING = (RESIZE.kind, RESTORE.kind)
"""Tasks that may move keys between shards, or replace them, other than by commands of clients."""


class _Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """An instance whose owner wants write logs.

    :ivar logs: those that are open.
    :ivar latest: latest second that any of its logs has, also those that have ended.
    :ivar mover: a task that may have moved or replaced keys since; None without one.
    """

    instance: Instance
    nodes: list[Node]
    logs: list[WriteLog]
    latest: int
    mover: Task | None


class WriteLogArchive:
    def __init__(self, context: OperationContext, heartbeats: LoopHeartbeats, clock: Clock = now_ms) -> None:
        self._context = context
        self._heartbeats = heartbeats
        self._clock = SeenClock(clock)
        self._shards: dict[tuple[str, int], ShardStoring] = {}

    async def run(self) -> None:
        """Store until cancelled."""
        while True:
            self._heartbeats.beat("write logs")
            await self.round()
            await asyncio.sleep(_ROUND_SECONDS)

    async def round(self) -> None:
        self._clock()
        wanted = await in_background(self._wanted)
        await gather_limited(self._follow, wanted, _AT_ONCE)
        followed = {node.id for one in wanted for node in one.nodes}
        for node_id in await self._context.host.with_file(LINKS) - followed:
            await self._context.host.delete_folders(node_id, LINKS)
        known = {one.instance.id for one in wanted}
        self._shards = {key: one for key, one in self._shards.items() if key[0] in known}

    def _wanted(self) -> list[_Wanted]:
        found = []
        with self._context.database.read() as connection:
            for instance in instances.with_attribute(connection, ATTRIBUTE):
                nodes = instances.nodes_of(connection, instance.id)
                every = write_logs.of_instance(connection, instance.id)
                latest = max((one.last or 0 for one in every), default=0)
                logs = [one for one in every if one.ended is None]
                since = min((one.last or one.first for one in logs), default=None)
                mover = tasks.begun(connection, instance.id, _MOVING, since and since * 1000)
                found.append(_Wanted(instance=instance, nodes=nodes, logs=logs, latest=latest, mover=mover))
        return found

    def _end(self, logs: Sequence[WriteLog], reason: str) -> None:
        if not logs:
            return
        with self._context.database.write() as connection:
            for one in logs:
                write_logs.end(connection, one.id, reason)

    async def _follow(self, wanted: _Wanted) -> None:
        logs, mover = wanted.logs, wanted.mover
        if away := node_elsewhere(wanted.nodes):
            await in_background(self._end, logs, away)
            return
        try:
            space = await log_space(self._context)
        except FileNotFoundError:  # no node has been started yet
            return
        if space.free >= space.needed and (mover is None or logs):
            await self._store(wanted, may_begin=space.free >= space.ample)
        if mover is not None:
            await in_background(self._end, logs, f"task {mover.name} {mover.id} may have moved or replaced keys")

    async def _store(self, wanted: _Wanted, *, may_begin: bool) -> None:
        instance, nodes, logs = wanted.instance, wanted.nodes, wanted.logs
        try:
            view = best_view(await self._context.views(instance, nodes))
        except (*NODE_GONE, NodeBusy, NodeRefused, ActionFailed):
            return
        if not view.ok:  # the node may have missed that another one is the primary
            return
        is_cluster = topology_of(instance.spec_code).is_cluster
        leads = primaries(nodes, view)
        for shard, lead in leads.items():
            owned = view.members[lead.id].slots if is_cluster else ()
            storing = self._shards.setdefault((instance.id, shard), ShardStoring(self._context, self._clock))
            followed = Shard(
                instance=instance,
                node=lead,
                ranges=tuple((part.first, part.last) for part in owned),
                logs=[one for one in logs if one.shard == shard],
                latest=wanted.latest,
                mover=wanted.mover,
                may_begin=may_begin,
            )
            try:
                await storing.follow(followed)
            except (*NODE_GONE, NodeRefused, StorageFailed) as error:
                log.warning("writes of instance %s cannot be stored now: %s", instance.id, error, extra=RARELY)
        for node in nodes:
            if node not in leads.values():
                await self._context.host.delete_folders(node.id, LINKS)


def write_log_loops(context: OperationContext, heartbeats: LoopHeartbeats) -> list[Callable[[], Awaitable[None]]]:
    """Return the loops of write logs. Each runs until cancelled, and waits for none of the others."""
    return [
        WriteLogArchive(context, heartbeats).run,
        WriteLogGuard(context, heartbeats).run,
        WriteLogRetention(context, heartbeats).run,
    ]

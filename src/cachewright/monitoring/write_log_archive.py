"""Keep write logs of the instances whose owners want them.

What cannot be stored ends a log, or it waits; the nodes do not wait for it, and `WriteLogGuard` keeps it from filling
their disk.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence, Set
from contextlib import suppress

import msgspec

from cachewright.backups.storage import StorageFailed
from cachewright.clock import Clock, now_ms
from cachewright.concurrency import gather_limited
from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.calls import HostSilent
from cachewright.hosts.host import LINKS
from cachewright.logs import RARELY
from cachewright.model.hosts import EMBEDDED
from cachewright.model.instances import Instance, Node, node_elsewhere
from cachewright.model.tasks import Task
from cachewright.model.write_logs import ATTRIBUTE, WriteLog
from cachewright.monitoring.incidents import Incidents
from cachewright.monitoring.write_log_retention import WriteLogRetention
from cachewright.monitoring.write_log_rules import Shard
from cachewright.monitoring.write_log_space import WriteLogGuard, log_space
from cachewright.monitoring.write_log_storing import ShardStoring
from cachewright.monitoring.write_log_times import NodeClock, SeenClock
from cachewright.operations.context import OperationContext, best_view
from cachewright.operations.resize.operation import RESIZE
from cachewright.operations.restore import RESTORE
from cachewright.store import backups, instances, tasks, write_logs
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

    :ivar logs: those that are open, :ivar every: also those that have ended.
    :ivar mover: a task that may have moved or replaced keys since; None without one.
    :ivar room: bytes that the project may store; None for no limit.
    """

    instance: Instance
    nodes: list[Node]
    logs: list[WriteLog]
    every: list[WriteLog]
    mover: Task | None
    room: int | None


class WriteLogArchive:
    def __init__(self, context: OperationContext, heartbeats: LoopHeartbeats, clock: Clock = now_ms) -> None:
        self._context = context
        self._heartbeats = heartbeats
        self._clock = SeenClock(clock)
        self._shards: dict[tuple[str, int, str], ShardStoring] = {}

    async def run(self) -> None:
        """Store until cancelled."""
        while True:
            self._heartbeats.beat("write logs")
            await self.round()
            await asyncio.sleep(_ROUND_SECONDS)

    async def round(self) -> None:
        self._clock()
        wanted = await in_background(self._wanted)
        linked = await self._context.host.with_file(LINKS)
        await gather_limited(lambda one: self._follow(one, linked), wanted, _AT_ONCE)
        followed = {node.id for one in wanted for node in one.nodes}
        await self._delete_links(linked - followed)
        known = {one.instance.id for one in wanted}
        self._shards = {key: one for key, one in self._shards.items() if key[0] in known}

    def _wanted(self) -> list[_Wanted]:
        found, quota = [], self._context.settings.backup_quota
        with self._context.database.read() as connection:
            stored = Counter[str]()
            if quota:
                stored.update(backups.sizes(connection))
                stored.update(write_logs.sizes(connection))
            for instance in instances.with_attribute(connection, ATTRIBUTE):
                nodes = instances.nodes_of(connection, instance.id)
                every = write_logs.of_instance(connection, instance.id)
                logs = [one for one in every if one.ended is None]
                hosts = {node.id: node.host_name for node in nodes}
                since = min((self._since(one, hosts.get(one.node_id, EMBEDDED)) for one in logs), default=None)
                mover = tasks.begun(connection, instance.id, _MOVING, since)
                room = max(quota - stored[instance.project_id], 0) if quota else None
                found.append(_Wanted(instance=instance, nodes=nodes, logs=logs, every=every, mover=mover, room=room))
        return found

    def _since(self, log: WriteLog, host_name: str) -> int:
        """Return the time, by the clock of the server, from which on a log has nothing that is proven, epoch
        milliseconds."""
        storing = self._shards.get((log.instance_id, log.shard, host_name))
        return (log.last or log.first) * 1000 - (storing.ahead if storing else 0)

    def _end(self, logs: Sequence[WriteLog], reason: str) -> None:
        if not logs:
            return
        with self._context.database.write() as connection:
            for one in logs:
                write_logs.end(connection, one.id, reason)

    async def _delete_links(self, node_ids: Iterable[str]) -> None:
        for node_id in node_ids:
            with suppress(HostSilent):  # it is asked again in the next round
                await self._context.host.delete_folders(node_id, LINKS)

    async def _follow(self, wanted: _Wanted, linked: Set[str]) -> None:
        """:param linked: nodes with links."""
        logs, mover = wanted.logs, wanted.mover
        away = node_elsewhere(wanted.nodes)
        if away and self._context.settings.backup_storage is None:
            await in_background(self._end, logs, f"only the server reaches the folder of backups: {away}")
            return
        may_store, may_begin = True, True
        if not away or any(node.host_name == EMBEDDED for node in wanted.nodes):
            try:
                space = await log_space(self._context)
            except FileNotFoundError:  # no node has been started yet
                return
            may_store, may_begin = space.free >= space.needed, space.free >= space.ample
        if may_store and (mover is None or logs):
            await self._store(wanted, linked, may_begin=may_begin)
        if mover is not None:
            await in_background(self._end, logs, f"task {mover.name} {mover.id} may have moved or replaced keys")

    async def _store(self, wanted: _Wanted, linked: Set[str], *, may_begin: bool) -> None:
        instance, nodes, logs = wanted.instance, wanted.nodes, wanted.logs
        try:
            view = best_view(await self._context.views(instance, nodes))
        except (*NODE_GONE, NodeBusy, NodeRefused, ActionFailed):
            return
        if not view.ok:  # the node may have missed that another one is the primary
            return
        is_cluster = topology_of(instance.spec_code).is_cluster
        leads = primaries(nodes, view)
        hosts = {node.id: node.host_name for node in nodes}
        for shard, lead in leads.items():
            owned = view.members[lead.id].slots if is_cluster else ()
            clock = self._clock if lead.host_name == EMBEDDED else NodeClock(now_ms)
            own_key = (instance.id, shard, lead.host_name)
            storing = self._shards.setdefault(own_key, ShardStoring(self._context, clock))
            followed = Shard(
                instance=instance,
                node=lead,
                ranges=tuple((part.first, part.last) for part in owned),
                logs=[one for one in logs if one.shard == shard],
                latest=_latest(wanted, lead, hosts),
                mover=wanted.mover,
                may_begin=may_begin,
                room=None if wanted.room is None else wanted.room // len(leads),
            )
            try:
                await storing.follow(followed)
            except (*NODE_GONE, NodeRefused, HostSilent, StorageFailed) as error:
                log.warning("writes of instance %s cannot be stored now: %s", instance.id, error, extra=RARELY)
        await self._delete_links(node.id for node in nodes if node not in leads.values() and node.id in linked)


def _latest(wanted: _Wanted, lead: Node, hosts: Mapping[str, str]) -> int:
    """Return the latest second that a new log of a primary must come after. Clocks of hosts differ, so an open log of
    another host does not count: its seconds go on."""
    counted = (one for one in wanted.every if one.ended or hosts.get(one.node_id, lead.host_name) == lead.host_name)
    return max((one.last or 0 for one in counted), default=0)


def write_log_loops(
    context: OperationContext, incidents: Incidents, heartbeats: LoopHeartbeats
) -> list[Callable[[], Awaitable[None]]]:
    """Return the loops of write logs. Each runs until cancelled, and waits for none of the others."""
    return [
        WriteLogArchive(context, heartbeats).run,
        WriteLogGuard(context, heartbeats).run,
        WriteLogRetention(context, incidents, heartbeats).run,
    ]

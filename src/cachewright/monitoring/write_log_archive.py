"""Keep write logs of the instances whose owners want them, and delete those that have expired.

What cannot be stored ends a log, or it waits; the nodes do not wait for it, and it does not fill their disk.
"""

import asyncio
import logging
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from cachewright.backups.storage import StorageFailed
from cachewright.clock import Clock, now_ms
from cachewright.concurrency import gather_limited
from cachewright.disk_reserve import require_reserve
from cachewright.heartbeats import LoopHeartbeats
from cachewright.logs import RARELY
from cachewright.model.instances import Instance, Node, node_elsewhere
from cachewright.model.tasks import Task
from cachewright.model.write_logs import ATTRIBUTE, WriteLog
from cachewright.monitoring.write_log_storing import LINKS, ShardStoring
from cachewright.operations.backup import BACKUP
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
    :ivar mover: a task that may have moved or replaced keys since; None without one.
    """

    instance: Instance
    nodes: list[Node]
    logs: list[WriteLog]
    mover: Task | None


class WriteLogArchive:
    def __init__(self, context: OperationContext, heartbeats: LoopHeartbeats, clock: Clock = now_ms) -> None:
        self._context = context
        self._heartbeats = heartbeats
        self._clock = clock
        self._shards: dict[tuple[str, int], ShardStoring] = {}

    async def run(self) -> None:
        """Store until cancelled."""
        while True:
            self._heartbeats.beat("write logs")
            await self.round()
            await asyncio.sleep(_ROUND_SECONDS)

    async def round(self) -> None:
        wanted = await in_background(self._wanted)
        await gather_limited(self._follow, wanted, _AT_ONCE)
        followed = {node.id for one in wanted for node in one.nodes}
        for node_id in await self._context.host.with_file(LINKS) - followed:
            await self._context.host.delete_folders(node_id, LINKS)
        known = {one.instance.id for one in wanted}
        self._shards = {key: one for key, one in self._shards.items() if key[0] in known}
        for expired in await in_background(self._expire):
            try:
                await (await self._context.marked_backup_storage()).remove(expired.folder)
            except (StorageFailed, OSError) as error:
                log.warning("write log %s cannot be deleted now: %s", expired.id, error, extra=RARELY)
                return  # others would wait for the same storage
            await in_background(self._forget, expired)

    def _wanted(self) -> list[_Wanted]:
        found = []
        with self._context.database.read() as connection:
            for instance in instances.with_attribute(connection, ATTRIBUTE):
                nodes = instances.nodes_of(connection, instance.id)
                logs = [one for one in write_logs.of_instance(connection, instance.id) if one.ended is None]
                since = min((one.last or one.first for one in logs), default=None)
                mover = tasks.begun(connection, instance.id, _MOVING, since and since * 1000)
                found.append(_Wanted(instance=instance, nodes=nodes, logs=logs, mover=mover))
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
            await asyncio.to_thread(require_reserve, self._context.host.nodes_dir)
        except OSError as error:
            await in_background(self._end, logs, str(error.strerror))
            for node in wanted.nodes:
                await self._context.host.delete_folders(node.id, LINKS)
            return
        if mover is None or logs:
            await self._store(wanted)
        if mover is not None:
            await in_background(self._end, logs, f"task {mover.name} {mover.id} may have moved or replaced keys")

    async def _store(self, wanted: _Wanted) -> None:
        instance, nodes, logs = wanted.instance, wanted.nodes, wanted.logs
        try:
            view = best_view(await self._context.views(instance, nodes))
        except (*NODE_GONE, NodeBusy, NodeRefused, ActionFailed):
            return
        is_cluster = topology_of(instance.spec_code).is_cluster
        leads = primaries(nodes, view)
        for shard, lead in leads.items():
            owned = view.members[lead.id].slots if is_cluster else ()
            own = [one for one in logs if one.shard == shard]
            storing = self._shards.setdefault((instance.id, shard), ShardStoring(self._context, self._clock))
            try:
                await storing.follow(
                    instance, lead, tuple((part.first, part.last) for part in owned), own, wanted.mover
                )
            except (*NODE_GONE, NodeRefused, StorageFailed) as error:
                log.warning("writes of instance %s cannot be stored now: %s", instance.id, error, extra=RARELY)
        for node in nodes:
            if node not in leads.values():
                await self._context.host.delete_folders(node.id, LINKS)

    def _expire(self) -> list[WriteLog]:
        """Return the logs to remove, from which nothing is restored any more."""
        with self._context.database.read() as connection:
            expired = _expired(connection, self._clock())
        if expired:
            with self._context.database.write() as connection:
                expired = _expired(connection, self._clock())
                for one in expired:
                    write_logs.expire(connection, one.id)
        return expired

    def _forget(self, expired: WriteLog) -> None:
        with self._context.database.write() as connection:
            write_logs.remove(connection, expired.id)


def _expired(connection: sa.Connection, now: int) -> list[WriteLog]:
    """Return logs that their owners do not want any more, except those that a task restores."""
    hours = {one.id: int(one.attributes[ATTRIBUTE]) for one in instances.with_attribute(connection, ATTRIBUTE)}
    read = {task.instance_id for task in tasks.unfinished_of_kind(connection, BACKUP.kind) if task.params.get("moment")}
    found = []
    for one in write_logs.every(connection):
        oldest = now // 1000 - hours.get(one.instance_id, 0) * 3600
        is_wanted = one.instance_id in hours and (one.ended is None or (one.last or 0) >= oldest)
        if not is_wanted and one.instance_id not in read:
            found.append(one)
    return found

"""Delete write logs that have expired, and the oldest ones when the disk of the nodes needs their space, or a project
has more than its quota."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import sqlalchemy as sa

from cachewright.backups.storage import StorageFailed
from cachewright.clock import Clock, now_ms
from cachewright.heartbeats import LoopHeartbeats
from cachewright.logs import RARELY
from cachewright.model.incidents import FaultKind
from cachewright.model.write_logs import ATTRIBUTE, EXPIRED, WriteLog
from cachewright.monitoring.incidents import Incidents
from cachewright.monitoring.storage_quota import REASON, logs_over
from cachewright.monitoring.write_log_space import LogSpace, given_up, log_space
from cachewright.operations.backup import BACKUP
from cachewright.operations.context import OperationContext
from cachewright.store import backups, instances, tasks, write_logs
from cachewright.threads import in_background

log = logging.getLogger(__name__)

_ROUND_SECONDS = 5.0
_NO_SPACE = "the disk is almost full"
_KIND: FaultKind = "short_write_log"


class _Leaving(msgspec.Struct, frozen=True):
    """The logs to delete or end in one round.

    :ivar deleted: logs to delete, and why before their time; None if they have expired.
    :ivar ended: logs that do not grow any more, and why.
    :ivar incomplete: instances whose logs do not reach back as far as their owners want.
    """

    deleted: Sequence[tuple[WriteLog, str | None]]
    ended: Sequence[tuple[WriteLog, str]]
    incomplete: frozenset[str]


class WriteLogRetention:
    def __init__(
        self, context: OperationContext, incidents: Incidents, heartbeats: LoopHeartbeats, clock: Clock = now_ms
    ) -> None:
        self._context = context
        self._incidents = incidents
        self._heartbeats = heartbeats
        self._clock = clock

    async def run(self) -> None:
        """Delete until cancelled."""
        while True:
            await self.sweep()
            await asyncio.sleep(_ROUND_SECONDS)

    async def sweep(self) -> None:
        """One round. The record changes before the first object is deleted. It is deleted when all objects are."""
        self._heartbeats.beat("write log retention")
        try:
            space = await log_space(self._context)
        except OSError:  # there has been no node yet
            space = None
        leaving = await in_background(self._mark, space)
        self._report(leaving)
        for expired, _ in leaving.deleted:
            self._heartbeats.beat("write log retention")
            try:
                await (await self._context.marked_backup_storage()).remove(expired.folder)
            except (StorageFailed, OSError) as error:
                log.warning("write log %s cannot be deleted now: %s", expired.id, error, extra=RARELY)
                return  # others would wait for the same storage
            await in_background(self._forget, expired)

    def _report(self, leaving: _Leaving) -> None:
        """Report instances whose data cannot be restored from as long ago as their owners want."""
        shortened = set[str]()
        for one, reason in (*leaving.deleted, *leaving.ended):
            if reason is not None:
                shortened.add(one.instance_id)
                begin = datetime.fromtimestamp(one.first, UTC)
                detail = (
                    f"the write log of shard {one.shard} from {begin:%Y-%m-%d %H:%M:%S} UTC on is not kept: {reason}"
                )
                self._incidents.report(one.instance_id, _KIND, detail)
        for instance_id in self._incidents.of_kind(_KIND) - leaving.incomplete - shortened:
            self._incidents.clear(instance_id, _KIND)

    def _mark(self, space: LogSpace | None) -> _Leaving:
        """Return what leaves. From the logs to delete nothing is restored any more."""
        quota = self._context.settings.backup_quota
        with self._context.database.read() as connection:
            leaving = _leaving(connection, self._clock(), space, quota)
        if not leaving.deleted and not leaving.ended:
            return leaving
        with self._context.database.write() as connection:
            leaving = _leaving(connection, self._clock(), space, quota)
            for one, _ in leaving.deleted:
                write_logs.expire(connection, one.id)
            for one, reason in leaving.ended:
                write_logs.end(connection, one.id, reason)
        return leaving

    def _forget(self, expired: WriteLog) -> None:
        with self._context.database.write() as connection:
            write_logs.remove(connection, expired.id)


def _leaving(connection: sa.Connection, now: int, space: LogSpace | None, quota: int) -> _Leaving:
    """Return what leaves now. A log that a task reads stays."""
    hours = {one.id: int(one.attributes[ATTRIBUTE]) for one in instances.with_attribute(connection, ATTRIBUTE)}
    read = {task.instance_id for task in tasks.unfinished_of_kind(connection, BACKUP.kind) if task.params.get("moment")}
    logs = write_logs.every(connection)
    expired: list[WriteLog] = []
    incomplete = set(hours)
    for one in logs:
        oldest = now // 1000 - hours.get(one.instance_id, 0) * 3600
        is_wanted = one.instance_id in hours and (one.ended is None or (one.last or 0) >= oldest)
        if not is_wanted and one.instance_id not in read:
            expired.append(one)
        elif one.last is not None and one.first <= oldest:
            incomplete.discard(one.instance_id)
    deleted: list[tuple[WriteLog, str | None]] = [(one, None) for one in expired]
    ended: list[tuple[WriteLog, str]] = []
    over = logs_over(_without(logs, expired), backups.sizes(connection) if quota else {}, quota, read)
    crowded = given_up(_without(logs, [*expired, *over[0]]), space, read) if space else ([], [])
    for (going, growing), reason in ((over, REASON), (crowded, _NO_SPACE)):
        deleted += [(one, reason) for one in going]
        ended += [(one, reason) for one in growing]
    return _Leaving(deleted, ended, frozenset(incomplete))


def _without(logs: Sequence[WriteLog], leaving: Sequence[WriteLog]) -> list[WriteLog]:
    """Return the logs with the leaving ones marked as expired, because their bytes are free soon."""
    ids = {one.id for one in leaving}
    return [msgspec.structs.replace(one, ended=EXPIRED) if one.id in ids else one for one in logs]

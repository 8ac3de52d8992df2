"""Delete write logs that have expired, and the oldest ones when the disk of the nodes needs their space."""

import asyncio
import logging

import msgspec
import sqlalchemy as sa

from cachewright.backups.storage import StorageFailed
from cachewright.clock import Clock, now_ms
from cachewright.heartbeats import LoopHeartbeats
from cachewright.logs import RARELY
from cachewright.model.write_logs import ATTRIBUTE, EXPIRED, WriteLog
from cachewright.monitoring.write_log_space import LogSpace, given_up, log_space
from cachewright.operations.backup import BACKUP
from cachewright.operations.context import OperationContext
from cachewright.store import instances, tasks, write_logs
from cachewright.threads import in_background

log = logging.getLogger(__name__)

_ROUND_SECONDS = 5.0
_NO_SPACE = "the disk is almost full"


class WriteLogRetention:
    def __init__(self, context: OperationContext, heartbeats: LoopHeartbeats, clock: Clock = now_ms) -> None:
        self._context = context
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
        for expired in await in_background(self._mark, space):
            self._heartbeats.beat("write log retention")
            try:
                await (await self._context.marked_backup_storage()).remove(expired.folder)
            except (StorageFailed, OSError) as error:
                log.warning("write log %s cannot be deleted now: %s", expired.id, error, extra=RARELY)
                return  # others would wait for the same storage
            await in_background(self._forget, expired)

    def _mark(self, space: LogSpace | None) -> list[WriteLog]:
        """Return the logs to delete, from which nothing is restored any more."""
        with self._context.database.read() as connection:
            expired, ended = _leaving(connection, self._clock(), space)
        if not expired and not ended:
            return []
        with self._context.database.write() as connection:
            expired, ended = _leaving(connection, self._clock(), space)
            for one in expired:
                write_logs.expire(connection, one.id)
            for one in ended:
                write_logs.end(connection, one.id, _NO_SPACE)
        return expired

    def _forget(self, expired: WriteLog) -> None:
        with self._context.database.write() as connection:
            write_logs.remove(connection, expired.id)


def _leaving(connection: sa.Connection, now: int, space: LogSpace | None) -> tuple[list[WriteLog], list[WriteLog]]:
    """Return the logs to delete, and those to end. A log that a task reads stays."""
    hours = {one.id: int(one.attributes[ATTRIBUTE]) for one in instances.with_attribute(connection, ATTRIBUTE)}
    read = {task.instance_id for task in tasks.unfinished_of_kind(connection, BACKUP.kind) if task.params.get("moment")}
    logs = write_logs.every(connection)
    expired = []
    for one in logs:
        oldest = now // 1000 - hours.get(one.instance_id, 0) * 3600
        is_wanted = one.instance_id in hours and (one.ended is None or (one.last or 0) >= oldest)
        if not is_wanted and one.instance_id not in read:
            expired.append(one)
    if space is None:
        return expired, []
    leaving = {one.id for one in expired}
    present = [msgspec.structs.replace(one, ended=EXPIRED) if one.id in leaving else one for one in logs]
    deleted, ended = given_up(present, space, read)
    return [*expired, *deleted], ended

"""Delete backups that have expired or were deleted, those beyond the quota of a project, and what is left of those that
failed."""

import asyncio
import logging

import msgspec
import sqlalchemy as sa

from cachewright.backups.manifest import manifest_name
from cachewright.backups.spool import Spool
from cachewright.backups.storage import StorageFailed
from cachewright.clock import Clock, now_ms
from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.calls import HostSilent
from cachewright.logs import RARELY
from cachewright.model.backups import Backup, BackupState, expired
from cachewright.model.tasks import ENDED, Task
from cachewright.monitoring.storage_quota import REASON, backups_over
from cachewright.operations.actions.past_backup import end_replays
from cachewright.operations.backup import BACKUP
from cachewright.operations.context import OperationContext
from cachewright.operations.snapshot_places import delete_elsewhere
from cachewright.store import backups, tasks
from cachewright.tasks.operation import CANCELLED, ActionFailed
from cachewright.threads import in_background

log = logging.getLogger(__name__)

_ROUND_SECONDS = 5.0
_KEPT_MS = 24 * 3600 * 1000
"""Time for which the files of a failed backup stay, so that a retry of its task needs no other snapshot."""


_LISTED_MS = 30 * 24 * 3600 * 1000
"""Time for which a failed backup is listed."""


class BackupRetention:
    def __init__(self, context: OperationContext, heartbeats: LoopHeartbeats, clock: Clock = now_ms) -> None:
        self._context = context
        self._heartbeats = heartbeats
        self._clock = clock

    async def run(self) -> None:
        """Delete until cancelled. What cannot be deleted now is tried again in the next round."""
        while True:
            self._heartbeats.beat("backup retention")
            await self.sweep()
            await asyncio.sleep(_ROUND_SECONDS)

    async def sweep(self) -> None:
        """One round. The state of the record changes before the first object is deleted. The record is deleted when all
        objects are."""
        for backup in await in_background(self._mark):
            try:
                await self._remove(backup)
            except HostSilent as silent:
                log.warning("what is left of backup %s cannot be deleted now: %s", backup.id, silent, extra=RARELY)
                continue
            except (StorageFailed, OSError, ActionFailed) as error:
                log.warning("backup %s cannot be deleted now: %s", backup.id, error, extra=RARELY)
                return  # others would wait for the same storage
            await in_background(self._forget, backup)

    def _mark(self) -> list[Backup]:
        """Return the backups to remove. No task works on them."""
        now, quota = self._clock(), self._context.settings.backup_quota
        database = self._context.database
        with database.read() as connection:
            marked = [
                *backups.in_states(connection, "expired", "deleted"),
                *backups.failed(connection, ended_before=None),
                *_forgettable(connection, now),
            ]
            is_over = bool(_over_quota(connection, now, quota))
            if not is_over and not _unmarked(connection, now):
                return marked
        with database.write() as connection:
            for backup, state in _unmarked(connection, now):
                backups.change(connection, backup.id, state=state)
                marked.append(msgspec.structs.replace(backup, state=state))
            for backup in _over_quota(connection, now, quota):
                log.warning("backup %s of instance %s is deleted early: %s", backup.id, backup.instance_id, REASON)
                backups.change(connection, backup.id, state="expired")
                marked.append(msgspec.structs.replace(backup, state="expired"))
        return marked

    async def _remove(self, backup: Backup) -> None:
        """Delete the manifest, then everything else."""
        context = self._context
        await end_replays(context, backup.id)
        spool = Spool(context.settings.spool_dir / backup.id, context.database.cipher)
        if backup.state == "failed":
            await delete_elsewhere(context, backup, spool)
        await in_background(spool.clear)
        storage = await context.marked_backup_storage()
        await storage.remove_object(manifest_name(backup.id))
        await storage.remove(backup.id)

    def _forget(self, backup: Backup) -> None:
        """Delete the record of a backup. That of a failed one stays."""
        with self._context.database.write() as connection:
            if backup.state == "failed":
                backups.change(connection, backup.id, ended_at=self._clock())
            else:
                backups.remove(connection, backup.id)


def _unmarked(connection: sa.Connection, now: int) -> list[tuple[Backup, BackupState]]:
    """Return the backups whose state should change, and to what."""
    changes: list[tuple[Backup, BackupState]] = []
    due = backups.with_expired(connection, now)
    used = _used(connection, now) if due else set[str]()
    for own in due:
        if not expired(own, now):
            continue
        # One that a restore has made of the data before it replaces no other: that data may be why it was made.
        lasting = [backup for backup in own if not _is_of_restore(connection, backup)]
        changes += [(backup, "expired") for backup in expired(lasting, now) if backup.id not in used]
    for backup in backups.in_states(connection, "pending"):
        task = tasks.of_project(connection, backup.project_id, backup.task_id)
        if task is None or (task.status in ENDED and _is_over(task, now)):
            changes.append((backup, "failed"))
    return changes


def _over_quota(connection: sa.Connection, now: int, quota: int) -> list[Backup]:
    """Return the backups by schedules that projects with more bytes than their quota give up."""
    over = {project for project, size in backups.sizes(connection).items() if size > quota} if quota else set[str]()
    if not over:
        return []
    used, good = _used(connection, now), backups.in_states(connection, "succeed")
    found = []
    for project in over:
        own = [backup for backup in good if backup.project_id == project]
        safety = [backup for backup in own if _is_of_restore(connection, backup)]
        lasting = [backup for backup in own if backup not in safety]
        found += backups_over(lasting, max(quota - sum(backup.size for backup in safety), 1), used)
    return found


def _forgettable(connection: sa.Connection, now: int) -> list[Backup]:
    """Return failed backups whose records are old, as expired ones: before the record goes, objects are deleted once
    more. A host that was frozen may have stored one after the first deletion."""
    old = backups.failed(connection, ended_before=now - _LISTED_MS)
    return [msgspec.structs.replace(backup, state="expired") for backup in old]


def _used(connection: sa.Connection, now: int) -> set[str]:
    """Return the ids of backups that a restore or an import reads, or may read again in a retry."""
    return {str(task.params["backup_id"]) for task in tasks.with_backups(connection, now - _KEPT_MS)}


def _is_of_restore(connection: sa.Connection, backup: Backup) -> bool:
    task = tasks.of_project(connection, backup.project_id, backup.task_id)
    return task is not None and task.kind != BACKUP.kind


def _is_over(task: Task, now: int) -> bool:
    """Whether a retry of the task is not expected any more."""
    return task.error_code == CANCELLED or (task.end_time or task.created_at) + _KEPT_MS <= now

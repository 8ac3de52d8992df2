"""Start backups by the policies of instances."""

import asyncio
import logging
import uuid
from collections.abc import Callable

import sqlalchemy as sa

from cachewright import errors
from cachewright.clock import Clock, now_ms
from cachewright.errors import ApiError
from cachewright.heartbeats import LoopHeartbeats
from cachewright.logs import RARELY
from cachewright.model.backup_policies import ATTRIBUTE, DAY_MS, Attempt, is_due, policy_of
from cachewright.model.identity import Principal
from cachewright.model.instances import Instance
from cachewright.model.tasks import Task
from cachewright.operations.backup import BACKUP
from cachewright.operations.requests import BackupRequest
from cachewright.store import instances, tasks
from cachewright.store.database import Database
from cachewright.tasks.operation import CANCELLED
from cachewright.threads import in_background

log = logging.getLogger(__name__)

_ROUND_SECONDS = 5.0
_RECENT = 50

_NOT_BUSY = frozenset({errors.NOT_ENOUGH_DISK, errors.LIMIT_EXCEEDED})
"""Refusals that do not pass by themselves."""

Submit = Callable[[Principal, str, BackupRequest], object]
"""Starts a backup of an instance in the name of a user. Raises ApiError if the instance cannot be backed up now."""


class ScheduledBackups:
    def __init__(self, database: Database, submit: Submit, heartbeats: LoopHeartbeats, clock: Clock = now_ms) -> None:
        self._database = database
        self._submit = submit
        self._heartbeats = heartbeats
        self._clock = clock

    async def run(self) -> None:
        """Start backups until cancelled. A backup that cannot start is tried again in the next round."""
        while True:
            self._heartbeats.beat("scheduled backups")
            await in_background(self.start_due)
            await asyncio.sleep(_ROUND_SECONDS)

    def start_due(self) -> None:
        """Start each backup that is due."""
        now = self._clock()
        with self._database.read() as connection:
            due = [
                instance
                for instance in instances.with_attribute(connection, ATTRIBUTE)
                if instance.status == "RUNNING" and self._is_due(connection, instance, now)
            ]
        for instance in due:
            policy = policy_of(instance.attributes)
            days = policy.save_days if policy else 0
            owner = Principal(project_id=instance.project_id, user_id=instance.user_id, user_name=instance.user_name)
            request = BackupRequest(id=str(uuid.uuid4()), kind="auto", expires_at=now + days * DAY_MS)
            try:
                self._submit(owner, instance.id, request)
            except ApiError as refusal:
                level = logging.WARNING if refusal.code in _NOT_BUSY else logging.DEBUG
                log.log(level, "instance %s is not backed up now: %s", instance.id, refusal, extra=RARELY)

    def _is_due(self, connection: sa.Connection, instance: Instance, now: int) -> bool:
        policy = policy_of(instance.attributes)
        if policy is None or policy.backup_type != "auto":
            return False
        _, latest = tasks.of_kind(connection, instance.id, BACKUP.kind, offset=0, limit=_RECENT)
        return is_due(policy, [_attempt(task) for task in latest if BACKUP.params_of(task).kind == "auto"], now)


def _attempt(task: Task) -> Attempt:
    has_failed = task.status == "FAILED" and task.error_code != CANCELLED
    return Attempt(task.created_at, task.end_time if has_failed else None)

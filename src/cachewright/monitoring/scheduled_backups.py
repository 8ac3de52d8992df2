"""Start backups by the policies of instances."""

import asyncio
import logging
import uuid
from collections.abc import Callable

import sqlalchemy as sa

from cachewright.clock import Clock, now_ms
from cachewright.errors import ApiError
from cachewright.heartbeats import LoopHeartbeats
from cachewright.model.backup_policies import DAY_MS, is_due, policy_of
from cachewright.model.identity import Principal
from cachewright.model.instances import Instance
from cachewright.operations.requests import BackupRequest
from cachewright.store import backups, instances, tasks
from cachewright.store.database import Database
from cachewright.threads import in_background

log = logging.getLogger(__name__)

_ROUND_SECONDS = 5.0

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
                for instance in instances.every(connection)
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
                log.debug("instance %s is not backed up now: %s", instance.id, refusal)

    def _is_due(self, connection: sa.Connection, instance: Instance, now: int) -> bool:
        policy = policy_of(instance.attributes)
        if policy is None or policy.backup_type != "auto":
            return False
        own = backups.of_instance(connection, instance.id)
        failed = {}
        for backup in own:
            if backup.kind == "auto" and backup.state in {"pending", "failed"}:
                task = tasks.of_project(connection, backup.project_id, backup.task_id)
                if task is None or task.status == "FAILED":
                    failed[backup.id] = (task.end_time if task else None) or backup.created_at
        return is_due(policy, own, failed, now)

"""Start scans for expired keys by the schedules of instances."""

import asyncio
import logging
from collections.abc import Callable

from cachewright.clock import now_ms
from cachewright.errors import ApiError
from cachewright.heartbeats import LoopHeartbeats
from cachewright.model.identity import Principal
from cachewright.model.instances import Instance
from cachewright.model.scan_schedules import DEFAULT_KEYS_AT_ONCE, is_due, schedule_of
from cachewright.operations.scan_expired import SCAN_EXPIRED, ScanParams
from cachewright.store import instances, tasks
from cachewright.store.database import Database
from cachewright.threads import in_background

log = logging.getLogger(__name__)

_ROUND_SECONDS = 5.0

Submit = Callable[[Principal, str, ScanParams], object]
"""Starts a scan of an instance in the name of a user. Raises ApiError if the instance cannot be scanned now."""


class ScheduledScans:
    def __init__(self, database: Database, submit: Submit, heartbeats: LoopHeartbeats) -> None:
        self._database = database
        self._submit = submit
        self._heartbeats = heartbeats

    async def run(self) -> None:
        """Start scans until cancelled. A scan that cannot start is tried again in the next round."""
        while True:
            self._heartbeats.beat("scheduled scans")
            await in_background(self.start_due)
            await asyncio.sleep(_ROUND_SECONDS)

    def start_due(self) -> None:
        """Start each scan that is due."""
        for instance in self._due():
            schedule = schedule_of(instance.attributes)
            owner = Principal(project_id=instance.project_id, user_id=instance.user_id, user_name=instance.user_name)
            params = ScanParams(
                scan_type="auto",
                keys_at_once=schedule.scan_keys_count or DEFAULT_KEYS_AT_ONCE,
                timeout=schedule.timeout or 0,
            )
            try:
                self._submit(owner, instance.id, params)
            except ApiError as refusal:
                log.debug("instance %s is not scanned now: %s", instance.id, refusal)

    def _due(self) -> list[Instance]:
        now = now_ms()
        with self._database.read() as connection:
            return [
                instance
                for instance in instances.every(connection)
                if instance.status == "RUNNING"
                and schedule_of(instance.attributes).enable_auto_scan
                and is_due(
                    schedule_of(instance.attributes),
                    tasks.latest_of_kind(connection, instance.id, SCAN_EXPIRED.kind),
                    now,
                )
            ]

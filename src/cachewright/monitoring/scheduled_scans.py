"""Start scans for expired keys, and analyses for big and hot keys, by the schedules of instances."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from cachewright.clock import now_ms
from cachewright.errors import ApiError
from cachewright.heartbeats import LoopHeartbeats
from cachewright.model.identity import Principal
from cachewright.model.instances import Instance
from cachewright.model.scan_schedules import (
    ATTRIBUTE,
    DEFAULT_KEYS_AT_ONCE,
    daily_attribute,
    daily_schedule_of,
    is_daily_due,
    is_due,
    schedule_of,
    started,
)
from cachewright.operations.analyse_keys import ANALYSES, AnalysisParams
from cachewright.operations.operation import Operation
from cachewright.operations.scan_expired import SCAN_EXPIRED, ScanParams
from cachewright.store import instances, tasks
from cachewright.store.database import Database
from cachewright.threads import in_background

log = logging.getLogger(__name__)

_ROUND_SECONDS = 5.0
_ATTRIBUTES = (ATTRIBUTE, *map(daily_attribute, ANALYSES))
"""Names of the attributes that store schedules."""

Submit = Callable[[Operation[Any, Any], Principal, str, Any, Callable[[Instance], Mapping[str, Any]]], object]
"""Starts an operation on an instance in the name of a user, and stores the returned attributes of the instance
together with the task. Raises ApiError if the instance does not accept it now."""


class Due(msgspec.Struct, frozen=True):
    """A task that is due.

    :ivar attribute: name of the attribute of the instance that stores the schedule.
    """

    operation: Operation[Any, Any]
    params: Any
    attribute: str


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
        now = now_ms()
        for instance, due in self._due(now):
            owner = Principal(project_id=instance.project_id, user_id=instance.user_id, user_name=instance.user_name)
            try:
                self._submit(due.operation, owner, instance.id, due.params, _start(due.attribute, now))
            except ApiError as refusal:
                log.debug("instance %s does not start %s now: %s", instance.id, due.operation.kind, refusal)

    def _due(self, now: int) -> list[tuple[Instance, Due]]:
        with self._database.read() as connection:
            found = [instance for name in _ATTRIBUTES for instance in instances.with_attribute(connection, name)]
            running = {instance.id: instance for instance in found if instance.status == "RUNNING"}
            return [(instance, due) for instance in running.values() for due in _due_of(connection, instance, now)]


def _start(attribute: str, now: int) -> Callable[[Instance], Mapping[str, Any]]:
    return lambda instance: started(instance.attributes, attribute, now)


def _due_of(connection: sa.Connection, instance: Instance, now: int) -> list[Due]:
    due = []
    schedule = schedule_of(instance.attributes)
    if schedule.enable_auto_scan and is_due(schedule, _latest(connection, instance, SCAN_EXPIRED), now):
        params = ScanParams(
            scan_type="auto",
            keys_at_once=schedule.scan_keys_count or DEFAULT_KEYS_AT_ONCE,
            timeout=schedule.timeout or 0,
        )
        due.append(Due(SCAN_EXPIRED, params, ATTRIBUTE))
    for subject, operation in ANALYSES.items():
        daily = daily_schedule_of(instance.attributes, subject)
        if daily.enable_auto_scan and is_daily_due(daily, _latest(connection, instance, operation), now):
            due.append(Due(operation, AnalysisParams(scan_type="auto"), daily_attribute(subject)))
    return due


def _latest(connection: sa.Connection, instance: Instance, operation: Operation[Any, Any]) -> int | None:
    return tasks.latest_of_kind(connection, instance.id, operation.kind)

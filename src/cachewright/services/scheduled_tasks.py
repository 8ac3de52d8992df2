"""Tasks that wait for the maintenance window of their instance.

A scheduled task is only stored. It changes neither the status of its instance nor its queue, so that other tasks run
meanwhile. When the window is open and the instance accepts the operation, it becomes an ordinary task. If the window
passes before that, the task waits for the next one.
"""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from cachewright.clock import Clock, now_ms
from cachewright.errors import ApiError
from cachewright.model.instances import Instance
from cachewright.model.tasks import Task
from cachewright.operations import OPERATIONS, acceptance
from cachewright.operations.maintenance_window import window_of
from cachewright.operations.operation import Operation
from cachewright.store import incidents, instances, tasks
from cachewright.store.database import Database
from cachewright.tasks.feed import TaskFeed


class TaskScheduler:
    """:ivar enqueue: passes a task to the engine."""

    def __init__(
        self, database: Database, feed: TaskFeed, enqueue: Callable[[Task], None], clock: Clock = now_ms
    ) -> None:
        self._database = database
        self._feed = feed
        self._enqueue = enqueue
        self._clock = clock

    def begin_due(self) -> None:
        """Let tasks begin whose time has come. Called every few seconds."""
        now = self._clock()
        with self._database.read() as connection:
            due = [task.id for task in tasks.scheduled(connection) if _is_due(task, now)]
        for task_id in due:
            with self._database.write() as connection:
                begun = _begin_or_postpone(connection, task_id, now)
            if begun:
                self._feed.publish(begun)
                self._enqueue(begun)


def begin_of_window(instance: Instance, now: int) -> int | None:
    """Return when a task that waits for the window may begin; None if it may begin now."""
    window = window_of(instance)
    return None if window.contains(now) else window.next_begin(now)


def reschedule(connection: sa.Connection, instance: Instance, now: int) -> None:
    """Move the scheduled tasks of an instance to its present window."""
    for task in tasks.scheduled(connection):
        if task.instance_id == instance.id:
            begins_at = begin_of_window(instance, now) or now
            tasks.change(connection, task.id, begins_at=begins_at, revision=task.revision + 1)


def _begin_or_postpone(connection: sa.Connection, task_id: str, now: int) -> Task | None:
    """Return the task if it begins."""
    task = tasks.load(connection, task_id)
    instance = instances.find(connection, task.instance_id)
    if instance is None or not _is_due(task, now):
        return None
    if begins_at := begin_of_window(instance, now):
        tasks.change(connection, task_id, begins_at=begins_at, revision=task.revision + 1)
        return None
    operation = OPERATIONS[task.kind]
    if not _is_ready(connection, operation, instance):
        return None  # it is tried again while the window is open
    tasks.change(connection, task_id, begins_at=None, estimated_at=now, revision=task.revision + 1)
    instances.change(connection, instance.id, status=operation.status_while_running, updated_at=now)
    return tasks.load(connection, task_id)


def _is_ready(connection: sa.Connection, operation: Operation[Any, Any], instance: Instance) -> bool:
    """Whether no other task would delay it beyond the window, and the instance accepts the operation."""
    if tasks.active_of(connection, instance.id):
        return False
    try:
        acceptance.require_acceptable(operation, instance, (), incidents.open_of(connection, instance.id))
        acceptance.require_no_stopped_node(operation, instances.nodes_of(connection, instance.id))
    except ApiError:
        return False
    return True


def _is_due(task: Task, now: int) -> bool:
    return task.is_scheduled and task.begins_at is not None and task.begins_at <= now

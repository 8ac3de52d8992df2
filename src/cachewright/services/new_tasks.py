"""New tasks, and how they are stored."""

import secrets
from typing import Any

import msgspec
import sqlalchemy as sa

from cachewright.clock import now_ms
from cachewright.model.identity import Principal
from cachewright.model.instances import Instance
from cachewright.model.tasks import Task
from cachewright.operations.expected_duration import estimated
from cachewright.operations.operation import Accepted, Operation, ParamsT
from cachewright.services.scheduled_tasks import begin_of_window
from cachewright.store import instances, tasks
from cachewright.tasks import plan


def add_task(
    connection: sa.Connection,
    operation: Operation[Any, ParamsT],
    principal: Principal,
    instance: Instance,
    accepted: Accepted[ParamsT],
    *,
    dataset: int = 0,
) -> Task:
    """Store a task with its expected duration. Set the instance's status to that of the operation, unless it must wait
    for another task, which it does not cancel, or for the maintenance window.

    :param dataset: the instance's data in bytes; 0 if it has not been measured.
    """
    task = new_task(operation, principal, instance, accepted)
    # Lists are ordered by this time. A clock that was set back must not hide the latest task.
    created_at = max(task.created_at, tasks.last_created_at(connection, principal.project_id))
    begins_at = begin_of_window(instance, now_ms()) if accepted.in_window else None
    task = estimated(
        connection,
        operation,
        msgspec.structs.replace(task, created_at=created_at, begins_at=begins_at),
        instances.nodes_of(connection, instance.id),
        mode=accepted.control.mode,
        dataset=dataset,
    )
    is_next = begins_at is None and (operation.cancels_others or not tasks.active_of(connection, instance.id))
    tasks.add(connection, task)
    changes_status = operation.status_while_running != operation.status_after_success
    if is_next and changes_status:
        instances.change(connection, instance.id, status=operation.status_while_running, updated_at=task.created_at)
    return task


def new_task(
    operation: Operation[Any, ParamsT], principal: Principal, instance: Instance, accepted: Accepted[ParamsT]
) -> Task:
    """Return a task that waits. It is not stored."""
    created_at = now_ms()
    task_id = _new_id(created_at)
    return Task(
        id=task_id,
        instance_id=instance.id,
        project_id=principal.project_id,
        kind=operation.kind,
        name=operation.name,
        status="WAITING",
        params=msgspec.to_builtins(accepted.params),
        details=dict(accepted.details),
        user_id=principal.user_id,
        user_name=principal.user_name,
        created_at=created_at,
        steps=plan.outline(task_id, operation.outline),
    )


def _new_id(created_at: int) -> str:
    """Random after 48 bits of time, as UUIDs of version 7: DBOS runs tasks that were enqueued in the same second in the
    order of their ids, because the time of SQLite has no fractions with Python 3.11."""
    return f"{created_at:012x}{secrets.token_hex(10)}"

"""Look up an instance or a task of the caller's project, or raise an error. Callers cannot see other projects."""

import sqlalchemy as sa

from cachewright import errors
from cachewright.clock import now_ms
from cachewright.errors import ApiError
from cachewright.model.instances import Instance
from cachewright.model.tasks import Task
from cachewright.store import instances, task_controls, tasks
from cachewright.tasks.queueing import with_queue


def instance_of(connection: sa.Connection, project_id: str, instance_id: str) -> Instance:
    """Return the instance of this project. Raises ApiError DCS.3022 if it does not exist."""
    instance = instances.get(connection, project_id, instance_id)
    if instance is None:
        raise ApiError(errors.INSTANCE_NOT_FOUND)
    return instance


def task_of(connection: sa.Connection, project_id: str, instance_id: str, task_id: str) -> Task:
    """Return the task of this instance. Raises ApiError DCS.3022 if the instance does not exist in the project,
    DCS.4958 if the task does not exist."""
    instance_of(connection, project_id, instance_id)
    task = tasks.get(connection, instance_id, task_id)
    if task is None:
        raise ApiError(errors.TASK_NOT_FOUND)
    return task


def task_on_record(connection: sa.Connection, project_id: str, instance_id: str, task_id: str) -> Task:
    """Return the task like `task_of`, also after the deletion of its instance. Needs one query if the task exists."""
    task = tasks.get(connection, instance_id, task_id)
    if task is None or task.project_id != project_id:
        return task_of(connection, project_id, instance_id, task_id)
    return task


def task_of_project(connection: sa.Connection, project_id: str, task_id: str) -> Task:
    """Return the task of this project, also after the deletion of its instance. Raises ApiError DCS.4958."""
    task = tasks.of_project(connection, project_id, task_id)
    if task is None:
        raise ApiError(errors.TASK_NOT_FOUND)
    return task


def with_tasks_before(connection: sa.Connection, task: Task) -> Task:
    """Return a task as it is shown: if it waits, its remaining time includes that of the tasks before it, and the time
    until its maintenance window begins."""
    if task.status != "WAITING":
        return task
    unfinished = tasks.unfinished_of(connection, task.instance_id)
    cancelled = {other.id for other in unfinished if task_controls.get(connection, other.id).is_cancelled}
    return with_queue(task, unfinished, cancelled, now_ms())

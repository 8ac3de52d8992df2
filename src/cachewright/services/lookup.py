"""The one rule on what a caller may see: an instance or a task of the caller's project, or an error."""

import sqlalchemy as sa

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.model.instances import Instance
from cachewright.model.tasks import Task
from cachewright.store import instances, tasks


def instance_of(connection: sa.Connection, project_id: str, instance_id: str) -> Instance:
    """The instance of this project. ApiError DCS.3022 where the project has no such instance."""
    instance = instances.get(connection, project_id, instance_id)
    if instance is None:
        raise ApiError(errors.INSTANCE_NOT_FOUND)
    return instance


def task_of(connection: sa.Connection, project_id: str, instance_id: str, task_id: str) -> Task:
    """The task of this instance. ApiError DCS.3022 where the project has no such instance, DCS.4958 where the instance
    has no such task."""
    instance_of(connection, project_id, instance_id)
    task = tasks.get(connection, instance_id, task_id)
    if task is None:
        raise ApiError(errors.TASK_NOT_FOUND)
    return task


def task_on_record(connection: sa.Connection, project_id: str, instance_id: str, task_id: str) -> Task:
    """The same, also where the instance is deleted; one query where there is such a task."""
    task = tasks.get(connection, instance_id, task_id)
    if task is None or task.project_id != project_id:
        return task_of(connection, project_id, instance_id, task_id)
    return task


def task_of_project(connection: sa.Connection, project_id: str, task_id: str) -> Task:
    """The task of this project, also where its instance is deleted. ApiError DCS.4958."""
    task = tasks.of_project(connection, project_id, task_id)
    if task is None:
        raise ApiError(errors.TASK_NOT_FOUND)
    return task

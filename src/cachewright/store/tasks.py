"""Queries on background tasks.

`save` is a compare-and-set on `revision`: a worker that slept through its own replacement cannot write over what
its successor has recorded.
"""

from typing import Any

import sqlalchemy as sa

from cachewright.store import controls
from cachewright.store.records import UNFINISHED, Task
from cachewright.store.rows import columns, from_row, to_row
from cachewright.store.tables import tasks


class StaleTask(Exception):
    """Someone else has written this task since it was read."""


def add(connection: sa.Connection, task: Task) -> None:
    connection.execute(tasks.insert().values(to_row(task)))


def get(connection: sa.Connection, instance_id: str, task_id: str) -> Task | None:
    found = tasks.select().where(tasks.c.id == task_id, tasks.c.instance_id == instance_id)
    row = connection.execute(found).one_or_none()
    return from_row(Task, row._mapping) if row else None


def of_project(connection: sa.Connection, project_id: str, task_id: str) -> Task | None:
    found = tasks.select().where(tasks.c.id == task_id, tasks.c.project_id == project_id)
    row = connection.execute(found).one_or_none()
    return from_row(Task, row._mapping) if row else None


def load(connection: sa.Connection, task_id: str) -> Task:
    """For the worker, which knows the task exists. NoResultFound otherwise."""
    row = connection.execute(tasks.select().where(tasks.c.id == task_id)).one()
    return from_row(Task, row._mapping)


def page(
    connection: sa.Connection,
    instance_id: str,
    *,
    offset: int,
    limit: int,
    start: int | None = None,
    end: int | None = None,
) -> tuple[int, list[Task]]:
    """How many tasks of the instance were created from `start` to `end`, and one page of them, newest first.

    The tasks of a page come without their steps.
    """
    wanted = [tasks.c.instance_id == instance_id]
    if start is not None:
        wanted.append(tasks.c.created_at >= start)
    if end is not None:
        wanted.append(tasks.c.created_at <= end)
    count = connection.execute(sa.select(sa.func.count()).select_from(tasks).where(*wanted)).scalar_one()
    bare = [column for column in tasks.c if column.name != "steps"]
    found = sa.select(*bare).where(*wanted).order_by(tasks.c.sequence.desc()).offset(offset).limit(limit)
    return count, [from_row(Task, row._mapping) for row in connection.execute(found)]


def unfinished(connection: sa.Connection) -> list[Task]:
    """Every task that has not ended, oldest first."""
    found = tasks.select().where(tasks.c.status.in_(UNFINISHED)).order_by(tasks.c.sequence)
    return [from_row(Task, row._mapping) for row in connection.execute(found)]


def unfinished_of(connection: sa.Connection, instance_id: str) -> list[Task]:
    """The instance's tasks that have not ended, oldest first, without their steps."""
    bare = [column for column in tasks.c if column.name != "steps"]
    found = sa.select(*bare).where(tasks.c.instance_id == instance_id, tasks.c.status.in_(UNFINISHED))
    return [from_row(Task, row._mapping) for row in connection.execute(found.order_by(tasks.c.sequence))]


def save(connection: sa.Connection, task: Task) -> Task:
    """Writes `task` over the revision it names and answers it with the next; StaleTask if that is not the latest."""
    values: dict[str, Any] = to_row(task) | {"revision": task.revision + 1}
    changed = connection.execute(
        tasks.update().where(tasks.c.id == task.id, tasks.c.revision == task.revision).values(values)
    )
    if changed.rowcount != 1:
        raise StaleTask(task.id)
    return from_row(Task, values)


def change(connection: sa.Connection, task_id: str, **values: Any) -> None:
    connection.execute(tasks.update().where(tasks.c.id == task_id).values(columns(**values)))


def remove(connection: sa.Connection, task_id: str) -> None:
    controls.remove(connection, task_id)
    connection.execute(tasks.delete().where(tasks.c.id == task_id))

"""Queries on control settings of tasks. They have their own table, because only its worker writes a task's row."""

from collections.abc import Sequence

import sqlalchemy as sa

from cachewright.model.tasks import Control
from cachewright.store.rows import from_row, to_row
from cachewright.store.tables import task_controls


def get(connection: sa.Connection, task_id: str) -> Control:
    row = connection.execute(task_controls.select().where(task_controls.c.task_id == task_id)).one_or_none()
    return from_row(Control, row._mapping) if row else Control()


def put(connection: sa.Connection, task_id: str, control: Control) -> None:
    remove(connection, [task_id])
    connection.execute(task_controls.insert().values({"task_id": task_id, **to_row(control)}))


def remove(connection: sa.Connection, task_ids: Sequence[str]) -> None:
    connection.execute(task_controls.delete().where(task_controls.c.task_id.in_(task_ids)))

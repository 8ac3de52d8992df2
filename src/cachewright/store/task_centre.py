"""Queries on the background tasks of a whole project, those of instances that are gone among them."""

import sqlalchemy as sa

from cachewright.store.records import Task
from cachewright.store.rows import from_row
from cachewright.store.tables import tasks


def page(
    connection: sa.Connection,
    project_id: str,
    *,
    offset: int,
    limit: int,
    start: int | None = None,
    end: int | None = None,
) -> tuple[int, list[Task]]:
    """How many tasks of the project were created from `start` to `end`, and one page of them, newest first.

    The tasks of a page come without their steps.
    """
    wanted = [tasks.c.project_id == project_id]
    if start is not None:
        wanted.append(tasks.c.created_at >= start)
    if end is not None:
        wanted.append(tasks.c.created_at <= end)
    count = connection.execute(sa.select(sa.func.count()).select_from(tasks).where(*wanted)).scalar_one()
    bare = [column for column in tasks.c if column.name != "steps"]
    found = sa.select(*bare).where(*wanted).order_by(tasks.c.sequence.desc()).offset(offset).limit(limit)
    return count, [from_row(Task, row._mapping) for row in connection.execute(found)]

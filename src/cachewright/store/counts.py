"""Numbers of instances in each status and of each project, of unfinished tasks and of waiting deliveries."""

import sqlalchemy as sa

from cachewright.model.tasks import UNFINISHED
from cachewright.store.tables import deliveries, instances, tasks


def by_status(connection: sa.Connection, project_id: str) -> dict[str, int]:
    query = sa.select(instances.c.status, sa.func.count()).where(instances.c.project_id == project_id)
    rows = connection.execute(query.group_by(instances.c.status))
    return {row[0]: row[1] for row in rows}


def by_project(connection: sa.Connection) -> dict[str, int]:
    """Return the number of instances of each project that has any. Only for the server itself."""
    query = sa.select(instances.c.project_id, sa.func.count()).group_by(instances.c.project_id)
    return {row[0]: row[1] for row in connection.execute(query)}


def instances_of_all(connection: sa.Connection) -> dict[str, int]:
    """Return the number of instances in each status, of all projects. Only for the operator, not for clients."""
    query = sa.select(instances.c.status, sa.func.count()).group_by(instances.c.status)
    return {row[0]: row[1] for row in connection.execute(query)}


def unfinished_tasks(connection: sa.Connection) -> dict[tuple[str, str], int]:
    """Return the number of tasks of each kind and unfinished status, of all projects."""
    query = sa.select(tasks.c.kind, tasks.c.status, sa.func.count()).where(tasks.c.status.in_(UNFINISHED))
    rows = connection.execute(query.group_by(tasks.c.kind, tasks.c.status))
    return {(row[0], row[1]): row[2] for row in rows}


def waiting_deliveries(connection: sa.Connection) -> int:
    """Return the number of events that wait for delivery to webhooks, of all projects."""
    query = sa.select(sa.func.count()).select_from(deliveries).where(deliveries.c.status == "WAITING")
    return connection.execute(query).scalar_one()

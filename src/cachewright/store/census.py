"""How many instances a project has in each status."""

import sqlalchemy as sa

from cachewright.store.tables import instances


def by_status(connection: sa.Connection, project_id: str) -> dict[str, int]:
    counted = sa.select(instances.c.status, sa.func.count()).where(instances.c.project_id == project_id)
    rows = connection.execute(counted.group_by(instances.c.status))
    return {row[0]: row[1] for row in rows}

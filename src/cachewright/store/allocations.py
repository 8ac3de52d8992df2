"""Nodes and memory that are allocated to each instance."""

import msgspec
import sqlalchemy as sa

from cachewright.store.tables import instances, nodes


class Allocation(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes of one instance, including stopped ones, which can be started again.

    :ivar maxmemory: the sum over its nodes, in bytes.
    """

    project_id: str
    instance_id: str
    nodes: int
    maxmemory: int


def allocations(connection: sa.Connection) -> list[Allocation]:
    """Return the allocation of every instance of all projects."""
    query = (
        sa.select(
            instances.c.project_id,
            instances.c.id,
            sa.func.count(nodes.c.id),
            sa.func.coalesce(sa.func.sum(nodes.c.maxmemory), 0),
        )
        .select_from(instances.outerjoin(nodes, nodes.c.instance_id == instances.c.id))
        .group_by(instances.c.project_id, instances.c.id)
    )
    return [
        Allocation(project_id=project_id, instance_id=instance_id, nodes=count, maxmemory=int(maxmemory))
        for project_id, instance_id, count, maxmemory in connection.execute(query)
    ]

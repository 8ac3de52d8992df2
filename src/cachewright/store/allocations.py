"""Nodes and memory that are allocated to each instance, by host."""

import msgspec
import sqlalchemy as sa

from cachewright.store.tables import instances, nodes


class Allocation(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes of one instance on one host, including stopped ones, which can be started again.

    :ivar host_name: None for an instance without nodes.
    :ivar maxmemory: the sum over the nodes, in bytes.
    """

    project_id: str
    instance_id: str
    host_name: str | None
    nodes: int
    maxmemory: int


def allocations(connection: sa.Connection) -> list[Allocation]:
    """Return the allocations of every instance of all projects."""
    query = (
        sa.select(
            instances.c.project_id,
            instances.c.id,
            nodes.c.host_name,
            sa.func.count(nodes.c.id),
            sa.func.coalesce(sa.func.sum(nodes.c.maxmemory), 0),
        )
        .select_from(instances.outerjoin(nodes, nodes.c.instance_id == instances.c.id))
        .group_by(instances.c.project_id, instances.c.id, nodes.c.host_name)
    )
    return [
        Allocation(
            project_id=project_id,
            instance_id=instance_id,
            host_name=host_name,
            nodes=count,
            maxmemory=int(maxmemory),
        )
        for project_id, instance_id, host_name, count, maxmemory in connection.execute(query)
    ]

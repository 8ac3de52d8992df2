"""Nodes and memory that are allocated to instances, by host."""

from collections.abc import Collection
from typing import Any

import msgspec
import sqlalchemy as sa

from cachewright.store.tables import instances, nodes


class Allocation(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes of one instance, or of all instances of a project, on one host. Including stopped ones, which can be
    started again.

    :ivar instance_id: None for all instances of the project.
    :ivar maxmemory: the sum over the nodes, in bytes.
    """

    project_id: str
    host_name: str
    nodes: int
    maxmemory: int
    instance_id: str | None = None


def of_projects(connection: sa.Connection) -> list[Allocation]:
    """Return the allocations of every project. The database adds them up: an installation has many instances."""
    columns = (instances.c.project_id, nodes.c.host_name)
    return [Allocation(**row._mapping) for row in connection.execute(_sums(*columns))]


def of_instances(connection: sa.Connection, instance_ids: Collection[str]) -> list[Allocation]:
    """Return the allocations of each of these instances. One without nodes has none."""
    columns = (instances.c.project_id, nodes.c.host_name, nodes.c.instance_id)
    query = _sums(*columns).where(nodes.c.instance_id.in_(list(instance_ids)))
    return [Allocation(**row._mapping) for row in connection.execute(query)]


def _sums(*columns: sa.ColumnElement[str]) -> sa.Select[*tuple[Any, ...]]:
    count = sa.func.count(nodes.c.id).label("nodes")
    maxmemory = sa.cast(sa.func.sum(nodes.c.maxmemory), sa.BigInteger).label("maxmemory")
    joined = sa.select(*columns, count, maxmemory).join_from(nodes, instances, nodes.c.instance_id == instances.c.id)
    return joined.group_by(*columns)

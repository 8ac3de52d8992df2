"""Many instances with their nodes, in few queries however many they are."""

from collections.abc import Callable, Collection

import sqlalchemy as sa

from cachewright.model.instances import Instance, Node
from cachewright.store.instances import of_row
from cachewright.store.node_rows import node_of
from cachewright.store.tables import instances, nodes

WithNodes = tuple[Instance, list[Node]]
"""An instance, and its nodes in the order of `instances.nodes_of`."""


def of_spec_codes(connection: sa.Connection, are_wanted: Callable[[str], bool]) -> dict[str, WithNodes]:
    """Return all instances of all projects with such spec codes, by id."""
    codes = connection.execute(sa.select(instances.c.spec_code).distinct()).scalars()
    wanted = [code for code in codes if are_wanted(code)]
    return _with_nodes(connection, instances.c.spec_code.in_(wanted)) if wanted else {}


def at_no_node(connection: sa.Connection) -> dict[str, WithNodes]:
    """Return all instances of all projects whose address no node listens on, by id."""
    own = sa.and_(
        nodes.c.instance_id == instances.c.id,
        nodes.c.host == instances.c.address,
        nodes.c.port == instances.c.seed_port,
    )
    return _with_nodes(connection, ~sa.exists().where(own).correlate(instances))


def _with_nodes(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> dict[str, WithNodes]:
    """Return all instances of all projects that meet a condition, in two queries however many they are."""
    query = instances.select().where(condition).order_by(instances.c.id)
    recorded = [of_row(connection, row) for row in connection.execute(query).all()]
    found: dict[str, WithNodes] = {instance.id: (instance, []) for instance in recorded}
    if found:
        chosen = sa.select(instances.c.id).where(condition)
        of_them = nodes.select().where(nodes.c.instance_id.in_(chosen), nodes.c.apart.is_(False))
        for row in connection.execute(of_them.order_by(nodes.c.shard, nodes.c.role, nodes.c.id)):
            found[row.instance_id][1].append(node_of(row))
    return found


def nodes_of_each(connection: sa.Connection, instance_ids: Collection[str]) -> dict[str, list[Node]]:
    """Return the nodes of each of these instances, in the order of `instances.nodes_of`, by its id."""
    found: dict[str, list[Node]] = {instance_id: [] for instance_id in instance_ids}
    query = nodes.select().where(nodes.c.instance_id.in_(list(instance_ids)), nodes.c.apart.is_(False))
    for row in connection.execute(query.order_by(nodes.c.shard, nodes.c.role, nodes.c.id)):
        found[row.instance_id].append(node_of(row))
    return found

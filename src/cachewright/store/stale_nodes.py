"""Queries on nodes that were removed while their host did not report."""

from collections.abc import Collection

import sqlalchemy as sa

from cachewright.clock import now_ms
from cachewright.model.hosts import StaleNode
from cachewright.model.instances import Node
from cachewright.store import instances
from cachewright.store.rows import to_row
from cachewright.store.tables import stale_nodes


def give_up(connection: sa.Connection, node: Node) -> None:
    """Remove the record of a node. Its host deletes process and files when it reports again. No effect if the node is
    not recorded any more."""
    if instances.remove_nodes(connection, [node.id]):
        stale = StaleNode(id=node.id, host_name=node.host_name, removed_at=now_ms())
        connection.execute(stale_nodes.insert(), to_row(stale))


def on_host(connection: sa.Connection, host_name: str) -> list[str]:
    """Return the ids of nodes that a host has to delete, ordered."""
    query = sa.select(stale_nodes.c.id).where(stale_nodes.c.host_name == host_name)
    return list(connection.execute(query.order_by(stale_nodes.c.id)).scalars())


def host_names(connection: sa.Connection) -> set[str]:
    """Return the names of the hosts that have nodes to delete; they may have been removed."""
    return set(connection.execute(sa.select(stale_nodes.c.host_name).distinct()).scalars())


def deleted(connection: sa.Connection, node_ids: Collection[str]) -> None:
    """Record that a host has deleted them."""
    connection.execute(stale_nodes.delete().where(stale_nodes.c.id.in_(list(node_ids))))

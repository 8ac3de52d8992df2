"""Nodes of rows that are read again and again."""

from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from cachewright.model.instances import Node
from cachewright.store.rows import from_row
from cachewright.store.tables import nodes

_MOST_NODES = 65_536
"""Nodes that are kept as records. Loops read all of them every few seconds, and few change."""

_NODE_COLUMNS = tuple(nodes.c.keys())


def nodes_in(connection: sa.Connection, query: sa.Select[Any]) -> list[Node]:
    """Return the nodes of a query. Rows are fetched together, which takes much less time than one by one."""
    return [node_of(row) for row in connection.execute(query).all()]


def node_of(row: sa.Row[Any]) -> Node:
    """Return the node of a row of the table."""
    return _node(tuple(row))


@lru_cache(maxsize=_MOST_NODES)
def _node(row: tuple[Any, ...]) -> Node:
    return from_row(Node, dict(zip(_NODE_COLUMNS, row, strict=True)))

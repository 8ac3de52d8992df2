"""Connections of clients of a node: list them and close them. Those of the control plane, of replicas and of other
nodes are never among them.

Source: CLIENT LIST and CLIENT KILL of Valkey 9.1.
"""

import asyncio
from collections.abc import Mapping, Sequence

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client_drain import is_client
from cachewright.valkey.single_request import Unreadable, request_once, text

LISTED_BYTES = 32 * 1024 * 1024
"""Limit of a list, in bytes. A connection takes about 400."""

_CLOSED_AT_ONCE = 1000

Row = Mapping[str, str]
"""A connection: values of CLIENT LIST by their names."""


async def list_clients(node: Node, access: Access, answer_seconds: float) -> list[Row]:
    """Return the connections of clients, oldest first. Raises one of NODE_GONE or NodeRefused."""
    (reply,) = await request_once(node, access, [("CLIENT", "LIST")], answer_seconds, most_bytes=LISTED_BYTES)
    return await asyncio.to_thread(_parse, text(reply))


async def close_clients(node: Node, access: Access, ids: Sequence[str], answer_seconds: float) -> int:
    """Close connections by their ids. Return the number of those that were open. Raises one of NODE_GONE or
    NodeRefused."""
    parts = [ids[start : start + _CLOSED_AT_ONCE] for start in range(0, len(ids), _CLOSED_AT_ONCE)]
    commands = [("CLIENT", "KILL", "ID", *part) for part in parts]
    return sum(map(int, await request_once(node, access, commands, answer_seconds))) if commands else 0


def _parse(listed: str) -> list[Row]:
    """Raises Unreadable if a row lacks the fields by which a client is recognized."""
    rows = [dict(field.partition("=")[::2] for field in line.split(" ")) for line in listed.splitlines()]
    try:
        return sorted(filter(is_client, rows), key=lambda row: int(row["id"]))
    except (KeyError, ValueError) as error:
        raise Unreadable(f"no list of clients: {error!r}"[:200]) from error

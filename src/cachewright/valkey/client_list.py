"""Connections of clients of a node: list them and close them. Those of the control plane, of replicas and of other
nodes are never among them.

Source: CLIENT LIST and CLIENT KILL of Valkey 9.1.
"""

import asyncio
from collections.abc import Callable, Mapping

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client_drain import is_client, killed, knows_by_name
from cachewright.valkey.session import Session
from cachewright.valkey.single_request import Unreadable, request_once, text

LISTED_BYTES = 32 * 1024 * 1024
"""Limit of a list, in bytes. A connection takes about 400."""

Row = Mapping[str, str]
"""A connection: values of CLIENT LIST by their names."""


async def list_clients(node: Node, access: Access, answer_seconds: float) -> list[Row]:
    """Return the connections of clients, oldest first. Raises one of NODE_GONE or NodeRefused."""
    (reply,) = await request_once(node, access, [("CLIENT", "LIST")], answer_seconds, most_bytes=LISTED_BYTES)
    return await asyncio.to_thread(_parse, text(reply), by_name=knows_by_name(node))


async def close_clients(
    node: Node,
    access: Access,
    answer_seconds: float,
    *,
    chosen: Callable[[Row], bool] = lambda row: True,
    report: Callable[[int], None] = lambda closed: None,
) -> int:
    """Close the chosen connections of clients. Return their number. Raises one of NODE_GONE or NodeRefused.

    They are listed and closed over one connection. A node that restarts counts ids from 1 again, so that an id of
    its former clients may be one of a replica; but it also ends this connection.

    :param report: called with the number of connections that are closed so far.
    """
    session = await Session.open(node, access, answer_seconds, most_bytes=LISTED_BYTES)
    try:
        listed = text(await session.ask("CLIENT", "LIST"))
        rows = await asyncio.to_thread(_parse, listed, by_name=knows_by_name(node))
        closed = 0
        for words in killed([row["id"] for row in rows if chosen(row)]):
            closed += int(await session.ask("CLIENT", "KILL", *words))
            report(closed)
        return closed
    finally:
        session.close()


def _parse(listed: str, *, by_name: bool = False) -> list[Row]:
    """Raises Unreadable if a row lacks the fields by which a client is recognized."""
    rows = [dict(field.partition("=")[::2] for field in line.split(" ")) for line in listed.splitlines()]
    try:
        return sorted((row for row in rows if is_client(row, by_name=by_name)), key=lambda row: int(row["id"]))
    except (KeyError, ValueError) as error:
        raise Unreadable(f"no list of clients: {error!r}"[:200]) from error

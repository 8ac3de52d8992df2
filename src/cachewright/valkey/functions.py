"""Function libraries of a node: read them, and make a node's libraries equal to others.

A node replicates its libraries to its replicas and keeps them in its append-only file. Slot migration does not move
them, and nodes do not tell each other about them. Code is bytes, because it need not be text. Functions raise one of
NODE_GONE if the node does not answer and NodeRefused if it refuses.

Source: FUNCTION LIST, LOAD and DELETE of Valkey 9.1.
"""

from collections.abc import Collection
from typing import Any

from cachewright.valkey.client import NodeRefused, Valkey, ask
from cachewright.valkey.equality import Definitions, Difference

_NAME_TAKEN = "already exists"
"""Part of the error reply to a library whose function has the name of a function of another library of the node."""

_NOT_THERE = "not found"


async def function_libraries(client: Valkey) -> dict[str, bytes]:
    """Return the code of each library, by name."""
    # The option keeps the library from decoding the reply.
    reply: Any = await client.execute_command("FUNCTION", "LIST", "WITHCODE", NEVER_DECODE=True)  # type: ignore[no-untyped-call]  # the library leaves it untyped
    rows = [dict(zip(row[::2], row[1::2], strict=True)) for row in reply]
    return {row[b"library_name"].decode(): row[b"library_code"] for row in rows}


async def change_libraries(client: Valkey, difference: Difference) -> frozenset[str]:
    """Load, replace and delete libraries of a primary. Return the names of those that it cannot have, because another
    library that it should have contains a function of the same name."""
    refused = await _load_all(client, {**difference.missing, **difference.different})
    await _delete_all(client, difference.extra)
    while refused and len(again := await _load_all(client, refused)) < len(refused):
        refused = again
    return frozenset(refused)


async def _load_all(client: Valkey, libraries: Definitions) -> dict[str, bytes]:
    """Load libraries and return those whose function names are taken."""
    refused = {}
    for name, code in libraries.items():
        try:
            await ask(client, "FUNCTION", "LOAD", "REPLACE", code)
        except NodeRefused as refusal:
            if _NAME_TAKEN not in str(refusal):
                raise
            refused[name] = code
    return refused


async def _delete_all(client: Valkey, names: Collection[str]) -> None:
    for name in sorted(names):
        try:
            await ask(client, "FUNCTION", "DELETE", name)
        except NodeRefused as refusal:
            if _NOT_THERE not in str(refusal):
                raise

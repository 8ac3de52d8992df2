"""Function libraries of a node: read them, and make a node's libraries equal to others.

A node replicates its libraries to its replicas and keeps them in its append-only file. Slot migration does not move
them, and nodes do not tell each other about them. Code is bytes, because it need not be text. Functions raise one of
NODE_GONE if the node does not answer and NodeRefused if it refuses.

Source: FUNCTION LIST, LOAD and DELETE of Valkey 9.1.
"""

from collections.abc import Collection
from typing import Any

import msgspec

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import ANSWER_SECONDS, NodeRefused, Valkey, ask
from cachewright.valkey.equality import Definitions, Difference
from cachewright.valkey.single_request import Unreadable, fields, info

_NAME_TAKEN = "already exists"
"""Part of the error reply to a library whose function has the name of a function of another library of the node."""

_NOT_THERE = "not found"
_CHANGES = ("load", "delete", "flush", "restore")


MOST_BYTES = 16 * 1024 * 1024
"""Limit of the libraries of a node that are read. Clients decide how large they are."""


class LibrariesTooLarge(NodeRefused):
    """The libraries of a node take more than MOST_BYTES."""


class LibrariesVersion(msgspec.Struct, frozen=True):
    """What tells without the code whether libraries have changed: run id of the node, the calls that change libraries,
    the number of the libraries and their size in bytes."""

    run_id: str
    calls: int
    libraries: int
    size: int


async def libraries_version(client: Valkey) -> LibrariesVersion:
    """Return the version of the node's libraries. It also changes if a call was refused or has changed nothing."""
    # As one word, so that the library does not parse the reply, which takes a millisecond.
    said = fields(await ask(client, "INFO server memory commandstats"))
    try:
        calls = sum(_calls(said.get(f"cmdstat_function|{word}", "")) for word in _CHANGES)
        return LibrariesVersion(
            said["run_id"], calls, int(said["number_of_libraries"]), int(said["used_memory_functions"])
        )
    except (KeyError, ValueError) as error:
        raise Unreadable(f"no version of function libraries: {error!r}"[:200]) from error


def _calls(statistics: str) -> int:
    """Return the number of calls in the statistics of a command, which look like `calls=3,usec=12`."""
    return int(dict(word.split("=", 1) for word in statistics.split(",") if word).get("calls", 0))


async def has_libraries(node: Node, access: Access) -> bool:
    """Whether the node has any library. Asks on a connection of its own, with one round trip."""
    said = await info(node, access, ("memory",), ANSWER_SECONDS)
    return said.get("number_of_libraries") != "0"


async def function_libraries(client: Valkey) -> dict[str, bytes]:
    """Return the code of each library, by name. Raises LibrariesTooLarge."""
    size = (await libraries_version(client)).size
    if size > MOST_BYTES:
        raise LibrariesTooLarge(f"function libraries of {size} bytes; at most {MOST_BYTES} are compared and copied")
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

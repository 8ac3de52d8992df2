"""Keys whose values are so large that clients may notice their move. See docs/decisions/0043."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

import msgspec

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import connect
from cachewright.valkey.key_sizes import LargeValue, LargeValues, large_values
from cachewright.valkey.slots import Move, SlotRange

_MOST_KEYS = 100
_STALL_MS_PER_BYTE = 4.5e-6
_ELEMENTS_PER_COMMAND = 64


class GiantKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key with a large value in a slot that moves.

    :ivar source: id of the node that has it.
    :ivar stall_ms: expected time for which the node that receives it serves no clients.
    """

    value: LargeValue
    source: str
    stall_ms: float


class GiantKeys(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a search.

    :ivar keys: the largest ones, at most a hundred, largest first.
    :ivar minimum_bytes: size from which a value counts as large.
    :ivar complete: whether all keys in the moving slots were looked at. Otherwise some slots, chosen at random, were.
    """

    keys: tuple[GiantKey, ...]
    minimum_bytes: int
    complete: bool


async def find_giant_keys(
    moves: Sequence[Move], nodes: Sequence[Node], access: Access, minimum_bytes: int
) -> GiantKeys:
    """Search the slots that move, on all sources at the same time, for about two seconds. Raises one of NODE_GONE or
    NodeRefused."""
    ranges: dict[str, list[SlotRange]] = defaultdict(list)
    for move in moves:
        ranges[move.source].append(move.range)
    by_id = {node.id: node for node in nodes}

    async def search(source: str) -> LargeValues:
        async with connect(by_id[source], access) as client:
            return await large_values(client, ranges[source], minimum_bytes)

    found = dict(zip(ranges, await asyncio.gather(*map(search, ranges)), strict=True))
    keys = [
        GiantKey(value=value, source=source, stall_ms=expected_stall_ms(value))
        for source, result in found.items()
        for value in result.values
    ]
    keys.sort(key=lambda key: (-key.stall_ms, -key.value.bytes))
    complete = all(result.complete for result in found.values())
    return GiantKeys(keys=tuple(keys[:_MOST_KEYS]), minimum_bytes=minimum_bytes, complete=complete)


def expected_stall_ms(value: LargeValue) -> float:
    """Return how long the target serves no clients while it receives a value. It receives a string with one command,
    and collections with commands of 64 elements."""
    share = 1.0 if value.type == "string" else min(_ELEMENTS_PER_COMMAND / max(value.elements, 1), 1.0)
    return value.bytes * share * _STALL_MS_PER_BYTE

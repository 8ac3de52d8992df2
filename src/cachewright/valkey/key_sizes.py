"""Find the large values in slots of a node without delaying its clients.

The node runs short scripts of a third of a millisecond, with pauses in between, so that its clients notice nothing.
Without clients it runs longer ones without pauses.
Sizes of collections are estimates of Valkey from a few of their elements.

A cursor of SCAN holds the slot in its lowest 14 bits, and SCAN goes through the slots in ascending order. So a scan can
begin at any slot. Source: `kvstoreScan` and MEMORY USAGE of Valkey 9.1.
"""

import asyncio
import math
import random
import time
from collections.abc import Collection, Iterable, Sequence

import msgspec

from cachewright.valkey.client import Valkey, ask
from cachewright.valkey.slots import SLOTS, SlotRange, merged

_SCAN = r"""#!lua flags=no-writes,allow-cross-slot-keys
local lengths = {hash = 'HLEN', list = 'LLEN', set = 'SCARD', zset = 'ZCARD', stream = 'XLEN', string = 'STRLEN'}
local cursor, last, least = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local found, scanned, started = {}, 0, os.clock()
local function printable(key)
  return (key:gsub('[%c%s\\\128-\255]', function(byte) return string.format('\\x%02x', byte:byte()) end))
end
repeat
  local reply = redis.call('SCAN', cursor, 'COUNT', 20)
  cursor = reply[1]
  for _, key in ipairs(reply[2]) do
    scanned = scanned + 1
    local bytes = redis.call('MEMORY', 'USAGE', key, 'SAMPLES', 3)
    if bytes and bytes >= least then
      local kind = redis.call('TYPE', key).ok
      local elements = lengths[kind] and redis.call(lengths[kind], key) or 0
      local slot = redis.call('CLUSTER', 'KEYSLOT', key)
      if slot <= last then found[#found + 1] = {slot, printable(key), kind, bytes, elements} end
    end
  end
until cursor == '0' or tonumber(cursor) % 16384 > last or #found >= 100 or os.clock() - started > tonumber(ARGV[4])
return {cursor, scanned, found}
"""

_SLOTS_AT_ONCE = 64
_SCRIPT_SECONDS, _PAUSE_SECONDS = 0.0003, 0.0005
_SCRIPT_SECONDS_WITHOUT_CLIENTS = 0.005
_SECONDS = 2.0


class LargeValue(msgspec.Struct, frozen=True, kw_only=True):
    """A value and its key.

    :ivar key: the name. Bytes that are no printable ASCII character, and backslashes, are written as `\\\\xNN`. Names
    are data of the instance's owner: do not log them.
    :ivar type: Valkey's name of the type, such as `hash`.
    :ivar bytes: estimate of its memory.
    :ivar elements: number of elements; bytes of a string.
    """

    slot: int
    key: str
    type: str
    bytes: int
    elements: int


class LargeValues(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a search.

    :ivar values: largest first.
    :ivar scanned: number of keys that were looked at.
    :ivar complete: whether all keys were looked at. Otherwise slots were chosen at random.
    """

    values: tuple[LargeValue, ...]
    scanned: int
    complete: bool


async def large_values(
    client: Valkey,
    ranges: Iterable[SlotRange],
    minimum_bytes: int,
    *,
    seconds: float = _SECONDS,
    enough_bytes: float = math.inf,
    has_clients: bool = True,
    first: Collection[int] = (),
) -> LargeValues:
    """Search the slots for values of at least `minimum_bytes`. Ends after about `seconds`, or when values of
    `enough_bytes` in total are found. Raises one of NODE_GONE or NodeRefused.

    :param first: slots that are searched first, because an earlier search has found large values there.

    The node needs about two microseconds per key. With clients, the search takes more than twice as long.
    """
    script_seconds = _SCRIPT_SECONDS if has_clients else _SCRIPT_SECONDS_WITHOUT_CLIENTS
    deadline = time.monotonic() + seconds
    parts = _parts(ranges)
    random.shuffle(parts)
    parts.sort(key=lambda part: not any(part.first <= slot <= part.last for slot in first))
    found: dict[str, LargeValue] = {}
    scanned = 0
    for part in parts:
        cursor: int | None = part.first
        while cursor is not None:
            if time.monotonic() > deadline or sum(value.bytes for value in found.values()) >= enough_bytes:
                return _result(found, scanned, complete=False)
            limits = part.last, minimum_bytes, script_seconds
            reply, count, rows = await ask(client, "EVAL_RO", _SCAN, 0, cursor, *limits)
            scanned += count
            for slot, key, kind, size, elements in rows:
                found[key] = LargeValue(slot=slot, key=key, type=kind, bytes=size, elements=elements)
            cursor = _next(int(reply), part)
            if has_clients:
                await asyncio.sleep(_PAUSE_SECONDS)
    return _result(found, scanned, complete=True)


def _next(cursor: int, part: SlotRange) -> int | None:
    """Return the cursor for the rest of the slots, or None if none is left."""
    return None if cursor == 0 or cursor % SLOTS > part.last else cursor


def _parts(ranges: Iterable[SlotRange]) -> list[SlotRange]:
    """Return the same slots in short ranges, for a search in random order."""
    return [
        SlotRange(first, min(first + _SLOTS_AT_ONCE - 1, part.last))
        for part in merged(ranges)
        for first in range(part.first, part.last + 1, _SLOTS_AT_ONCE)
    ]


def _result(found: dict[str, LargeValue], scanned: int, *, complete: bool) -> LargeValues:
    values: Sequence[LargeValue] = sorted(found.values(), key=lambda value: (-value.bytes, value.slot, value.key))
    return LargeValues(values=tuple(values), scanned=scanned, complete=complete)

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
local cursor, last, least, kind = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[5]
local found, scanned, started = {}, 0, os.clock()
local function printable(key)
  return (key:gsub('[%c%s\\\128-\255]', function(byte) return string.format('\\x%02x', byte:byte()) end))
end
repeat
  local reply = kind == '' and redis.call('SCAN', cursor, 'COUNT', 20)
    or redis.call('SCAN', cursor, 'COUNT', 200, 'TYPE', kind)
  cursor = reply[1]
  for _, key in ipairs(reply[2]) do
    scanned = scanned + 1
    local bytes = redis.call('MEMORY', 'USAGE', key, 'SAMPLES', 3)
    if bytes and bytes >= least then
      local type_of = redis.call('TYPE', key).ok
      local elements = lengths[type_of] and redis.call(lengths[type_of], key) or 0
      local slot = redis.call('CLUSTER', 'KEYSLOT', key)
      if slot <= last then found[#found + 1] = {slot, printable(key), type_of, bytes, elements} end
    end
  end
until cursor == '0' or tonumber(cursor) % 16384 > last or #found >= 100 or os.clock() - started > tonumber(ARGV[4])
return {cursor, scanned, found}
"""

_ALL_TYPES = ""
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
    :ivar scanned: number of keys that were looked at; some of them twice after a search by types.
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
    first_types: Iterable[str] = (),
) -> LargeValues:
    """Search the slots for values of at least `minimum_bytes`. Ends after about `seconds`, or when values of
    `enough_bytes` in total are found. Raises one of NODE_GONE or NodeRefused.

    :param first: slots that are searched first, because an earlier search has found large values there.
    :param first_types: types that are searched first, in at most half of the time. If few keys have the type, this is
        much faster, because the node skips the others by itself.

    The node needs about two microseconds per key. With clients, the search takes more than twice as long.
    """
    began = time.monotonic()
    parts = _parts(ranges)
    random.shuffle(parts)
    parts.sort(key=lambda part: not any(part.first <= slot <= part.last for slot in first))
    search = _Search(client, minimum_bytes, enough_bytes, has_clients=has_clients)
    for kind in first_types:
        if not await search.goes_through(parts, kind, deadline=began + seconds / 2):
            break
    complete = await search.goes_through(parts, _ALL_TYPES, deadline=began + seconds)
    return search.result(complete=complete)


class _Search:
    def __init__(self, client: Valkey, minimum_bytes: int, enough_bytes: float, *, has_clients: bool) -> None:
        self._client = client
        self._minimum_bytes = minimum_bytes
        self._enough_bytes = enough_bytes
        self._has_clients = has_clients
        self._found: dict[str, LargeValue] = {}
        self._scanned = 0

    async def goes_through(self, parts: Iterable[SlotRange], kind: str, *, deadline: float) -> bool:
        """Search keys of a type. Return whether it has looked at all of them: it ends at the deadline, and when enough
        is found."""
        script_seconds = _SCRIPT_SECONDS if self._has_clients else _SCRIPT_SECONDS_WITHOUT_CLIENTS
        for part in parts:
            cursor: int | None = part.first
            while cursor is not None:
                found_bytes = sum(value.bytes for value in self._found.values())
                if time.monotonic() > deadline or found_bytes >= self._enough_bytes:
                    return False
                limits = part.last, self._minimum_bytes, script_seconds
                reply, count, rows = await ask(self._client, "EVAL_RO", _SCAN, 0, cursor, *limits, kind)
                self._scanned += count
                for slot, key, type_of, size, elements in rows:
                    self._found[key] = LargeValue(slot=slot, key=key, type=type_of, bytes=size, elements=elements)
                cursor = _next(int(reply), part)
                if self._has_clients:
                    await asyncio.sleep(_PAUSE_SECONDS)
        return True

    def result(self, *, complete: bool) -> LargeValues:
        values: Sequence[LargeValue] = sorted(
            self._found.values(), key=lambda value: (-value.bytes, value.slot, value.key)
        )
        return LargeValues(values=tuple(values), scanned=self._scanned, complete=complete)


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

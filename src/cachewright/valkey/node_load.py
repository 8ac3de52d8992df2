"""Size of the data on a node and presence of clients, for plans of slot migrations."""

import math
import time
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import Valkey, ask, connect
from cachewright.valkey.client_activity import client_activity
from cachewright.valkey.key_sizes import LargeValue, large_values
from cachewright.valkey.migration.background_child import ChildStatus, child_status
from cachewright.valkey.migration.jobs import count_keys, fork_seconds
from cachewright.valkey.slots import SlotRange, slots_of

_BYTES_PER_KEY = 100.0  # assumed for a node without keys
_FORK_SECONDS_PER_BYTE = 25e-12  # assumed for a node that has not forked yet

_SAMPLED_KEYS = 300
_NOTABLE_SHARE, _STANDARD_ERRORS = 0.1, 3
"""Few large values hold the part of the data that random keys do not account for, if it is more than this share, and
more than this number of standard errors of the random keys."""

NOTABLE_BYTES = 16 * 2**20
"""Values of fewer bytes move in less time than their search takes."""

_RARE_SHARE = 0.1
"""Types that fewer of the random keys have are searched first: a large value is usually not of the common type."""

_LARGE_SHARE, _LARGE_BYTES = 0.02, 2**20
_SEARCH_SECONDS = 3.0
"""Limit of the search. A plan that misses a large value is wrong by the seconds that its move takes."""

_FOUND_SHARE = 0.8
"""Share of the data that random keys do not account for with which the search ends: what is left is no large value."""
_OF_COLLECTIONS = 0.85
"""Bytes of a collection on the network, as a share of its memory."""

_TYPES = ("hash", "zset", "set", "list", "stream", "string")

_SAMPLE = """#!lua flags=no-writes,allow-cross-slot-keys
local lengths = {hash = 'HLEN', list = 'LLEN', set = 'SCARD', zset = 'ZCARD', stream = 'XLEN'}
local bytes, squares, elements, sampled, types = 0, 0, 0, 0, {}
for _ = 1, tonumber(ARGV[1]) do
  local key = redis.call('RANDOMKEY')
  local size = key and redis.pcall('MEMORY', 'USAGE', key, 'SAMPLES', 3)  -- refused in a slot that the node imports
  if type(size) == 'number' and size < tonumber(ARGV[2]) then
    local kind = redis.call('TYPE', key).ok
    local length = lengths[kind]
    bytes, squares, sampled = bytes + size, squares + size * size, sampled + 1
    types[#types + 1] = kind
    elements = elements + (length and redis.call(length, key) or 0)
  end
end
return {bytes, string.format('%.0f', squares), elements, sampled, types}
"""


class _Sample(msgspec.Struct, frozen=True):
    """Means over random keys without large values. A single large one among them would make all keys large.

    :ivar error: standard error of `bytes_per_key`.
    :ivar rare_types: types that few of the keys have, or none.
    """

    bytes_per_key: float = 0.0
    elements_per_key: float = 0.0
    error: float = 0.0
    rare_types: tuple[str, ...] = ()


class LargeData(msgspec.Struct, frozen=True):
    """The large values of a slot.

    :ivar bytes: on the network.
    :ivar elements: of collections.
    """

    bytes: float = 0.0
    elements: int = 0


class NodeLoad(msgspec.Struct, frozen=True):
    """Data and clients of one node.

    :ivar used_memory: bytes.
    :ivar bytes_per_key: average size of a key, without those of `large`.
    :ivar elements_per_key: average number of elements of its value; 0 for a string.
    :ivar keys: number of keys by slot.
    :ivar clients: whether clients are connected.
    :ivar fork: seconds of the node's next fork, as far as is known.
    :ivar large: large values by slot, if they are a notable share of the data.
    :ivar child: child process that must end before the node can make the snapshot of a migration.
    :ivar search_seconds: duration of the search for large values.
    :ivar next_search_seconds: that of another one, which begins in the slots of `large`.
    """

    used_memory: int
    bytes_per_key: float
    keys: Mapping[int, int]
    clients: bool
    fork: float = 0.0
    large: Mapping[int, LargeData] = {}
    elements_per_key: float = 0.0
    child: ChildStatus | None = None
    search_seconds: float = 0.0
    next_search_seconds: float = 0.0


class _Search(msgspec.Struct, frozen=True):
    values: Sequence[LargeValue] = ()
    seconds: float = 0.0
    next_seconds: float = 0.0


async def measure_load(
    node: Node, access: Access, ranges: Sequence[SlotRange], large_slots: Collection[int] = ()
) -> NodeLoad:
    """Measure the load of a node and count the keys in the slots `ranges`. Raises one of NODE_GONE or NodeRefused.

    :param large_slots: slots in which an earlier measurement has found large values. The search begins there.
    """
    async with connect(node, access) as client:
        keys = await count_keys(client, slots_of(ranges))
        memory = await client.info("memory")
        total = await client.dbsize()
        clients = (await client_activity(client)).connected > 0
        fork = await fork_seconds(client)
        child = await child_status(node, client)
        dataset = memory["used_memory_dataset"]
        least = max(int(dataset * _LARGE_SHARE), _LARGE_BYTES)
        sample = await _sample(client, least) if ranges and total else None
        hidden = dataset - sample.bytes_per_key * total if sample else 0.0
        search = _Search()
        notable = max(_NOTABLE_SHARE * dataset, NOTABLE_BYTES)
        if sample and hidden > max(notable, _STANDARD_ERRORS * sample.error * total):
            rare = sample.rare_types
            search = await _search(client, ranges, least, hidden, has_clients=clients, first=large_slots, rare=rare)
    bytes_per_key = (dataset - sum(value.bytes for value in search.values)) / total if total else _BYTES_PER_KEY
    used_memory = memory["used_memory"]
    return NodeLoad(
        used_memory=used_memory,
        bytes_per_key=max(bytes_per_key, 1.0),
        keys=keys,
        clients=clients,
        fork=fork or used_memory * _FORK_SECONDS_PER_BYTE,
        large=_by_slot(search.values),
        elements_per_key=sample.elements_per_key if sample else 0.0,
        child=child,
        search_seconds=search.seconds,
        next_search_seconds=search.next_seconds,
    )


def saved_search_seconds(loads: Iterable[NodeLoad]) -> float:
    """Return by how much the searches of another measurement of these nodes, which are concurrent, are shorter."""
    known = list(loads)
    now = max((load.search_seconds for load in known), default=0.0)
    return now - max((load.next_search_seconds for load in known), default=0.0)


async def _sample(client: Valkey, large_bytes: int) -> _Sample:
    """Look at random keys whose values have less than `large_bytes`."""
    size, squares, elements, sampled, types = await ask(client, "EVAL_RO", _SAMPLE, 0, _SAMPLED_KEYS, large_bytes)
    if not sampled:
        return _Sample(rare_types=_TYPES)
    mean = size / sampled
    return _Sample(
        bytes_per_key=mean,
        elements_per_key=elements / sampled,
        error=math.sqrt(max(int(squares) / sampled - mean * mean, 0.0) / sampled),
        rare_types=tuple(kind for kind in _TYPES if types.count(kind) < _RARE_SHARE * sampled),
    )


async def _search(
    client: Valkey,
    ranges: Sequence[SlotRange],
    least: int,
    hidden: float,
    *,
    has_clients: bool,
    first: Collection[int],
    rare: Iterable[str],
) -> _Search:
    """Search values of at least `least` bytes in the slots, first in the slots `first` and those of the types
    `rare`."""
    began, enough = time.monotonic(), _FOUND_SHARE * hidden
    found = await large_values(
        client,
        ranges,
        least,
        seconds=_SEARCH_SECONDS,
        enough_bytes=enough,
        has_clients=has_clients,
        first=first,
        first_types=rare,
    )
    seconds = time.monotonic() - began
    is_short_next = sum(value.bytes for value in found.values) >= enough
    return _Search(found.values, seconds, 0.0 if is_short_next else seconds)


def _by_slot(values: Iterable[LargeValue]) -> dict[int, LargeData]:
    found: dict[int, LargeData] = {}
    for value in values:
        is_string = value.type == "string"
        before = found.get(value.slot, LargeData())
        found[value.slot] = LargeData(
            bytes=before.bytes + value.bytes * (1.0 if is_string else _OF_COLLECTIONS),
            elements=before.elements + (0 if is_string else value.elements),
        )
    return found

"""Data for a cluster, made by the nodes themselves: as fast as they can, the same number of keys in each slot.

What goes over a wire would limit how much can be loaded in a benchmark that is not about loading.
"""

import functools
import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import Any

from valkey.crc import key_slot

from bench.nodes import client_of, until
from cachewright.model.instances import Node
from cachewright.valkey.slots import SLOTS, SlotRange, slots_of

_POOL = hashlib.shake_256(b"bench").hexdigest(1 << 14)
_SLOTS_AT_ONCE = 16
_MEGABYTE = 2**20


class Content(StrEnum):
    SMALL = "small strings"
    """Of 200 bytes."""
    LARGE = "big collections"
    """Hashes of 2,000 fields of 100 bytes."""
    MIXED = "mixed"
    """Of each ten keys seven strings of 200 bytes, and a hash, a list and a sorted set of 20 elements of 50 bytes;
    besides, in one slot of 1,024, a hash of 2,000 fields."""


_MEMORY = {Content.SMALL: 252, Content.LARGE: 296_000, Content.MIXED: 580}
"""Bytes of a key in a node, roughly: only how much is loaded follows from it."""

_MAKE = """
local content, pool, count, tags = ARGV[1], ARGV[2], tonumber(ARGV[3]), #ARGV
local function text(seed, size) local at = (seed * 7919) % (#pool - size) return string.sub(pool, at + 1, at + size) end
local function hash(key, fields, size, seed)
  for start = 1, fields, 500 do
    local words = {}
    for f = start, math.min(start + 499, fields) do
      words[#words + 1] = 'f' .. f
      words[#words + 1] = text(seed + f, size)
    end
    redis.call('HSET', key, unpack(words))
  end
end
for t = 4, tags do
  local tag, seed = ARGV[t], t * 1000003
  for n = 1, count do
    local key, kind = content .. ':{' .. tag .. '}:' .. n, (t + n) % 10
    if content == 'big collections' then hash(key, 2000, 100, seed + n)
    elseif content == 'small strings' or kind < 7 then redis.call('SET', key, text(seed + n, 200))
    elseif kind == 7 then hash(key, 20, 50, seed + n)
    elseif kind == 8 then for e = 1, 20 do redis.call('RPUSH', key, text(seed + n + e, 50)) end
    else for e = 1, 20 do redis.call('ZADD', key, e, text(seed + n + e, 50) .. e) end end
  end
end
return redis.status_reply('OK')
"""


def load(
    nodes: Iterable[Node], owned: dict[str, list[SlotRange]], content: Content, megabytes: int, password: str
) -> int:
    """Fills the slots of a cluster with about so much in all, and returns when the nodes have put it in order. How
    many keys there are."""
    every = megabytes * _MEGABYTE / _MEMORY[content]
    fewer = max(round(SLOTS / every), 1) if every < SLOTS else 1  # only every so manieth slot gets keys
    count = max(round(every * fewer / SLOTS), 1)
    with ThreadPoolExecutor() as threads:
        work = []
        for node in nodes:
            parts = owned.get(node.id, [])
            slots = [slot for slot in slots_of(parts) if slot % fewer == 0]
            work.append(threads.submit(_fill, node, slots, content, count, password))
        return sum(filled.result() for filled in work)


def _fill(node: Node, slots: Sequence[int], content: Content, count: int, password: str) -> int:
    with client_of(node, password) as client:
        for start in range(0, len(slots), _SLOTS_AT_ONCE):
            _make(client, content, count, slots[start : start + _SLOTS_AT_ONCE])
        if content is Content.MIXED:
            _make(client, Content.LARGE, 1, [slot for slot in slots if slot % 1024 == 0])
        until(lambda: _at_rest(client))
        return int(client.dbsize())


def _make(client: Any, content: Content, count: int, slots: Iterable[int]) -> None:
    script = "#!lua flags=allow-cross-slot-keys\n" + _MAKE
    client.execute_command("EVAL", script, 0, content, _POOL, count, *(_tags()[slot] for slot in slots))


def _at_rest(client: Any) -> bool:
    said = client.info("persistence")
    return not (said["aof_rewrite_in_progress"] or said["aof_rewrite_scheduled"] or said["rdb_bgsave_in_progress"])


@functools.cache
def _tags() -> list[str]:
    """For each slot a hash tag that falls into it."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < SLOTS:
        found.setdefault(key_slot(b"%d" % number), str(number))
        number += 1
    return [found[slot] for slot in range(SLOTS)]

"""Look at all keys of a node, and find the biggest or the most used ones.

The node runs scripts of a third of a millisecond, with pauses that are at least as long, so that its clients have most
of its time. The connection does not touch the keys (CLIENT NO-TOUCH): neither what the node evicts next nor the
counters of use change. The node counts each look at a key as a hit (`keyspace_hits`).

Source: SCAN, OBJECT FREQ and CLIENT NO-TOUCH of Valkey 9.1.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec
from valkey.client import NEVER_DECODE

from cachewright.errors import CachewrightError
from cachewright.model.instances import Node
from cachewright.model.key_analyses import (
    TYPES,
    FoundKey,
    Subject,
    chosen,
    least_frequency,
    least_sizes,
    printable,
)
from cachewright.valkey.access import Access
from cachewright.valkey.client import Valkey, ask, connect
from cachewright.valkey.expiry_scan import keys_by_database, renew, run_id_of, select
from cachewright.valkey.roles import ROLES

_BEGIN = r"""#!lua flags=no-writes,allow-cross-slot-keys
local lengths = {string = 'STRLEN', list = 'LLEN', set = 'SCARD', zset = 'ZCARD', hash = 'HLEN', stream = 'XLEN'}
local cursor, until_seconds = ARGV[1], os.clock() + tonumber(ARGV[2])
local found, scanned = {}, 0
local function size_of(key)
  local kind = redis.pcall('TYPE', key)
  local length = lengths[kind.ok]
  local size = length and redis.pcall(length, key)  -- refused if the key does not exist any more
  return type(size) == 'number' and size or 0, kind.ok
end
local function name(key)
  return #key > 512 and string.sub(key, 1, 512) .. '...' .. string.sub(redis.sha1hex(key), 1, 8) or key
end
repeat
  local reply = redis.call('SCAN', cursor, 'COUNT', 20)
  cursor = reply[1]
  for _, key in ipairs(reply[2]) do
    scanned = scanned + 1
"""

_BIG = r"""
    local size, kind = size_of(key)
    if size > (tonumber(ARGV[places[kind] or 0]) or size) then found[#found + 1] = {name(key), kind, size, 0} end
"""

_HOT = r"""
    local used = redis.pcall('OBJECT', 'FREQ', key)
    if type(used) == 'number' and used > tonumber(ARGV[3]) then
      local size, kind = size_of(key)
      found[#found + 1] = {name(key), kind, size, used}
    end
"""

_END = r"""
  end
until cursor == '0' or #found >= 100 or os.clock() > until_seconds
return {cursor, scanned, found}
"""

_FIRST_LEAST_SIZE = 3
_PLACES = ", ".join(f"{kind} = {place}" for place, kind in enumerate(TYPES, _FIRST_LEAST_SIZE))
_SCRIPTS = {
    "big": _BEGIN.replace("\n", f"\nlocal places = {{{_PLACES}}}\n", 1) + _BIG + _END,
    "hot": _BEGIN + _HOT + _END,
}
_SCRIPT_SECONDS, _PAUSE_SECONDS = 0.0003, 0.0005
_REPORT_SECONDS = 0.1


class NotPrimary(CachewrightError):
    """The node is no primary, so its counters of use are not those of its shard."""


class Scanned(msgspec.Struct, frozen=True):
    """Progress of an analysis.

    :ivar keys: number of keys that were looked at.
    :ivar found: those that belong to the result so far.
    """

    keys: int
    found: tuple[FoundKey, ...]


async def eviction_policy(node: Node, access: Access) -> str:
    """Return `maxmemory-policy` of the node. Raises one of NODE_GONE or NodeRefused."""
    async with connect(node, access) as client:
        return str((await ask(client, "CONFIG GET", "maxmemory-policy"))["maxmemory-policy"])


async def analyse(
    node: Node, access: Access, subject: Subject, address: str, *, in_cluster: bool
) -> AsyncGenerator[Scanned, None]:
    """Look at all keys of the node, and yield the progress several times a second, at last the result. Raises one of
    NODE_GONE or NodeRefused, or NotPrimary if it looks for hot keys and the node is a replica at the begin or the end.

    :param address: of the primary of its shard.
    :param in_cluster: whether the node is one of a cluster, where replicas accept reads only after READONLY.
    """
    async with connect(node, access) as client:
        run_id = await run_id_of(client)
        await _prepare(client, in_cluster=in_cluster)
        if subject == "hot":
            await _require_primary(client, node)
        keys, reported = 0, time.monotonic()
        found: tuple[FoundKey, ...] = ()
        for database in await keys_by_database(client):
            await select(client, database)
            cursor = b"0"
            while True:
                begin = time.monotonic()
                limits = least_sizes(found) if subject == "big" else (least_frequency(found),)
                cursor, count, rows = await _run(client, _SCRIPTS[subject], cursor, limits)
                keys += count
                if rows:
                    found = chosen(subject, [*found, *(_found(row, database, address, subject) for row in rows)])
                if cursor == b"0":
                    break
                await asyncio.sleep(max(time.monotonic() - begin, _PAUSE_SECONDS))
                if time.monotonic() - reported > _REPORT_SECONDS:
                    yield Scanned(keys, found)
                    await renew(client, run_id)
                    await _prepare(client, in_cluster=in_cluster)
                    await select(client, database)
                    reported = time.monotonic()
        if subject == "hot":
            await _require_primary(client, node)
        yield Scanned(keys, found)


async def _prepare(client: Valkey, *, in_cluster: bool) -> None:
    await ask(client, "CLIENT", "NO-TOUCH", "ON")
    if in_cluster:
        await ask(client, "READONLY")


async def _require_primary(client: Valkey, node: Node) -> None:
    role, *_ = await ask(client, "ROLE")
    if ROLES.get(role) != "primary":
        raise NotPrimary(f"node {node.id} is not the primary of its shard any more; retry the analysis")


async def _run(client: Valkey, script: str, cursor: bytes, limits: Sequence[int]) -> tuple[bytes, int, list[Any]]:
    reply = await client.execute_command(  # type: ignore[no-untyped-call]  # as in the library
        "EVAL_RO", script, 0, cursor, _SCRIPT_SECONDS, *limits, **{NEVER_DECODE: True}
    )
    following, scanned, rows = reply
    return following, scanned, rows


def _found(row: Sequence[Any], database: int, address: str, subject: Subject) -> FoundKey:
    name, kind, size, used = row
    return FoundKey(
        name=printable(name),
        type=kind.decode(),
        database=database,
        size=size,
        address=address,
        frequency=used if subject == "hot" else None,
    )

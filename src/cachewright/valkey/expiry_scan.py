"""Scan all keys of a node, so that it deletes those that have expired.

Valkey deletes an expired key when a command accesses it, and samples the others several times a second. If many keys
expire at the same time, sampling takes a while. SCAN accesses every key.

Source: SCAN, and `expired_keys` of INFO, of Valkey 9.1.
"""

import asyncio
import time
from collections.abc import AsyncGenerator

import msgspec
from valkey.client import NEVER_DECODE
from valkey.exceptions import ConnectionError as NodeUnreachable

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import Valkey, ask, connect, connect_again

_REPORT_SECONDS = 0.1
_SHORTEST_PAUSE = 0.0005


class Scanned(msgspec.Struct, frozen=True):
    """Progress of a scan: scanned keys, and expired keys that the node has deleted meanwhile."""

    keys: int
    expired: int


async def count_keys(node: Node, access: Access) -> int:
    """Return the number of keys in all databases of the node. Raises one of NODE_GONE or NodeRefused."""
    async with connect(node, access) as client:
        return sum((await keys_by_database(client)).values())


async def scan(node: Node, access: Access, keys_at_once: int) -> AsyncGenerator[Scanned, None]:
    """Scan all keys of the node, and yield the progress several times a second. Between two steps, clients of the node
    have as much time as the step took. Raises one of NODE_GONE or NodeRefused."""
    async with connect(node, access) as client:
        run_id, before = await run_id_of(client), await _expired(client)
        keys, reported = 0, time.monotonic()
        for database in await keys_by_database(client):
            await select(client, database)
            cursor: int | None = 0
            while cursor is not None:
                begin = time.monotonic()
                following, names = await client.execute_command(  # type: ignore[no-untyped-call]  # as in the library
                    "SCAN", cursor, "COUNT", keys_at_once, **{NEVER_DECODE: True}
                )
                keys += len(names)
                cursor = int(following) or None
                await asyncio.sleep(max(time.monotonic() - begin, _SHORTEST_PAUSE))
                if time.monotonic() - reported > _REPORT_SECONDS:
                    yield Scanned(keys, await _expired(client) - before)
                    await renew(client, run_id)
                    await select(client, database)
                    reported = time.monotonic()
        yield Scanned(keys, await _expired(client) - before)


async def renew(client: Valkey, run_id: str) -> None:
    """Renew the connection of a scan if the node has closed it, as it does in a pause that is longer than its parameter
    `timeout`. Raises one of NODE_GONE, also if the node was restarted: its cursors are others then."""
    await connect_again(client)
    if await run_id_of(client) != run_id:
        raise NodeUnreachable("the node was restarted during the scan")


async def run_id_of(client: Valkey) -> str:
    """Return the id that the node has until its end."""
    return str((await client.info("server"))["run_id"])


async def select(client: Valkey, database: int) -> None:
    """Select the database of the next commands. Nodes of clusters have only the first one."""
    if database:
        await ask(client, "SELECT", database)


async def _expired(client: Valkey) -> int:
    return int((await client.info("stats"))["expired_keys"])


async def keys_by_database(client: Valkey) -> dict[int, int]:
    """Return the number of keys of each database that has any. Raises NodeRefused while the node loads its data: it
    counts no keys then."""
    await ask(client, "DBSIZE")  # refused while it loads; INFO is not
    keyspace = await client.info("keyspace")
    return {int(name.removeprefix("db")): int(found["keys"]) for name, found in keyspace.items()}

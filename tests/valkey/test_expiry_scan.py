"""A scan that makes a node delete its expired keys."""

import asyncio
from pathlib import Path

from cachewright.valkey.client import ask, connect
from cachewright.valkey.expiry_scan import Scanned, count_keys, scan
from standalone_node import OPEN, started

KEYS = 2_000


async def test_expired_keys_are_deleted_and_counted(tmp_path: Path) -> None:
    async with started(tmp_path, "enable-debug-command yes", "databases 4") as node, connect(node, OPEN) as client:
        await ask(client, "DEBUG", "SET-ACTIVE-EXPIRE", "0")  # so that the scan alone deletes them
        for database in (0, 2):
            await ask(client, "SELECT", database)
            for number in range(KEYS):
                await ask(client, "SET", f"ends:{number}", "value", "PX", "1")
            await ask(client, "SET", b"\xff\xfe", "a name that is no text")
        await asyncio.sleep(0.01)  # the time to live of the last key
        assert await count_keys(node, OPEN) == 2 * (KEYS + 1)
        steps = [progress async for progress in scan(node, OPEN, 100)]
        assert steps[-1] == Scanned(2, 2 * KEYS)
        assert [step.keys for step in steps] == sorted(step.keys for step in steps)
        assert await count_keys(node, OPEN) == 2

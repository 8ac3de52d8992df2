"""Analyses of the keys of a node: the biggest, and those that are used most."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from cachewright.model.key_analyses import MOST_OF_TYPE, Subject
from cachewright.valkey import expiry_scan, key_analysis
from cachewright.valkey.client import ask, connect
from cachewright.valkey.expiry_scan import scan
from cachewright.valkey.key_analysis import NotPrimary, Scanned, analyse, eviction_policy
from standalone_node import OPEN, started

KEYS = 3_000
BINARY = b"\xff\n"


async def test_the_biggest_and_the_most_used_keys_are_found_and_nothing_is_touched(tmp_path: Path) -> None:
    counting = ("maxmemory-policy allkeys-lfu", "lfu-decay-time 0", "databases 4")
    async with started(tmp_path, *counting) as node, connect(node, OPEN) as client:
        for database in (0, 2):
            pipe = client.pipeline(transaction=False)
            pipe.execute_command("SELECT", database)
            for number in range(KEYS):
                pipe.set(f"small:{number}", "value")
            for number in range(1, MOST_OF_TYPE + 6):
                pipe.rpush(f"list:{number}", *range(number))
            await pipe.execute()
        await ask(client, "SELECT", 2)
        await ask(client, "SET", BINARY, "x" * 5_000)
        await ask(client, "HSET", "hash", *range(500))
        await ask(client, "XADD", "stream", "*", "field", "value")
        for _ in range(300):
            await ask(client, "GET", BINARY)
        used = await ask(client, "OBJECT", "FREQ", "small:1")

        async def last(subject: Subject) -> Scanned:
            steps = [step async for step in analyse(node, OPEN, subject, "a:1", in_cluster=False)]
            assert [step.keys for step in steps] == sorted(step.keys for step in steps)
            assert steps[-1].keys == 2 * (KEYS + MOST_OF_TYPE + 5) + 3
            return steps[-1]

        big = (await last("big")).found
        assert [(key.type, key.size, key.database) for key in big if key.type in {"hash", "stream"}] == [
            ("hash", 250, 2),
            ("stream", 1, 2),
        ]
        strings = [key for key in big if key.type == "string"]
        assert (strings[0].name, strings[0].size, len(strings)) == (r"\xff\x0a", 5_000, MOST_OF_TYPE)
        lists = [(key.size, key.database) for key in big if key.type == "list"]
        assert sorted(lists) == [(size, database) for size in range(16, 26) for database in (0, 2)]

        hot = (await last("hot")).found
        assert hot[0].name == r"\xff\x0a"
        assert hot[0].frequency is not None
        assert hot[0].frequency > 5
        assert await ask(client, "OBJECT", "FREQ", "small:1") == used
        await ask(client, "CONFIG SET", "maxmemory-policy", "noeviction")
        assert await eviction_policy(node, OPEN) == "noeviction"


async def test_an_analysis_continues_over_a_new_connection_and_ends_at_a_replica(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (key_analysis, expiry_scan):
        monkeypatch.setattr(module, "_REPORT_SECONDS", 0.0)  # a report after each step
    async with started(tmp_path, "maxmemory-policy allkeys-lfu", "databases 4") as node, connect(node, OPEN) as client:
        for database in (0, 2):
            pipe = client.pipeline(transaction=False)
            pipe.execute_command("SELECT", database)
            for number in range(KEYS):
                pipe.set(f"small:{number}", "value")
            await pipe.execute()
        for end, size in (("a", 5_000), ("b", 7), ("c", 6_000)):
            await ask(client, "SET", "l" * 600 + end, "x" * size)

        async def last(looking: AsyncGenerator[Any, None]) -> Any:
            """The result of a scan whose connection is closed at each report, as `timeout` does in a long pause."""
            steps = []
            async for step in looking:
                await ask(client, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                steps.append(step)
            return steps[-1]

        assert (await last(scan(node, OPEN, 1000))).keys == 2 * KEYS + 3
        big = await last(analyse(node, OPEN, "big", "a:1", in_cluster=False))
        assert big.keys == 2 * KEYS + 3
        long = [key for key in big.found if key.name.startswith("l")]
        assert [(key.name[:515], key.size, key.database) for key in long] == [
            ("l" * 512 + "...", size, 2) for size in (6_000, 5_000, 7)
        ]
        assert len({key.name for key in long}) == 3

        looking = analyse(node, OPEN, "hot", "a:1", in_cluster=False)
        await anext(looking)
        await ask(client, "REPLICAOF", "127.0.0.1", 1)
        with pytest.raises(NotPrimary):
            _ = [step async for step in looking]
        with pytest.raises(NotPrimary):
            await anext(analyse(node, OPEN, "hot", "a:1", in_cluster=False))

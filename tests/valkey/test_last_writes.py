"""A node of a cluster takes the data of a primary outside of any cluster, without a write that it lacks."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cachewright.config import Settings
from cachewright.hosts.local import LocalHost
from cachewright.model.instances import Node
from cachewright.valkey import cluster_membership
from cachewright.valkey.client import ANSWER_SECONDS, Valkey, ask, connect
from cachewright.valkey.config import is_behind, nodes_conf_behind
from cachewright.valkey.last_writes import (
    PAUSE_SECONDS,
    NotTheSame,
    Pause,
    difference_of,
    has_applied,
    other_databases,
    writes_paused,
)
from cachewright.valkey.membership_file import NODES_CONF
from cachewright.valkey.replication import replication_of
from cachewright.valkey.single_request import info
from cachewright.valkey.topology import ask_view
from standalone_node import OPEN, node_at, started

_LIBRARY = "#!lua name=own\nserver.register_function('hello', function() return 'hello' end)"
_WRITE_TWO = "redis.call('SET', KEYS[1], 1) redis.call('SET', KEYS[2], 2)"


@asynccontextmanager
async def pair(folder: Path) -> AsyncIterator[tuple[Node, Node]]:
    """A primary, and a node of a cluster that replicates it."""
    async with started(
        folder / "primary", "appendonly yes", "save ''", "enable-debug-command yes", "databases 16"
    ) as primary:
        async with connect(primary, OPEN) as client:
            await fill(client)
        host = LocalHost(Settings(data_dir=folder / "replica"))
        text = nodes_conf_behind(node_at(1), primary)
        await host.write_files(node_at(1).id, {NODES_CONF: text})
        lines = (
            "cluster-enabled yes",
            "enable-debug-command yes",
            "appendonly yes",
            "save ''",
            "cluster-require-full-coverage no",
        )
        async with started(folder / "replica", *lines) as replica:
            await until_in_sync(replica)
            assert is_behind(await host.read_file(replica.id, NODES_CONF), replica, primary)
            assert not is_behind(text, replica, replica)
            yield primary, replica


async def until_in_sync(replica: Node) -> None:
    while not (await replication_of(replica, OPEN)).is_linked:
        await asyncio.sleep(0.02)


async def fill(client: Valkey) -> None:
    """Keys of every kind, in all slots."""
    for start in range(0, 20_000, 1000):
        await client.mset({f"key:{number}": number for number in range(start, start + 1000)})
    await client.set("expiring", 1, ex=1000)
    await client.set("expired", 1, px=1)
    await client.hset("hash", mapping={"field": 1, "other": 2})
    await ask(client, "HEXPIRE", "hash", 1000, "FIELDS", 1, "field")
    await client.xadd("stream", {"field": 1})
    await client.xgroup_create("stream", "group", id="0")
    await client.xreadgroup("group", "consumer", {"stream": ">"})
    await ask(client, "FUNCTION", "LOAD", _LIBRARY)


async def write_on(client: Valkey) -> None:
    """Writes that concern keys of several slots, which a cluster would refuse from a client."""
    await client.mset({f"later:{number}": number for number in range(500)})
    await client.eval(_WRITE_TWO, 2, "by script", "by script too")
    async with client.pipeline(transaction=True) as transaction:
        transaction.set("in transaction", 1).set("in transaction too", 2).rename("key:1", "renamed")
        await transaction.execute()
    await client.rpush("list", 1, 2, 3)
    await client.lmove("list", "other list")


def test_the_node_has_everything_and_serves_it_as_a_cluster(tmp_path: Path) -> None:
    async def replace() -> None:
        async with pair(tmp_path) as (primary, replica):
            async with connect(primary, OPEN) as client, connect(replica, OPEN) as other:
                await write_on(client)
                async with writes_paused(primary, OPEN) as pause:
                    held = asyncio.create_task(late_write(primary))
                    await pause.until_applied_by(replica, OPEN)
                    assert await ask(client, "DEBUG", "DIGEST") == await ask(other, "DEBUG", "DIGEST")
                    pause.require_unfinished()
                    assert not held.done(), "a write was acknowledged in the pause"
                    assert pause.seconds < PAUSE_SECONDS
                await held
                keys = await client.dbsize()
            await cluster_membership.replace_placeholder(replica, OPEN, founding=True)
            view = await ask_view(replica, OPEN)
            assert (view.is_whole, list(view.members)) == (True, [replica.id])
            async with connect(replica, OPEN) as client:
                counts = [await ask(client, "CLUSTER", "COUNTKEYSINSLOT", slot) for slot in range(16384)]
                assert sum(counts) == await client.dbsize() == keys
                assert await client.get("renamed") == "1"
                assert 900 < await client.ttl("expiring") <= 1000
                assert await ask(client, "HTTL", "hash", "FIELDS", 1, "field") > [900]
                assert (await client.xpending("stream", "group"))["pending"] == 1
                assert await ask(client, "FCALL", "hello", 0) == "hello"

    asyncio.run(replace())


async def late_write(node: Node) -> None:
    async with connect(node, OPEN) as client:
        await client.set("late", 1)


def test_a_write_in_another_database_is_noticed_also_if_it_is_gone(tmp_path: Path) -> None:
    """The node of a cluster would apply it in database 0."""

    async def attempt() -> None:
        async with pair(tmp_path) as (primary, replica):
            async with connect(primary, OPEN) as client:
                await ask(client, "SELECT", 3)
                await client.set("key", "value")
                said = await info(primary, OPEN, ("keyspace",), ANSWER_SECONDS)
                assert other_databases(said) == "a cluster has database 0 alone, but database 3 has 1 keys"
                await client.delete("key")
            async with writes_paused(primary, OPEN) as pause:
                with pytest.raises(NotTheSame, match="another database"):
                    await pause.until_applied_by(replica, OPEN)
            async with connect(primary, OPEN) as client:
                await client.set("key", "the pause has ended")

    asyncio.run(attempt())


@pytest.mark.unit
@pytest.mark.parametrize(
    ("follower", "primary", "difference"),
    [
        ({"db0": "keys=2,expires=0"}, {"db0": "keys=2,expires=1"}, None),
        ({}, {}, None),
        ({"db0": "keys=1"}, {"db0": "keys=2"}, "the primary has 2 keys, the new node 1"),
        ({"db0": "keys=2"}, {"db0": "keys=2", "db7": "keys=1"}, "database 7 has 1 keys"),
        ({"db0": "keys=2", "unexpected_error_replies": "1"}, {"db0": "keys=2"}, "another database"),
    ],
)
def test_difference(follower: dict[str, Any], primary: dict[str, Any], difference: str | None) -> None:
    found = difference_of(follower, primary)
    assert found == difference if difference is None else difference in str(found)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, True),
        ({"slave_repl_offset": "9"}, False),
        ({"master_link_status": "down"}, False),
        ({"role": "master"}, False),
        ({"master_replid": "of another history"}, False),
        ({"aof_rewrite_in_progress": "1"}, False),
        ({"aof_rewrite_scheduled": "1"}, False),
    ],
)
def test_what_a_follower_has_applied(changed: dict[str, str], expected: bool) -> None:
    primary = {"role": "master", "master_replid": "x", "master_repl_offset": "10"}
    saved = {"aof_rewrite_in_progress": "0", "aof_rewrite_scheduled": "0"}
    follower = {"role": "slave", "master_link_status": "up", "master_replid": "x", "slave_repl_offset": "10", **saved}
    assert has_applied({**follower, **changed}, primary) is expected


@pytest.mark.unit
def test_a_pause_has_ended_when_the_clock_of_the_system_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pause, now = Pause(None), time.time()  # type: ignore[arg-type]  # it sends nothing
    pause.require_unfinished()
    monkeypatch.setattr(time, "time", lambda: now + PAUSE_SECONDS)
    with pytest.raises(TimeoutError):
        pause.require_unfinished()

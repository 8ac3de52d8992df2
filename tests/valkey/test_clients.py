"""Who else talks to a real node."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from valkey.asyncio import Valkey

from cachewright.store.records import Node
from cachewright.valkey.client import ask, connect
from cachewright.valkey.clients import custom, heartbeat
from lone import started


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with started(tmp_path, "enable-debug-command local") as found:
        yield found


async def test_the_control_plane_is_no_client(node: Node) -> None:
    async with connect(node, None) as own, connect(node, None) as another:
        await another.ping()
        before = await custom(own)
        await another.info()
        after = await custom(own)
    assert (before.connected, after.connected) == (0, 0)
    assert after.calls == before.calls


async def test_clients_and_their_commands_are_counted(node: Node) -> None:
    async with connect(node, None) as own, Valkey(host=node.host, port=node.port) as client:
        await client.set("key", 1)
        before = await custom(own)
        await client.get("key")
        after = await custom(own)
    assert before.connected == after.connected == 1
    assert after.calls == before.calls + 1


async def test_a_heartbeat_feels_how_long_a_node_does_not_answer(node: Node) -> None:
    async with connect(node, None) as own, heartbeat(node, None) as pulse:
        await asyncio.sleep(0.05)
        await ask(own, "DEBUG", "SLEEP", "0.2")
        await asyncio.sleep(0.05)
    assert 0.1 < pulse.longest < 5

"""Connections of the control plane to nodes."""

import asyncio
from pathlib import Path

import pytest

from cachewright.concurrency import end_tasks
from cachewright.valkey.client import Valkey, ask, connect
from standalone_node import OPEN, started


async def test_a_connection_closes_if_its_user_is_cancelled_meanwhile(tmp_path: Path) -> None:
    async with started(tmp_path) as node, connect(node, OPEN) as other:
        used: list[Valkey] = []
        ready = asyncio.Event()

        async def use() -> None:
            async with connect(node, OPEN) as client:
                await client.ping()
                used.append(client)
                ready.set()

        user = asyncio.create_task(use())
        await ready.wait()
        user.cancel()
        with pytest.raises(asyncio.CancelledError):
            await user
        async with asyncio.timeout(10):
            while len(await ask(other, "CLIENT LIST")) > 1:
                await asyncio.sleep(0.01)
        assert used, "the client that was used is still there, so garbage collection has not closed it"


async def test_a_cancellation_that_arrives_with_a_reply_takes_effect(tmp_path: Path) -> None:
    """The client library drops it in `asyncio.wait_for` of Python 3.11. It is sent in every iteration of the event loop
    during a command."""

    async def ping_without_end(client: Valkey) -> None:
        while True:
            await client.ping()

    dropped = []
    async with started(tmp_path) as node, connect(node, OPEN) as client:
        for iterations in range(100):
            pinging = asyncio.create_task(ping_without_end(client))
            for _ in range(iterations):
                await asyncio.sleep(0)
            pinging.cancel()
            if not (await asyncio.wait({pinging}, timeout=0.2))[0]:
                dropped.append(iterations)
                await end_tasks(pinging)
    assert dropped == []

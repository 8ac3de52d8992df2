"""A primary that is busy during a move keeps its role: real nodes, one of which stalls."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from bench.nodes import BareCluster, client_of

from cachewright.config import Settings
from cachewright.hosts.local import LocalHost
from cachewright.model.instances import Node
from cachewright.operations.slot_moves.failover_delay import LONG_TIMEOUT_MS, delayed_failover
from cachewright.valkey.access import Access
from cachewright.valkey.client import ask, connect
from cachewright.valkey.config import CLUSTER_NODE_TIMEOUT_MS

ACCESS = Access("", None, Path())
STALL_SECONDS = 6
"""Processor time, more than `cluster-node-timeout`."""
BUSY = "local t = os.clock() + tonumber(ARGV[1]); while os.clock() < t do end"


@pytest.fixture
def cluster() -> Iterator[BareCluster]:
    with BareCluster(masters=3, replicas=1) as made:
        for node in made.nodes:
            with client_of(node) as client:
                client.execute_command("CONFIG SET", "busy-reply-threshold", 60_000)
        yield made


@pytest.fixture
def host(cluster: BareCluster) -> LocalHost:
    return LocalHost(Settings(data_dir=cluster.root))


async def test_a_busy_primary_is_not_replaced(cluster: BareCluster, host: LocalHost) -> None:
    busy, other = [node for node in cluster.nodes if node.role == "primary"][:2]
    replica = next(node for node in cluster.nodes if node.shard == busy.shard and node.role == "replica")
    async with delayed_failover((other, busy), cluster.nodes, ACCESS, host), stalled(busy):
        await until(lambda: has_timeout(other, LONG_TIMEOUT_MS))
    assert (await role(busy), await role(replica)) == ("master", "slave")
    for node in cluster.nodes:
        assert await has_timeout(node, CLUSTER_NODE_TIMEOUT_MS)


async def test_a_primary_that_is_gone_or_suspended_is_replaced_as_usual(cluster: BareCluster, host: LocalHost) -> None:
    suspended, killed, other = [node for node in cluster.nodes if node.role == "primary"]
    first, second = await process_id(host, suspended), await process_id(host, killed)
    async with delayed_failover((suspended, killed), cluster.nodes, ACCESS, host):
        os.kill(first, signal.SIGSTOP)
        await until(lambda: has_stopped(host, suspended))
        await asyncio.sleep(3)
        assert await has_timeout(other, CLUSTER_NODE_TIMEOUT_MS)
        os.kill(first, signal.SIGCONT)
        os.kill(second, signal.SIGKILL)
        await until(lambda: has_stopped(host, killed))
        await asyncio.sleep(1)
        assert await has_timeout(other, CLUSTER_NODE_TIMEOUT_MS)


async def test_a_longer_wait_that_an_ended_server_left_behind_is_reset(cluster: BareCluster, host: LocalHost) -> None:
    for node in cluster.nodes:
        async with connect(node, ACCESS) as client:
            await ask(client, "CONFIG SET", "cluster-node-timeout", LONG_TIMEOUT_MS)
    async with delayed_failover(cluster.nodes[:1], cluster.nodes, ACCESS, host):
        await until(lambda: has_timeout(cluster.nodes[-1], CLUSTER_NODE_TIMEOUT_MS))


@asynccontextmanager
async def stalled(node: Node) -> AsyncIterator[None]:
    """Keep the node from answering anybody until the end of the block."""

    async def work() -> None:
        async with connect(node, ACCESS, answer_seconds=60) as client:
            await ask(client, "EVAL", BUSY, 0, STALL_SECONDS)

    working = asyncio.create_task(work())
    yield
    await working


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.05)


async def has_timeout(node: Node, milliseconds: int) -> bool:
    async with connect(node, ACCESS) as client:
        return (await client.config_get("cluster-node-timeout"))["cluster-node-timeout"] == str(milliseconds)


async def has_stopped(host: LocalHost, node: Node) -> bool:
    """A process stops, or ends, a moment after its signal has been sent."""
    return not await host.is_running(node.id)


async def role(node: Node) -> str:
    async with connect(node, ACCESS) as client:
        return str((await ask(client, "ROLE"))[0])


async def process_id(host: LocalHost, node: Node) -> int:
    process = await host.process(node.id)
    assert process is not None
    return process.pid

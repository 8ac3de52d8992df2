"""Who else talks to a real node."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from valkey.asyncio import Valkey

from cachewright.model.instances import Node
from cachewright.valkey.client import ask, connect
from cachewright.valkey.client_activity import client_activity
from cachewright.valkey.migration.latency_probe import LatencyProbe, probe_latency
from standalone_node import OPEN, started


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with started(tmp_path, "enable-debug-command local") as found:
        yield found


async def test_the_control_plane_is_no_client(node: Node) -> None:
    async with connect(node, OPEN) as own, connect(node, OPEN) as another:
        await another.ping()
        before = await client_activity(own)
        await another.info()
        after = await client_activity(own)
    assert (before.connected, after.connected) == (0, 0)
    assert after.calls == before.calls


async def test_clients_and_their_commands_are_counted(node: Node) -> None:
    async with connect(node, OPEN) as own, Valkey(host=node.host, port=node.port) as client:
        await client.set("key", 1)
        before = await client_activity(own)
        await client.get("key")
        after = await client_activity(own)
    assert before.connected == after.connected == 1
    assert after.calls == before.calls + 1


async def test_a_heartbeat_feels_how_long_a_node_does_not_answer(node: Node) -> None:
    async with connect(node, OPEN) as own, probe_latency(node, OPEN) as probe:
        await asyncio.sleep(0.05)
        await ask(own, "DEBUG", "SLEEP", "0.2")
        await asyncio.sleep(0.05)
    assert 0.1 < probe.longest < 5


@given(fast=st.integers(0, 500), slow=st.integers(0, 20))
def test_slow_requests_fit_the_budget_of_two_hundred_times_as_many(fast: int, slow: int) -> None:
    probe = LatencyProbe()
    probe.latencies = [0.001] * fast + [0.05] * slow
    probe.stop()
    missing = max(0, 200 * slow - len(probe.latencies))
    assert probe.is_within_budget(0.01, probe.ended_at + missing * 0.01 + 0.001)
    assert probe.is_within_budget(0.1, probe.ended_at)
    if missing > 1:
        assert not probe.is_within_budget(0.01, probe.ended_at + (missing - 1) * 0.01)


async def test_no_probe_is_within_budget_while_it_runs(node: Node) -> None:
    async with probe_latency(node, OPEN) as probe:
        await asyncio.sleep(0.05)
        assert not probe.is_within_budget(1.0, time.monotonic())
    assert probe.is_within_budget(1.0, time.monotonic())

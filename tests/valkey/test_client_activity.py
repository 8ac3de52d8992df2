"""Who else talks to a real node."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from valkey.asyncio import Valkey

from cachewright.model.instances import Node
from cachewright.valkey.client import ask, connect
from cachewright.valkey.client_activity import ClientActivity, client_activity, growth
from cachewright.valkey.migration.latency_probe import LatencyProbe, LatencyProbes, held_by_pauses
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
    assert after.calls_since(before) == 0


async def test_a_connection_is_no_client_before_its_first_command(node: Node) -> None:
    """The control plane has no user before it has signed in: another of its connections must not look like a client."""
    async with connect(node, OPEN) as own:
        reader, writer = await asyncio.open_connection(node.host, node.port)
        await own.ping()
        assert len(await ask(own, "CLIENT LIST", "TYPE", "normal")) == 2
        assert (await client_activity(own)).connected == 0
        writer.write(b"PING\r\n")
        await reader.readline()
        assert (await client_activity(own)).connected == 1
        writer.close()
        await writer.wait_closed()


async def test_clients_and_their_commands_are_counted(node: Node) -> None:
    async with connect(node, OPEN) as own, Valkey(host=node.host, port=node.port) as client:
        await client.set("key", 1)
        before = await client_activity(own)
        await client.get("key")
        after = await client_activity(own)
    assert before.connected == after.connected == 1
    assert after.calls_since(before) == 1


async def test_clients_that_leave_at_once_are_counted(node: Node) -> None:
    async with connect(node, OPEN) as own:
        before = await client_activity(own)
        async with Valkey(host=node.host, port=node.port) as client:
            await client.set("key", 1)
        after = await client_activity(own)
    assert after.connected == 0
    assert after.calls_since(before) >= 1


async def test_clients_that_call_only_scripts_are_counted(node: Node) -> None:
    async with connect(node, OPEN) as own, Valkey(host=node.host, port=node.port) as client:
        await client.ping()
        before = await client_activity(own)
        for _ in range(20):
            await client.eval("return 1", 0)
        after = await client_activity(own)
    assert after.calls_since(before) == 20


async def test_a_reset_of_the_statistics_does_not_make_clients_look_idle(node: Node) -> None:
    async with connect(node, OPEN) as own, Valkey(host=node.host, port=node.port) as client:
        for _ in range(200):
            await client.set("key", 1)
        before = await client_activity(own)
        await own.config_resetstat()
        for _ in range(30):
            await client.set("key", 1)
        after = await client_activity(own)
    assert after.calls_since(before) >= 30


@given(st.lists(st.tuples(st.integers(0, 1000), st.booleans()), min_size=1))
def test_growth_of_a_counter_that_restarts_is_its_new_value(steps: list[tuple[int, bool]]) -> None:
    shown, counted, before = 0, 0, 0
    lost = 0
    for calls, restarts in steps:
        if restarts:
            shown = 0
        shown += calls
        grown = growth({"set": before}, {"set": shown})
        lost += before if restarts and shown >= before else 0
        counted, before = counted + grown, shown
        assert 0 <= grown <= calls
    assert counted + lost == sum(calls for calls, _ in steps)


@given(
    st.dictionaries(st.text(max_size=3), st.integers(0, 99)), st.dictionaries(st.text(max_size=3), st.integers(0, 99))
)
def test_activity_is_never_negative(before: dict[str, int], after: dict[str, int]) -> None:
    earlier = ClientActivity(at=0, connected=1, calls=before, sent=before)
    assert ClientActivity(at=1, connected=1, calls=after, sent={}).calls_since(earlier) >= 0


async def stall(own: Valkey, until: Callable[[], bool]) -> None:
    """Let the node answer nobody for a while, until the probe has noticed it: a busy machine may let the probe send
    nothing meanwhile."""
    async with asyncio.timeout(60):
        while not until():
            await ask(own, "DEBUG", "SLEEP", "0.2")
            await asyncio.sleep(0.1)


async def test_a_probe_measures_a_pause_of_writes(node: Node) -> None:
    probes = LatencyProbes()
    async with connect(node, OPEN) as own, probes.probe(node, OPEN) as probe:
        while probe.longest < 0.2:  # a busy machine may let the probe send nothing during a pause
            await own.client_pause(300, all=False)
            await own.ping()  # reads go on
            await asyncio.sleep(0.5)
    assert probe.longest < 60


async def test_a_probe_continues_after_its_batch(node: Node) -> None:
    probes = LatencyProbes()
    async with connect(node, OPEN) as own:
        async with probes.probe(node, OPEN) as probe:
            await asyncio.sleep(0.05)
        await stall(own, lambda: probe.longest > 0.1)
        async with probes.probe(node, OPEN) as same:
            assert same is probe
            assert same.longest < 0.1, "a new batch begins without the latency of the last one"


async def test_the_request_of_a_probe_changes_nothing(node: Node) -> None:
    async with connect(node, OPEN) as own:
        before = await own.info("persistence")
        await held_by_pauses(own)
        after = await own.info("persistence")
        assert await own.dbsize() == 0
    assert after["rdb_changes_since_last_save"] == before["rdb_changes_since_last_save"]


async def test_a_probe_measures_how_long_a_node_does_not_answer(node: Node) -> None:
    async with connect(node, OPEN) as own, LatencyProbes().probe(node, OPEN) as probe:
        await stall(own, lambda: probe.longest > 0.1)
    assert probe.longest < 60


@given(fast=st.integers(0, 500), slow=st.integers(0, 20))
def test_slow_requests_fit_the_budget_of_two_hundred_times_as_many(fast: int, slow: int) -> None:
    probe = LatencyProbe()
    probe.latencies = [0.001] * fast + [0.05] * slow
    probe.stop()
    missing = max(0, 200 * slow - len(probe.latencies))
    assert probe.is_within_budget(0.01, probe.ended_at + missing * 0.005 + 0.001)
    assert probe.is_within_budget(0.1, probe.ended_at)
    if missing > 1:
        assert not probe.is_within_budget(0.01, probe.ended_at + (missing - 1) * 0.005)


async def test_a_running_probe_has_a_budget_of_its_own_requests(node: Node) -> None:
    async with connect(node, OPEN) as own, LatencyProbes().probe(node, OPEN) as probe:
        await asyncio.sleep(0.1)
        assert probe.is_within_budget(60.0, time.monotonic())
        await stall(own, lambda: not probe.is_within_budget(0.05, time.monotonic()))

"""Probes of the latency of a node: real nodes without a server."""

import asyncio
from collections.abc import Iterator

import msgspec
import pytest
from bench.nodes import BareCluster

from cachewright.model.instances import Node
from cachewright.valkey.migration.latency_probe import LatencyProbe, LatencyProbes
from standalone_node import OPEN


@pytest.fixture
def node() -> Iterator[Node]:
    with BareCluster(masters=1) as cluster:
        yield cluster.nodes[0]


def test_a_probe_without_requests_or_that_has_ended_has_measured_nothing() -> None:
    probe = LatencyProbe()
    assert not probe.has_measured
    probe.latencies.append(0.001)
    assert probe.has_measured
    probe.stop()
    assert not probe.has_measured


async def has_measured(probe: LatencyProbe) -> None:
    async with asyncio.timeout(60):
        while not probe.has_measured:
            await asyncio.sleep(0.02)


async def test_a_batch_that_follows_the_end_of_a_probe_has_its_own(node: Node) -> None:
    probes = LatencyProbes()
    async with probes.probe(node, OPEN) as first:
        await has_measured(first)
    async with probes.probe(node, OPEN) as second:
        assert second is first
        await has_measured(second)
    first.stop()  # its task has not ended yet
    async with probes.probe(node, OPEN) as third:
        assert third is not first
        await has_measured(third)


async def test_a_batch_on_a_node_that_does_not_answer_has_measured_nothing(node: Node) -> None:
    gone = msgspec.structs.replace(node, port=1)
    async with LatencyProbes().probe(gone, OPEN) as probe:
        async with asyncio.timeout(60):
            while not probe.has_ended:
                await asyncio.sleep(0.02)
        assert not probe.has_measured


async def test_a_node_that_was_forgotten_can_be_probed_again_and_leaves_nothing(node: Node) -> None:
    probes = LatencyProbes()
    async with probes.probe(node, OPEN) as first:
        await has_measured(first)
    probes.forget(node.id)  # the task of the first probe has not ended yet
    async with probes.probe(node, OPEN) as second:
        await has_measured(second)
    probes.forget(node.id)
    assert first.has_ended
    assert second.has_ended
    async with asyncio.timeout(60):
        while probes._running or probes._stops or probes._probes:
            await asyncio.sleep(0.02)

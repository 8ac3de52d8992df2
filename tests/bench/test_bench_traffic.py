"""Errors and lost writes as the benchmark's clients record them."""

import time
from collections.abc import Iterator

import pytest
from bench.nodes import BareCluster, client_of, until
from bench.traffic import TrafficClients, TrafficSpec
from valkey import Valkey


@pytest.fixture(scope="module")
def cluster() -> Iterator[BareCluster]:
    with BareCluster(masters=1) as started:
        yield started


def until_increments(node: Valkey, more: int) -> None:
    """Wait until the clients have incremented this often."""
    before = increments(node)
    until(lambda: increments(node) >= before + more)


def increments(node: Valkey) -> int:
    return int(node.info("commandstats").get("cmdstat_incr", {"calls": 0})["calls"])


def test_clients_of_a_healthy_node_see_nothing(cluster: BareCluster) -> None:
    begin = time.monotonic()
    with TrafficClients(TrafficSpec(seed=cluster.seed)) as clients, client_of(cluster.nodes[0]) as node:
        until_increments(node, 100)
        calls = clients.stop()
    assert (calls.errors, calls.lost) == ([], [])
    assert calls.acknowledged
    felt = calls.within(begin, time.monotonic())
    assert felt.longest_ms == max(felt.longest_read_ms, felt.longest_write_ms) > 0


def test_an_error_has_its_text_and_its_moment(cluster: BareCluster) -> None:
    with TrafficClients(TrafficSpec(seed=cluster.seed)) as clients, client_of(cluster.nodes[0]) as node:
        begin = time.monotonic()
        node.config_set("maxmemory", 1)
        until(lambda: node.info("errorstats").get("errorstat_OOM", {"count": 0})["count"])
        node.config_set("maxmemory", 0)
        calls = clients.stop()
    assert calls.errors
    assert all("INCR caller:" in error.message and "OOM" in error.message for error in calls.errors)
    assert all(begin <= error.at <= time.monotonic() for error in calls.errors)


def test_a_lost_write_is_counted(cluster: BareCluster) -> None:
    with TrafficClients(TrafficSpec(seed=cluster.seed)) as clients, client_of(cluster.nodes[0]) as node:
        until_increments(node, 400)
        node.flushall()
        until_increments(node, 400)
        calls = clients.stop()
    assert calls.lost
    assert "was acknowledged" in calls.lost[0].message

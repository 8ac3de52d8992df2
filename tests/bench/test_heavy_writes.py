"""Clients of the benchmarks that replace large values."""

from collections.abc import Iterator

import pytest
from bench.heavy_writes import HeavyWrites, HeavyWritesSpec
from bench.nodes import BareCluster, Job, client_of, until

from cachewright.valkey.slots import SlotRange

KEYS = 200


@pytest.fixture(scope="module")
def cluster() -> Iterator[BareCluster]:
    with BareCluster(masters=1, empty=1) as started:
        yield started


def writes(cluster: BareCluster, number: int) -> int:
    """SET commands that a node has executed."""
    with client_of(cluster.nodes[number]) as client:
        return int(client.info("commandstats").get("cmdstat_set", {"calls": 0})["calls"])


def test_values_are_replaced_at_their_owner(cluster: BareCluster) -> None:
    moving = SlotRange(0, 99)
    spec = HeavyWritesSpec(seed=cluster.seed, slots=(moving,), keys=KEYS, per_second=2000)
    with HeavyWrites(spec), client_of(cluster.nodes[0]) as source, client_of(cluster.nodes[1]) as target:
        assert source.dbsize() == KEYS
        until(lambda: writes(cluster, 0) > 3 * KEYS)
        assert source.dbsize() == KEYS
        assert target.dbsize() == 0
        cluster.migrate([Job(cluster.nodes[0], cluster.nodes[1], moving)])
        before = writes(cluster, 1)
        until(lambda: writes(cluster, 1) > before + 3 * KEYS)
        assert target.dbsize() == KEYS

"""Moves between nodes without a server."""

import asyncio
from collections.abc import Iterator

import psutil
import pytest
from bench.nodes import BareCluster, client_of

from cachewright.model.instances import Node
from cachewright.valkey.migration.jobs import jobs_in
from cachewright.valkey.migration.mover import Move, Mover, Next
from cachewright.valkey.migration.range_size import RangeSize
from cachewright.valkey.migration.source_state import MigrationState
from cachewright.valkey.migration.transfer import Transfer, TransferProgress
from cachewright.valkey.slots import SLOTS, SlotRange
from migration_control import Unhindered
from serving import freeze, thaw
from standalone_node import OPEN

FIRST, SECOND = SlotRange(0, 4095), SlotRange(4096, 8191)


@pytest.fixture
def cluster() -> Iterator[BareCluster]:
    with BareCluster(masters=1, empty=2) as nodes:
        yield nodes


def move(source: Node, target: Node, after: Node) -> Transfer:
    """The first range, with the second behind it."""
    said: list[Transfer] = []
    move = Move(
        source=source,
        target=target,
        part=FIRST,
        access=OPEN,
        size=RangeSize(keys=0, bytes_per_key=100.0),
        control=Unhindered(),
        stalled_seconds=30,
        state=MigrationState(cpus=2),
        following=Next(after, SECOND, RangeSize(keys=0, bytes_per_key=100.0), lambda _: None),
    )
    asyncio.run(Mover(move).ensure(said.append))
    return said[-1]


def exports(source: Node) -> set[str]:
    with client_of(source) as client:
        return {job.target_node for job in jobs_in(client.execute_command("CLUSTER GETSLOTMIGRATIONS"))}


def process_of(node: Node) -> psutil.Process:
    with client_of(node) as client:
        return psutil.Process(client.info("server")["process_id"])


def test_what_comes_next_is_begun_with_what_comes_first(cluster: BareCluster) -> None:
    source, target, after = cluster.nodes
    assert move(source, target, after).full == "finished"
    assert exports(source) == {target.id, after.id}


def test_what_comes_next_is_not_begun_towards_a_node_that_does_not_answer(cluster: BareCluster) -> None:
    source, target, after = cluster.nodes
    frozen = process_of(after)
    freeze(frozen)
    try:
        assert move(source, target, after).full == "finished"
        assert exports(source) == {target.id}
    finally:
        thaw(frozen)
    cluster.settle()
    assert sum(len(part) for parts in cluster.owned().values() for part in parts) == SLOTS


def test_bytes_of_two_ranges_are_told_apart_though_the_second_is_on_its_way() -> None:
    progress = TransferProgress({0: 300}, RangeSize(keys=300, bytes_per_key=100.0), 1_000)
    assert progress.split_at(5_000, 300, 0) == 5_000
    assert progress.split_at(5_000, 300, 100) == 4_000
    assert progress.split_at(5_000, 0, 100) == 1_000

"""Slots that move key by key, between nodes without a server."""

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest
from bench.nodes import BareCluster, client_of
from valkey.cluster import ValkeyCluster

from cachewright.valkey.client import NodeBusy
from cachewright.valkey.migration.failure import MigrationFailed
from cachewright.valkey.migration.mover import Move, Mover
from cachewright.valkey.migration.range_size import RangeSize
from cachewright.valkey.migration.source_state import MigrationState
from cachewright.valkey.slots import SlotRange
from key_moves import (
    Gentle,
    arrived,
    complete,
    filled_cluster,
    in_part,
    move,
    name_in_part,
    on,
    opened,
    process_of,
    values_of,
)
from serving import freeze, thaw, until
from standalone_node import OPEN


@pytest.fixture
def cluster() -> Iterator[BareCluster]:
    with filled_cluster() as filled:
        yield filled


def test_a_range_moves_without_a_fork_and_keeps_every_key(cluster: BareCluster) -> None:
    moved = in_part(cluster)
    reports = move(cluster, Gentle())
    source, target = cluster.nodes
    assert (reports[-1].keys, reports[-1].full, reports[-1].share) == (len(moved), "finished", 1.0)
    assert reports[-1].bytes > 10 * len(moved)
    assert on(source, "INFO", "stats")["total_forks"] == 0
    assert arrived(cluster) == len(moved)
    assert opened(source) == opened(target) == set()
    assert values_of(cluster, moved) == {number: f"value {number}" for number in moved}


def test_binary_keys_and_times_to_live_are_kept(cluster: BareCluster) -> None:
    source = cluster.nodes[0]
    tag = name_in_part(cluster).encode()
    keys = [tag + bytes([0, 255, 13, 10]), tag + "\u00e9 \n".encode(), tag]
    with client_of(source) as client:
        for key in keys:
            client.execute_command("SET", key, b"\x00\xff", "EX", 1000)
    move(cluster, Gentle())
    for key in keys:
        assert 0 < on(cluster.nodes[1], "TTL", key) <= 1000


def test_a_slot_with_a_large_value_moves_by_an_atomic_migration(cluster: BareCluster) -> None:
    source, target = cluster.nodes
    name = name_in_part(cluster)
    with client_of(source) as client:
        client.set(name, "x" * 1_000_000)
    move(cluster, Gentle())
    jobs = on(source, "CLUSTER", "GETSLOTMIGRATIONS")
    assert len(jobs) == 1, "only the slot with the large value moves by a job"
    assert on(target, "STRLEN", name) == 1_000_000


def test_a_new_node_gets_its_slots_in_batches_if_a_client_fails_at_unknown_nodes(cluster: BareCluster) -> None:
    """The client of these tests does."""
    moved = in_part(cluster)
    move(cluster, Gentle(), to_new_node=True)
    assert len(on(cluster.nodes[0], "CLUSTER", "GETSLOTMIGRATIONS")) > 0
    assert arrived(cluster) == len(moved)


def test_all_slots_move_in_batches_while_a_client_may_fail_at_a_redirection(cluster: BareCluster) -> None:
    moved = in_part(cluster)
    with client_of(cluster.nodes[0]) as client:
        client.execute_command("CLIENT", "SETINFO", "LIB-NAME", "GlidePy")
        move(cluster, Gentle())
    assert len(on(cluster.nodes[0], "CLUSTER", "GETSLOTMIGRATIONS")) > 0
    assert arrived(cluster) == len(moved)


def test_sources_with_large_and_small_values_share_a_target() -> None:
    """A target that imports keys accepts no atomic migration."""
    with BareCluster(masters=3) as cluster:
        first, second, target = cluster.nodes
        with ValkeyCluster(host="127.0.0.1", port=first.port) as client:
            pipeline = client.pipeline()
            for number in range(20_000):
                pipeline.set(f"key:{number}", "small")
            pipeline.execute()
            names = (f"{{{number}}}" for number in range(100_000))
            large = [next(name for name in names if client.keyslot(name) in (slot, slot + 1)) for slot in (5500, 5510)]
            for name in large:
                client.set(name, "x" * 300_000)
        state = MigrationState(cpus=8)

        async def both() -> None:
            movers = [
                Mover(
                    Move(
                        source=source,
                        target=target,
                        part=part,
                        access=OPEN,
                        size=RangeSize(keys=0, bytes_per_key=100.0),
                        control=Gentle(),
                        stalled_seconds=30,
                        state=state,
                    )
                )
                for source, part in ((first, SlotRange(0, 600)), (second, SlotRange(5462, 5520)))
            ]
            await asyncio.gather(*(mover.ensure(lambda _: None) for mover in movers))

        with client_of(first) as one, client_of(second) as other:
            one.ping()
            other.ping()
            asyncio.run(both())
        jobs = on(second, "CLUSTER", "GETSLOTMIGRATIONS")
        assert len(jobs) == 2
        assert on(target, "EXISTS", large[0]) == 1


def test_the_mode_can_change_in_the_middle(cluster: BareCluster) -> None:
    moved = in_part(cluster)
    move(cluster, Gentle("gentle", "gentle", "balanced"))
    assert len(on(cluster.nodes[0], "CLUSTER", "GETSLOTMIGRATIONS")) >= 1
    assert arrived(cluster) == len(moved)


def test_clients_see_no_errors_and_lose_no_write(cluster: BareCluster) -> None:
    numbers = in_part(cluster)[:500]
    written: dict[int, int] = {}
    errors: list[str] = []
    over = threading.Event()

    def write() -> None:
        with ValkeyCluster(host="127.0.0.1", port=cluster.nodes[0].port, decode_responses=True) as client:
            count = 0
            while not over.is_set():
                count += 1
                number = numbers[count % len(numbers)]
                try:
                    client.set(f"key:{number}", count)
                    written[number] = count
                except Exception as error:
                    errors.append(repr(error))

    writer = threading.Thread(target=write)
    writer.start()
    until(lambda: len(written) > 50, "nothing is written")
    move(cluster, Gentle())
    time.sleep(0.1)
    over.set()
    writer.join()
    assert errors == []
    assert {number: int(value) for number, value in values_of(cluster, list(written)).items()} == written


def test_a_replica_that_does_not_answer_delays_a_move_and_does_not_end_it() -> None:
    with BareCluster(masters=2, replicas=1) as cluster:
        source, target = (node for node in cluster.nodes if node.role == "primary")
        numbers = in_part(cluster)
        with ValkeyCluster(host="127.0.0.1", port=source.port) as client:
            for number in numbers:
                client.set(f"key:{number}", f"value {number}")
        state = MigrationState(cpus=2)
        replica_of_source, replica_of_target = (
            process_of(next(node for node in cluster.nodes if node.role == "replica" and node.shard == primary.shard))
            for primary in (source, target)
        )
        for replica in (replica_of_source, replica_of_target):
            freeze(replica)
            try:
                with pytest.raises(NodeBusy, match="NOREPLICAS"):
                    move(cluster, Gentle(), state)
                assert opened(source) == opened(target) == set()
            finally:
                thaw(replica)
            cluster.settle()
        with pytest.raises(MigrationFailed, match="cancelled"):
            move(cluster, Gentle(cancel_after=3), state)
        freeze(replica_of_source)
        try:
            with pytest.raises(NodeBusy, match="NOREPLICAS"):
                complete(cluster, state)
        finally:
            thaw(replica_of_source)
        cluster.settle()
        complete(cluster, state)
        move(cluster, Gentle(), state)
        assert opened(source) == opened(target) == set()
        assert values_of(cluster, numbers) == {number: f"value {number}" for number in numbers}


def test_everything_may_be_flushed_in_the_middle(cluster: BareCluster) -> None:
    with pytest.raises(MigrationFailed, match="cancelled"):
        move(cluster, Gentle(cancel_after=3))
    for node in cluster.nodes:
        on(node, "FLUSHALL")
    complete(cluster)
    move(cluster, Gentle())
    assert all(on(node, "DBSIZE") == 0 for node in cluster.nodes)
    assert all(opened(node) == set() for node in cluster.nodes)

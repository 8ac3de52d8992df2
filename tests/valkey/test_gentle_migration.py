"""Slots that move key by key, between nodes without a server."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import psutil
import pytest
from bench.nodes import BareCluster, client_of
from valkey.cluster import ValkeyCluster

from cachewright.model.instances import Node
from cachewright.model.tasks import MigrationMode
from cachewright.valkey.client import NodeBusy
from cachewright.valkey.migration.failure import MigrationFailed
from cachewright.valkey.migration.key_mover import KeyMover
from cachewright.valkey.migration.mover import Move, Mover
from cachewright.valkey.migration.open_slots import (
    close_imports_before_move,
    close_unused_imports,
    complete_open_slots,
)
from cachewright.valkey.migration.source_state import MigrationState
from cachewright.valkey.migration.transfer import Transfer
from cachewright.valkey.session import Session
from cachewright.valkey.slots import SlotRange
from cachewright.valkey.topology import ask_view
from serving import freeze, thaw, until
from standalone_node import OPEN

PART = SlotRange(0, 200)
KEYS = 30_000


class Gentle:
    """A task in the mode `gentle`, or in others later."""

    def __init__(self, *modes: MigrationMode, cancel_after: int = 10**9) -> None:
        self._modes = list(modes or ("gentle",))
        self._left = cancel_after

    async def wait_until_allowed(self, exceeds_ceiling: Callable[[float], Awaitable[bool]]) -> None:
        if len(self._modes) > 1:
            self._modes.pop(0)

    def one_batch_at_a_time(self) -> bool:
        return False

    def show(self, status: str) -> None:
        return

    def is_cancelled(self) -> bool:
        self._left -= 1
        return self._left < 0

    async def is_throttled(self) -> bool:
        return False

    def mode(self) -> MigrationMode:
        return self._modes[0]


@pytest.fixture
def cluster() -> Iterator[BareCluster]:
    with BareCluster(masters=2) as nodes:
        with ValkeyCluster(host="127.0.0.1", port=nodes.nodes[0].port) as client:
            pipeline = client.pipeline()
            for number in range(KEYS):
                pipeline.set(f"key:{number}", f"value {number}")
            pipeline.execute()
        yield nodes


def move(
    cluster: BareCluster, control: Gentle, state: MigrationState | None = None, *, to_new_node: bool = False
) -> list[Transfer]:
    source, target = (node for node in cluster.nodes if node.role == "primary")
    reports: list[Transfer] = []
    moved = Move(
        source=source,
        target=target,
        part=PART,
        access=OPEN,
        bytes_per_key=100.0,
        control=control,
        stalled_seconds=30,
        state=state or MigrationState(cpus=2),
        to_new_node=to_new_node,
    )
    with client_of(source) as connected:  # a client, which may send a command at any time
        connected.ping()
        asyncio.run(Mover(moved).ensure(reports.append))
    return reports


def complete(cluster: BareCluster, state: MigrationState | None = None) -> int:
    by_id = {node.id: node for node in cluster.nodes}
    source = next(node for node in cluster.nodes if node.role == "primary")

    async def run() -> int:
        view = await ask_view(source, OPEN)
        return await complete_open_slots(source, view, by_id.__getitem__, OPEN, state or MigrationState(cpus=2))

    return asyncio.run(run())


def on(node: Node, *words: object) -> Any:
    with client_of(node) as client:
        return client.execute_command(*words)


def opened(node: Node) -> set[int]:
    own = asyncio.run(ask_view(node, OPEN)).members[node.id]
    return {*own.migrating, *own.importing}


def values_of(cluster: BareCluster, numbers: Sequence[int] = range(KEYS)) -> dict[int, str]:
    with ValkeyCluster(host="127.0.0.1", port=cluster.nodes[0].port, decode_responses=True) as client:
        return {number: client.get(f"key:{number}") for number in numbers}


def in_part(cluster: BareCluster) -> list[int]:
    with ValkeyCluster(host="127.0.0.1", port=cluster.nodes[0].port) as client:
        return [number for number in range(KEYS) if client.keyslot(f"key:{number}") in PART]


def arrived(cluster: BareCluster) -> int:
    """Keys of the range on the target."""
    return sum(on(cluster.nodes[1], "CLUSTER", "COUNTKEYSINSLOT", slot) for slot in range(PART.first, PART.last + 1))


def process_of(node: Node) -> psutil.Process:
    with client_of(node) as client:
        return psutil.Process(client.info("server")["process_id"])


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
    tag = next(f"{{{n}}}" for n in range(100_000) if on_slot(source, f"{{{n}}}") in PART).encode()
    keys = [tag + bytes([0, 255, 13, 10]), tag + "\u00e9 \n".encode(), tag]
    with client_of(source) as client:
        for key in keys:
            client.execute_command("SET", key, b"\x00\xff", "EX", 1000)
    move(cluster, Gentle())
    for key in keys:
        assert 0 < on(cluster.nodes[1], "TTL", key) <= 1000


def on_slot(node: Node, key: str) -> int:
    return int(on(node, "CLUSTER", "KEYSLOT", key))


def test_a_slot_with_a_large_value_moves_by_an_atomic_migration(cluster: BareCluster) -> None:
    source, target = cluster.nodes
    name = next(f"{{{n}}}" for n in range(100_000) if on_slot(source, f"{{{n}}}") in PART)
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
                        bytes_per_key=100.0,
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


def test_an_interrupted_slot_is_completed(cluster: BareCluster) -> None:
    moved = in_part(cluster)
    with pytest.raises(MigrationFailed, match="cancelled"):
        move(cluster, Gentle(cancel_after=3))
    source, target = cluster.nodes
    assert opened(source) == opened(target) != set()
    assert 0 < arrived(cluster) < len(moved)
    assert values_of(cluster, moved) == {number: f"value {number}" for number in moved}
    assert complete(cluster) == 64
    assert opened(source) == opened(target) == set()
    assert values_of(cluster, moved) == {number: f"value {number}" for number in moved}


def test_a_target_that_freezes_costs_no_write_and_brings_no_deleted_key_back(cluster: BareCluster) -> None:
    """The frozen target has received keys that the source keeps. When it wakes, it stores them, too."""
    moved = in_part(cluster)
    source, target = cluster.nodes
    state = MigrationState(cpus=2)
    with pytest.raises(MigrationFailed, match="cancelled"):
        move(cluster, Gentle(cancel_after=1), state)
    frozen = process_of(target)
    freeze(frozen)
    try:
        with pytest.raises(MigrationFailed, match="MIGRATE"):
            asyncio.run(_move_one_batch(cluster, state))
        suspects = [key.decode() for key in state.suspects[source.id].values]
        assert suspects
        changed, deleted, *_ = suspects
        on(source, "SET", changed, "changed")
        on(source, "DEL", deleted)
    finally:
        thaw(frozen)
    until(lambda: on(target, "PING"), "the target does not answer")
    complete(cluster, state)
    found = values_of(cluster, moved)
    expected = {number: f"value {number}" for number in moved}
    expected |= {int(changed.partition(":")[2]): "changed", int(deleted.partition(":")[2]): None}
    assert found == expected


async def _move_one_batch(cluster: BareCluster, state: MigrationState) -> None:
    source, target = cluster.nodes
    view = await ask_view(source, OPEN)
    slots = list(view.members[source.id].migrating)
    session = await Session.open(source, OPEN, 5, encoding=None)
    mover = KeyMover(session, session, (source, target), access=OPEN, state=state)
    try:
        for slot in slots:
            keys = await session.ask("CLUSTER", "GETKEYSINSLOT", slot, 5)
            if len(keys) == 5:
                await mover.move_batch(slot, keys)
    finally:
        session.close()


def _interrupt_and_delete(cluster: BareCluster, slot: int, keys: list[bytes], gone: list[bytes]) -> None:
    """Let MIGRATE of these keys fail at a frozen target, delete them on the source, and complete the slot."""
    source, target = cluster.nodes
    state = MigrationState(cpus=2)
    on(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
    on(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
    frozen = process_of(target)
    freeze(frozen)

    async def interrupted() -> None:
        session = await Session.open(source, OPEN, 5, encoding=None)
        try:
            await KeyMover(session, session, (source, target), access=OPEN, state=state).move_batch(slot, keys + gone)
        finally:
            session.close()

    try:
        with pytest.raises(MigrationFailed, match="MIGRATE"):
            asyncio.run(interrupted())
        for key in keys:
            on(source, "DEL", key)
    finally:
        thaw(frozen)
    until(lambda: on(target, "CLUSTER", "COUNTKEYSINSLOT", slot) == len(keys), "the target has no copies")
    complete(cluster, state)
    assert opened(source) == opened(target) == set()
    assert on(target, "CLUSTER", "COUNTKEYSINSLOT", slot) == 0


def _name_in_part(cluster: BareCluster) -> str:
    return next(f"{{t{n}}}" for n in range(100_000) if on_slot(cluster.nodes[0], f"{{t{n}}}") in PART)


def test_a_deleted_key_does_not_come_back_if_another_key_of_its_batch_is_gone() -> None:
    with BareCluster(masters=2) as cluster:
        source, name = cluster.nodes[0], _name_in_part(cluster)
        on(source, "SET", name, "value")
        _interrupt_and_delete(cluster, on_slot(source, name), [name.encode()], [f"{name}gone".encode()])


def test_a_deleted_value_of_any_type_does_not_come_back() -> None:
    """Two nodes store the elements of a set or a hash in different orders."""
    with BareCluster(masters=2) as cluster:
        source, name = cluster.nodes[0], _name_in_part(cluster)
        with client_of(source) as client:
            client.sadd(f"{name}set", *(f"member {n}" for n in range(300)))
            client.hset(f"{name}hash", mapping={f"field {n}": n for n in range(600)})
            client.hset(f"{name}small hash", mapping={"field": "x" * 100, "other": "y", "another": "z"})
            client.zadd(f"{name}sorted set", {f"member {n}": n / 7 for n in range(300)})
            client.zremrangebyrank(f"{name}sorted set", 10, -1)  # keeps its encoding on this node only
            client.rpush(f"{name}list", *(f"element {n}" for n in range(2000)))
            client.xadd(f"{name}stream", {"field": "value"})
            client.append(f"{name}string", b"12\x003\xff")
            keys = [key.encode() for key in client.keys("*")]
        _interrupt_and_delete(cluster, on_slot(source, name), keys, [])


def test_copies_on_the_target_do_not_replace_what_the_source_has(cluster: BareCluster) -> None:
    """After a crash of the server nothing is known of an interrupted command."""
    moved = in_part(cluster)
    source, target = cluster.nodes
    with pytest.raises(MigrationFailed, match="cancelled"):
        move(cluster, Gentle(cancel_after=1))
    slot = sorted(opened(source))[-1]
    (key, *_) = on(source, "CLUSTER", "GETKEYSINSLOT", slot, 1)
    with client_of(target) as client:
        client.execute_command("ASKING")
        client.execute_command("SET", key, "stale")
    complete(cluster)
    assert values_of(cluster, moved) == {number: f"value {number}" for number in moved}


def test_an_import_without_a_source_is_closed(cluster: BareCluster) -> None:
    source, target = cluster.nodes
    on(target, "CLUSTER", "SETSLOT", 7, "IMPORTING", source.id)

    async def close() -> None:
        views = {node.id: await ask_view(node, OPEN) for node in cluster.nodes}
        await close_unused_imports(target, views[target.id], views, OPEN)

    asyncio.run(close())
    assert opened(target) == set()


def test_unused_imports_of_a_target_do_not_stop_its_next_batches(cluster: BareCluster) -> None:
    source, target = cluster.nodes
    for slot in (7, 300):
        on(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
    on(source, "CLUSTER", "SETSLOT", 300, "MIGRATING", target.id)
    state = MigrationState(cpus=2)

    def close() -> None:
        asyncio.run(close_imports_before_move(target, cluster.nodes, OPEN, state))

    close()
    assert opened(target) == {300}, "the source sends clients to the target for slot 300"
    complete(cluster, state)
    on(target, "CLUSTER", "SETSLOT", 7, "IMPORTING", source.id)
    close()
    move(cluster, Gentle("fastest"), state)
    assert arrived(cluster) == len(in_part(cluster))


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

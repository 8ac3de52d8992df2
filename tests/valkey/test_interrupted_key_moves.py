"""Interrupted moves of keys: slots are completed, and copies on the target removed."""

import asyncio
from collections.abc import Iterator

import pytest
from bench.nodes import BareCluster, client_of

from cachewright.valkey.migration.failure import MigrationFailed
from cachewright.valkey.migration.key_mover import KeyMover
from cachewright.valkey.migration.open_slots import (
    close_imports_before_move,
    close_unused_imports,
)
from cachewright.valkey.migration.source_state import MigrationState
from cachewright.valkey.session import Session
from cachewright.valkey.topology import ask_view
from key_moves import (
    Gentle,
    arrived,
    complete,
    filled_cluster,
    in_part,
    move,
    name_in_part,
    on,
    on_slot,
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


def test_a_deleted_key_does_not_come_back_if_another_key_of_its_batch_is_gone() -> None:
    with BareCluster(masters=2) as cluster:
        source, name = cluster.nodes[0], name_in_part(cluster)
        on(source, "SET", name, "value")
        _interrupt_and_delete(cluster, on_slot(source, name), [name.encode()], [f"{name}gone".encode()])


def test_a_deleted_value_of_any_type_does_not_come_back() -> None:
    """Two nodes store the elements of a set or a hash in different orders."""
    with BareCluster(masters=2) as cluster:
        source, name = cluster.nodes[0], name_in_part(cluster)
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

"""Moves between nodes without a server."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from bench.nodes import BareCluster, client_of
from msgspec.structs import replace

from cachewright.model.instances import Node
from cachewright.model.tasks import MigrationMode
from cachewright.valkey.client import ANSWER_SECONDS, Valkey, connect
from cachewright.valkey.migration import batch_mover, batch_size, mover
from cachewright.valkey.migration.batch_size import LARGE_KEYS
from cachewright.valkey.migration.jobs import count_keys, exported_bytes, jobs, jobs_in, start_jobs
from cachewright.valkey.migration.mover import Move, Mover, Next
from cachewright.valkey.migration.moving_ahead import MovingAhead
from cachewright.valkey.migration.range_size import BatchCost, RangeSize
from cachewright.valkey.migration.source_state import MigrationState
from cachewright.valkey.migration.transfer import Transfer
from cachewright.valkey.slots import SLOTS, SlotRange, slots_of
from cachewright.valkey.topology import views
from migration_control import Unhindered
from serving import freeze, thaw
from standalone_node import OPEN

FIRST, SECOND = SlotRange(0, 4095), SlotRange(4096, 8191)
KEYS = 4000
PAUSE_SECONDS = 1.5


class Fastest(Unhindered):
    def mode(self) -> MigrationMode:
        return "fastest"


@pytest.fixture
def cluster() -> Iterator[BareCluster]:
    with BareCluster(masters=1, empty=2) as nodes:
        yield nodes


def move(source: Node, target: Node, after: Node) -> Transfer:
    """The first range, with the second behind it."""
    said: list[Transfer] = []
    asyncio.run(Mover(a_move(source, target, after)).ensure(said.append))
    return said[-1]


def a_move(source: Node, target: Node, after: Node) -> Move:
    return Move(
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


async def test_a_node_whose_view_is_not_needed_is_not_waited_for(cluster: BareCluster) -> None:
    source, target, after = cluster.nodes
    frozen = process_of(after)
    freeze(frozen)
    try:
        async with asyncio.timeout(ANSWER_SECONDS / 2):
            found = await views(cluster.nodes, OPEN, enough={source.id, target.id})
    finally:
        thaw(frozen)
    assert found[after.id] is None
    assert found[source.id]
    assert found[target.id]


async def test_a_range_that_moves_ahead_of_its_turn_is_followed(cluster: BareCluster) -> None:
    source, _, after = cluster.nodes
    with client_of(source) as client:
        fill(client)
    said: list[Transfer] = []
    size = RangeSize(keys=KEYS // 4, bytes_per_key=100.0)
    async with connect(source, OPEN) as at_source, connect(after, OPEN) as at_target:
        counts = await count_keys(at_source, slots_of([SECOND]))
        await start_jobs(at_source, [SECOND], after.id)
        names = {job.name for job in await jobs(at_source)}
        following = Next(after, SECOND, size, said.append)
        ahead, others = (
            MovingAhead(
                following,
                at_target,
                names=of_names,
                counts=counts,
                batch_keys=LARGE_KEYS,
                share=None,
            )
            for of_names in (names, frozenset[str]())
        )
        first = exported = await exported_bytes(at_source)
        async with asyncio.timeout(30):
            while not said or said[-1].share < 1:
                every, exported = await jobs(at_source), await exported_bytes(at_source)
                await others.measure(every, exported)
                await ahead.measure(every, exported)
                await asyncio.sleep(0.01)
    shares = [transfer.share for transfer in said]
    assert shares == sorted(shares)
    assert len(set(shares)) > 2
    keys = sum(counts.values())
    assert said[-1].keys == keys
    assert 100 * keys < said[-1].bytes == exported - ahead.without(exported), "its bytes are those since its begin"
    assert first <= ahead.without(exported) == ahead.without(exported + 500), "later bytes are those of the range"
    assert others.without(exported) == exported


def test_a_source_moves_ranges_and_batches_in_their_order(
    cluster: BareCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (batch_mover, batch_size):
        monkeypatch.setattr(module, "large_batch_keys", lambda _: KEYS // 6)
    monkeypatch.setattr(batch_mover, "SHORT_KEYS", 0)
    source, target, after = cluster.nodes
    begun: list[int] = []

    def report(_: Transfer | None = None) -> None:
        every = jobs_in(client.execute_command("CLUSTER GETSLOTMIGRATIONS"))
        firsts = [job.ranges[0].first for job in every if not job.awaits_snapshot]
        begun.extend(first for first in firsts if first not in begun)

    with client_of(source) as client:
        fill(client)
        asyncio.run(Mover(replace(a_move(source, target, after), control=Fastest())).ensure(report))
        deadline = time.monotonic() + 30
        while len(begun) < 3 and time.monotonic() < deadline:
            report()
    assert len(begun) == 3
    assert begun == sorted(begun), "two batches of the first range, then the second range"


async def test_bytes_count_although_the_range_ends_before_its_mover_looks_for_jobs(
    cluster: BareCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target, after = cluster.nodes
    counters: list[int] = []

    async def read(client: Valkey) -> int:
        """Read the counter. After the first time, the source moves all of the range, as one that was moved ahead."""
        counters.append(await exported_bytes(client))
        if len(counters) == 1:
            await start_jobs(client, [FIRST], target.id)
            async with asyncio.timeout(30):
                while not all(job.ended for job in await jobs(client)):
                    await asyncio.sleep(0.01)
        return counters[-1]

    with client_of(source) as client:
        for number in range(KEYS):
            client.set(f"key:{number}", "x" * 100)
    monkeypatch.setattr(mover, "exported_bytes", read)
    said: list[Transfer] = []
    await Mover(a_move(source, target, after)).ensure(said.append)
    async with connect(source, OPEN) as at_source:
        sent = await exported_bytes(at_source) - counters[0]
    assert said[-1].keys > KEYS // 8
    assert sent > 100 * said[-1].keys
    assert said[-1].bytes == pytest.approx(sent, rel=0.001)


def test_ranges_in_progress_are_small_after_a_batch_was_too_large(cluster: BareCluster) -> None:
    """The rest of the first range, whose first slots are moving, and the begin of the second one."""
    source, target, after = cluster.nodes
    with client_of(source) as client:
        fill(client)
        client.execute_command("CLUSTER MIGRATESLOTS", "SLOTSRANGE", 0, 99, "NODE", target.id)
    moved = replace(a_move(source, target, after), control=Fastest())
    most = 200
    moved.state.batch_sizer(source.id, moved.size.bytes_per_key).limit(most)
    asyncio.run(Mover(moved).ensure(lambda transfer: None))
    with client_of(source) as client:
        every = jobs_in(client.execute_command("CLUSTER GETSLOTMIGRATIONS"))
    sizes = [sum(len(part) for part in job.ranges) * KEYS // SLOTS for job in reversed(every)]
    limits = [most * 1.26**number + 1 for number in range(len(sizes))]
    assert all(size <= limit for size, limit in zip(sizes, limits, strict=True)), sizes
    assert exports(source) == {target.id, after.id}


def test_the_target_tells_the_progress_while_the_source_does_not_answer(cluster: BareCluster) -> None:
    source, target, after = cluster.nodes
    paused: list[float] = []
    said: list[tuple[float, float]] = []

    def report(transfer: Transfer) -> None:
        said.append((time.monotonic(), transfer.share))
        if transfer.keys and not paused:
            paused.append(time.monotonic())
            client.execute_command("CLIENT PAUSE", int(PAUSE_SECONDS * 1000), "ALL")

    with client_of(source) as client:
        fill(client)
        asyncio.run(Mover(a_move(source, target, after)).ensure(report))
    during = [share for at, share in said if paused[0] + 0.1 < at < paused[0] + PAUSE_SECONDS]
    assert during == sorted(during)
    assert during[-1] > during[0], "the counters of the target increase"


def test_a_batch_is_done_when_its_source_has_handed_it_over(cluster: BareCluster) -> None:
    """The mover may wait for the next batch, and reports nothing meanwhile."""
    source, target, after = cluster.nodes
    with client_of(source) as client:
        for number in range(KEYS):
            client.set(f"key:{number}", "x" * 100)
        keys = sum(client.cluster("COUNTKEYSINSLOT", slot) for slot in slots_of([FIRST]))
    costs = BatchCost(deletion=1.0, batch=keys)
    size = RangeSize(keys=keys, bytes_per_key=100.0, small_batches=costs, large_batches=costs)
    said: list[Transfer] = []
    asyncio.run(Mover(replace(a_move(source, target, after), size=size, following=None)).ensure(said.append))
    *_, of_batch, of_range = [transfer.share for transfer in said]
    assert of_batch == of_range == 1.0, "constant work and deletion are done, too"


def fill(client: Any) -> None:
    """Write keys whose snapshot takes some seconds."""
    for number in range(KEYS):
        client.set(f"key:{number}", "x" * 100)
    client.config_set("rdb-key-save-delay", 2000)

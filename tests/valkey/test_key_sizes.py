"""Search for large values on a real node."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from valkey.crc import key_slot

from cachewright.valkey.client import Valkey, ask, connect
from cachewright.valkey.key_sizes import large_values
from cachewright.valkey.slots import SlotRange
from standalone_node import OPEN, started

ALL = [SlotRange(0, 16383)]
MANY = """#!lua flags=allow-cross-slot-keys
for n = 1, tonumber(ARGV[1]) do redis.call('SET', ARGV[2] .. n, 'value') end
"""
LARGE = """
for n = 1, tonumber(ARGV[1]) do redis.call('HSET', KEYS[1], 'f' .. n, string.rep('x', 100)) end
"""


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Valkey]:
    async with started(tmp_path, "cluster-enabled yes") as node, connect(node, OPEN) as opened:
        await ask(opened, "CLUSTER ADDSLOTSRANGE", 0, 16383)
        async with asyncio.timeout(30):
            while (await ask(opened, "CLUSTER INFO"))["cluster_state"] != "ok":
                await asyncio.sleep(0.01)
        yield opened


async def test_large_values_are_found_among_many_small_ones(client: Valkey) -> None:
    await ask(client, "EVAL", MANY, 0, 20_000, "small:")
    await ask(client, "EVAL", LARGE, 1, "a:{one}", 2000)
    await client.set("b:{two}", "x" * 500_000)
    found = await large_values(client, ALL, 100_000, seconds=30)
    assert found.complete
    assert found.scanned >= 20_002
    assert [(value.key, value.type, value.elements) for value in found.values] == [
        ("b:{two}", "string", 500_000),
        ("a:{one}", "hash", 2000),
    ]
    assert all(value.bytes >= 100_000 for value in found.values)
    assert {value.slot for value in found.values} == {key_slot(b"one"), key_slot(b"two")}


async def test_only_the_given_slots_are_searched(client: Valkey) -> None:
    await client.set("{one}", "x" * 50_000)
    slot = key_slot(b"one")
    assert (await large_values(client, [SlotRange(slot, slot)], 10_000, seconds=30)).values
    others = [SlotRange(0, slot - 1), SlotRange(slot + 1, 16383)]
    assert not (await large_values(client, others, 10_000, seconds=30)).values


async def test_a_slot_with_many_keys_is_searched_to_its_end(client: Valkey) -> None:
    await ask(client, "EVAL", MANY, 0, 50_000, "{one}:")
    await client.set("{one}:large", "x" * 50_000)
    slot = key_slot(b"one")
    found = await large_values(client, [SlotRange(slot, slot)], 10_000, seconds=30)
    assert [value.key for value in found.values] == ["{one}:large"]
    assert found.scanned >= 50_001


async def test_more_large_values_than_one_reply_holds_are_all_found(client: Valkey) -> None:
    for number in range(300):
        await client.set(f"{{one}}:{number}", "x" * 20_000)
    found = await large_values(client, ALL, 10_000, seconds=30)
    assert len(found.values) == 300
    assert {value.slot for value in found.values} == {key_slot(b"one")}


async def test_the_search_ends_when_enough_is_found(client: Valkey) -> None:
    for number in range(40):
        await client.set(f"{number}", "x" * 20_000)
    found = await large_values(client, ALL, 10_000, seconds=30, enough_bytes=20_000, has_clients=False)
    assert found.values
    assert not found.complete
    everything = await large_values(client, ALL, 10_000, seconds=30, has_clients=False)
    assert everything.complete
    assert len(everything.values) == 40


async def test_the_search_begins_where_an_earlier_one_found_large_values(client: Valkey) -> None:
    for number in range(5_000):
        await client.set(f"small:{number}", "x")
    await client.set("{one}:large", "x" * 20_000)
    slot = key_slot(b"one")
    found = await large_values(client, ALL, 10_000, seconds=30, enough_bytes=20_000, first={slot})
    assert [value.slot for value in found.values] == [slot]
    assert found.scanned < 500, "it searched elsewhere first"


async def test_names_of_any_bytes_are_readable(client: Valkey) -> None:
    await ask(client, "SET", b"{one}\x00\xff \\n", "x" * 50_000)
    found = await large_values(client, ALL, 10_000, seconds=30)
    assert [value.key for value in found.values] == [r"{one}\x00\xff\x20\x5cn"]


async def test_a_search_without_time_ends_incomplete(client: Valkey) -> None:
    await ask(client, "EVAL", MANY, 0, 1000, "small:")
    found = await large_values(client, ALL, 10_000, seconds=0)
    assert not found.complete
    assert found.scanned == 0


async def test_the_search_does_not_count_as_an_access_to_small_keys(client: Valkey) -> None:
    await client.set("{one}", "small")
    await large_values(client, ALL, 10_000, seconds=30)
    assert int((await client.info("stats"))["keyspace_hits"]) == 0


async def test_a_rare_type_is_searched_without_a_look_at_other_keys(client: Valkey) -> None:
    await ask(client, "EVAL", MANY, 0, 20_000, "small:")
    await ask(client, "EVAL", LARGE, 1, "a:{one}", 2000)
    found = await large_values(
        client, ALL, 100_000, seconds=30, enough_bytes=100_000, has_clients=False, first_types=["zset", "hash"]
    )
    assert [value.key for value in found.values] == ["a:{one}"]
    assert found.scanned < 100, "it looked at strings as well"


async def test_values_of_other_types_are_found_after_the_first_types(client: Valkey) -> None:
    await ask(client, "EVAL", MANY, 0, 1_000, "small:")
    await client.set("b:{two}", "x" * 500_000)
    await ask(client, "EVAL", LARGE, 1, "a:{one}", 2000)
    found = await large_values(client, ALL, 100_000, seconds=30, first_types=["hash"])
    assert found.complete
    assert [value.key for value in found.values] == ["b:{two}", "a:{one}"]

"""Keys with large values in the plan of a resize."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from valkey.crc import key_slot

from caches import cache
from cachewright.operations.resize.giant_keys import expected_stall_ms
from cachewright.valkey.key_sizes import LargeValue
from sdk_calls import created, ended, resize, spec
from serving import Server

MEGABYTE = 2**20
MOVING, STAYING = 8191, 0
"""Of two shards, the first one gives away its last slots."""


def value(kind: str, size: int, elements: int) -> LargeValue:
    return LargeValue(slot=1, key="k", type=kind, bytes=size, elements=elements)


@given(st.integers(0, 2**29), st.integers(0, 10**7))
def test_a_string_stalls_at_least_as_long_as_a_collection_of_its_size(size: int, elements: int) -> None:
    string = expected_stall_ms(value("string", size, size))
    assert 0 <= expected_stall_ms(value("hash", size, elements)) <= string


def test_the_stall_grows_with_the_bytes_of_one_command() -> None:
    assert expected_stall_ms(value("string", 200 * MEGABYTE, 200 * MEGABYTE)) == pytest.approx(900, rel=0.2)
    assert expected_stall_ms(value("hash", 200 * MEGABYTE, 2_000_000)) < 1
    few = expected_stall_ms(value("hash", 200 * MEGABYTE, 2))
    assert few == expected_stall_ms(value("string", 200 * MEGABYTE, 200 * MEGABYTE))


def test_the_plan_names_giant_keys_that_move_and_no_others(server: Server, client: Any) -> None:
    instance_id = created(client, 2)
    caches = cache(client, instance_id)
    caches.set(key_in(MOVING, "string"), b"x" * 12 * MEGABYTE)
    caches.set(key_in(STAYING, "stays"), b"x" * 12 * MEGABYTE)
    caches.set(key_in(MOVING, "small"), b"x" * MEGABYTE)
    for start in range(0, 30_000, 5000):
        caches.hset(
            key_in(MOVING, "confidential\nname"), mapping={f"f{n}": "x" * 800 for n in range(start, start + 5000)}
        )
    status, plan = server.call("POST", f"instances/{instance_id}/resize/plan", {"spec_code": spec(3)})
    assert (status, plan["giant_key_bytes"], plan["giant_keys_complete"]) == (200, 10 * MEGABYTE, True)
    string, collection = plan["giant_keys"]
    assert (string["key"], string["slot"], string["type"]) == (key_in(MOVING, "string"), MOVING, "string")
    assert (string["elements"], string["bytes"] >= 12 * MEGABYTE) == (12 * MEGABYTE, True)
    assert string["stall_ms"] == pytest.approx(57, rel=0.2)
    assert collection["key"] == key_in(MOVING, "confidential") + r"\x0aname"
    assert (collection["type"], collection["elements"]) == ("hash", 30_000)
    assert collection["stall_ms"] < 1
    assert string["source"] == collection["source"]
    assert ended(client, instance_id, resize(client, instance_id, 3)).status == "SUCCESS"
    assert caches.strlen(key_in(MOVING, "string")) == 12 * MEGABYTE
    assert caches.hlen(key_in(MOVING, "confidential\nname")) == 30_000
    assert "confidential" not in server.log()


def key_in(slot: int, name: str) -> str:
    tag = next(str(number) for number in itertools.count() if key_slot(b"%d" % number) == slot)
    return f"{{{tag}}}:{name}"

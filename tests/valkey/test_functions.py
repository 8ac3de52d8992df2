"""Function libraries of a real node."""

import asyncio
from pathlib import Path

import pytest

from cachewright.valkey.client import connect
from cachewright.valkey.equality import Definitions, compare
from cachewright.valkey.functions import (
    MOST_BYTES,
    LibrariesTooLarge,
    change_libraries,
    function_libraries,
    libraries_version,
)
from standalone_node import OPEN, started


def library(name: str, *functions: str, answer: bytes = b"1") -> bytes:
    lines = [f"#!lua name={name}".encode()]
    lines += [
        b"server.register_function('%s', function() return '%s' end)" % (word.encode(), answer) for word in functions
    ]
    return b"\n".join(lines)


def test_libraries_become_what_they_should_be(tmp_path: Path) -> None:
    async def become(*steps: Definitions) -> None:
        async with started(tmp_path) as node, connect(node, OPEN) as client:
            for wanted in steps:
                refused = await change_libraries(client, compare(wanted, await function_libraries(client)))
                assert refused == frozenset()
                assert await function_libraries(client) == wanted

    code = {name: library(name, f"of_{name}") for name in "abc"}
    binary = {"a": library("a", "of_a", answer=b"\xff\xfe")}
    moved = {"d": library("d", "of_a", "of_b")}  # a library with functions that others had before
    swapped = {"e": library("e", "of_x"), "f": library("f", "of_y")}
    swapped_back = {"e": library("e", "of_y"), "f": library("f", "of_z")}
    asyncio.run(become(code, binary, {}, code, moved, swapped, swapped_back, {}))


def test_libraries_that_cannot_be_together_are_named(tmp_path: Path) -> None:
    async def refused() -> frozenset[str]:
        async with started(tmp_path) as node, connect(node, OPEN) as client:
            both = {"a": library("a", "same"), "b": library("b", "same")}
            return await change_libraries(client, compare(both, await function_libraries(client)))

    assert asyncio.run(refused()) == {"b"}


def test_every_change_of_libraries_changes_their_version(tmp_path: Path) -> None:
    async def change() -> None:
        async with started(tmp_path) as node, connect(node, OPEN) as client:
            found = [await libraries_version(client), await libraries_version(client)]
            assert found[0] == found[1]
            one, same_size = library("a", "of_a"), library("a", "of_a", answer=b"2")
            for wanted in ({"a": one}, {"a": same_size}, {}):
                await change_libraries(client, compare(wanted, await function_libraries(client)))
                found.append(await libraries_version(client))
            assert len(set(found)) == 4

    asyncio.run(change())


def test_libraries_that_are_too_large_are_not_read(tmp_path: Path) -> None:
    async def read() -> None:
        async with started(tmp_path) as node, connect(node, OPEN) as client:
            await change_libraries(client, compare({"a": library("a", "of_a") + b"\n--" + b"x" * MOST_BYTES}, {}))
            await function_libraries(client)

    with pytest.raises(LibrariesTooLarge, match="at most 16777216"):
        asyncio.run(read())

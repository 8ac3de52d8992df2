"""A connection that is kept open: to a real node, to one that is full, and to somebody who is no node."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from cachewright.model.instances import Node
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.session import FULL, Session
from standalone_node import OPEN, node_at, nowhere, signed_in_with, started

PASSWORD = "Päss word$3"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with started(tmp_path, f'requirepass "{PASSWORD}"', "maxclients 3") as found:
        yield found


async def test_it_answers_one_command_after_another(node: Node) -> None:
    session = await Session.open(node, signed_in_with(PASSWORD), 5)
    assert await session.ask("CLIENT", "GETNAME") == "cachewright"
    with pytest.raises(NodeRefused, match="unknown command"):
        await session.ask("NOTHING")
    assert await session.ask("CONFIG", "GET", "maxclients") == ["maxclients", "3"]
    answers = await asyncio.gather(*(session.ask("ECHO", str(number)) for number in range(100)))
    assert answers == [str(number) for number in range(100)]
    session.close()
    with pytest.raises(NODE_GONE):
        await session.ask("PING")


async def test_a_wrong_password_is_refused(node: Node) -> None:
    with pytest.raises(NodeRefused):
        await Session.open(node, signed_in_with("wrong"), 5)


async def test_a_node_that_is_full_says_so_and_goes_on_to_serve_who_is_there(node: Node) -> None:
    access = signed_in_with(PASSWORD)
    sessions = [await Session.open(node, access, 5) for _ in range(3)]
    with pytest.raises((*NODE_GONE, NodeRefused), match=FULL):
        await Session.open(node, access, 5)
    assert [await session.ask("PING") for session in sessions] == ["PONG"] * 3
    for session in sessions:
        session.close()


async def test_who_keeps_it_is_told_when_the_node_closes_it(node: Node) -> None:
    lost = asyncio.Event()
    access = signed_in_with(PASSWORD)
    session = await Session.open(node, access, 5, lost=lost.set)
    other = await Session.open(node, access, 5)
    own = await session.ask("CLIENT", "ID")
    await other.ask("CLIENT", "KILL", "ID", str(own))
    await asyncio.wait_for(lost.wait(), 10)
    with pytest.raises(NODE_GONE):
        await session.ask("PING")
    other.close()


async def test_a_node_that_is_not_there_is_gone() -> None:
    with pytest.raises(NODE_GONE):
        await Session.open(nowhere(), OPEN, 5)


@pytest.mark.parametrize("said", [b"", b"+OK", b"hello\r\n", b"*-5\r\n", b"$9999999999999\r\n", b"\xff\xfe" * 100])
async def test_somebody_who_is_no_node_is_gone(said: bytes) -> None:
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(said)
        with suppress(ConnectionResetError):
            await reader.read()
        writer.close()
        over.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        node = msgspec.structs.replace(node_at(0), port=server.sockets[0].getsockname()[1])
        with pytest.raises(NODE_GONE):
            await Session.open(node, OPEN, 0.5)
        await over.wait()

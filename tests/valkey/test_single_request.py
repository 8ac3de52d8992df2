"""One question to a node: a real one, one that is not there, and one that answers as no node should."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from cachewright.model.instances import Node
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.single_request import MOST_BYTES, Unreadable, info, request_once
from cachewright.valkey.topology import ask_view
from standalone_node import OPEN, node_at, nowhere, signed_in_with, started

PASSWORD = "Päss word$3"
SECTIONS = ("memory", "keyspace", "clients", "replication")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with started(tmp_path, f'requirepass "{PASSWORD}"') as found:
        yield found


async def test_a_node_says_what_it_is_asked(node: Node) -> None:
    said = await info(node, signed_in_with(PASSWORD), SECTIONS, 5)
    assert int(said["used_memory"]) > 0
    assert said["role"] == "master"
    assert "uptime_in_seconds" not in said


async def test_a_wrong_password_is_refused(node: Node) -> None:
    for wrong in ("wrong", None):
        with pytest.raises(NodeRefused):
            await info(node, signed_in_with(wrong), SECTIONS, 5)


async def test_a_node_that_is_not_there_is_gone() -> None:
    with pytest.raises(NODE_GONE):
        await info(nowhere(), OPEN, SECTIONS, 5)


Answering = Callable[[asyncio.StreamWriter], None]


async def answered(answering: Answering, seconds: float = 5.0) -> dict[str, str]:
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        answering(writer)
        with suppress(ConnectionResetError):
            await reader.read()
        writer.close()
        over.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        node = msgspec.structs.replace(node_at(0), port=server.sockets[0].getsockname()[1])
        try:
            return dict(await info(node, OPEN, SECTIONS, seconds))
        finally:
            await over.wait()


async def test_a_node_that_is_silent_is_gone() -> None:
    with pytest.raises(NODE_GONE):
        await answered(lambda writer: writer.write(b"+OK\r\n$100\r\nrole:mas"), seconds=0.1)


async def test_a_node_that_closes_is_gone() -> None:
    with pytest.raises(NODE_GONE):
        await answered(lambda writer: writer.close())


async def test_an_answer_may_come_in_pieces() -> None:
    def in_pieces(writer: asyncio.StreamWriter) -> None:
        for at, byte in enumerate(b"+OK\r\n$13\r\na:1\r\nrole:b:c\r\n"):
            asyncio.get_running_loop().call_later(at / 1000, writer.write, bytes([byte]))

    assert await answered(in_pieces) == {"a": "1", "role": "b:c"}


async def test_replies_come_in_the_order_of_the_commands(node: Node) -> None:
    commands = [("ECHO", "a"), ("NO-SUCH-COMMAND",), ("CONFIG", "GET", "port")]
    one, refusal, values = await request_once(node, signed_in_with(PASSWORD), commands, 5, keep_refusals=True)
    assert one == "a"
    assert isinstance(refusal, NodeRefused)
    assert values == ["port", str(node.port)]
    with pytest.raises(NodeRefused):
        await request_once(node, signed_in_with(PASSWORD), commands, 5)


@pytest.mark.parametrize(
    "reply",
    [
        b"*1\r\n$1\r\na\r\n",
        b":5\r\n",
        b"$-1\r\n",
        b"what?\r\n",
        b"\xff\x00",
        b"*1\r\n" * 100,
        b"*1000000000000\r\n",
        b"$99999999999999999999999\r\n",
    ],
)
async def test_a_reply_that_cannot_be_read_is_none(reply: bytes) -> None:
    with pytest.raises(NODE_GONE):
        await answered(lambda writer: writer.write(b"+OK\r\n" + reply), seconds=0.5)


async def test_no_more_is_read_than_a_node_has_to_say() -> None:
    with pytest.raises(Unreadable):
        await answered(lambda writer: writer.write(b"+OK\r\n$900000000\r\n" + b"x" * (MOST_BYTES + 1)), seconds=30)


async def test_bytes_that_are_no_text_are_replaced() -> None:
    assert await answered(lambda writer: writer.write(b"+OK\r\n$5\r\na:\xff\xfeb\r\n")) == {"a": "\ufffd\ufffdb"}


@pytest.mark.parametrize(
    "nodes",
    ["", "what is this", "0 127.0.0.1:1@2 master - 0 0 1 connected", f"{'a' * 40} x myself - 0 0 1 connected 5-99999"],
)
async def test_a_view_that_cannot_be_read_is_none(nodes: str) -> None:
    def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(f"+OK\r\n${len(nodes)}\r\n{nodes}\r\n$15\r\ncluster_state:x\r\n".encode())

    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        answer(writer)
        await reader.read()
        writer.close()
        over.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        node = msgspec.structs.replace(node_at(0), port=server.sockets[0].getsockname()[1])
        with pytest.raises(NODE_GONE):
            await ask_view(node, OPEN, 5)
        await over.wait()

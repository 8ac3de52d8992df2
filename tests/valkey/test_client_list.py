"""Connections of clients of a node are closed by the ids that they have at that moment."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cachewright.model.instances import Node
from cachewright.valkey import client_list
from cachewright.valkey.client import NODE_GONE, ask, connect
from cachewright.valkey.client_list import Row, close_clients, list_clients
from cachewright.valkey.single_request import Unreadable
from standalone_node import OPEN, started

SECONDS = 10.0


@asynccontextmanager
async def client_of(node: Node) -> AsyncIterator[tuple[str, asyncio.StreamReader]]:
    """Yield the address of a client that is connected, and what it reads."""
    reader, writer = await asyncio.open_connection(node.host, node.port)
    writer.write(b"PING\r\n")
    assert await reader.readline() == b"+PONG\r\n"
    host, port = writer.get_extra_info("sockname")
    yield f"{host}:{port}", reader
    writer.close()


async def test_chosen_connections_are_closed_and_none_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with started(tmp_path) as node, client_of(node) as (address, closed), client_of(node) as (other, _):
        async with connect(node, OPEN) as client:
            process = int((await client.info("server"))["process_id"])
            assert [row["addr"] for row in await list_clients(node, OPEN, SECONDS)] == [address, other]
            reported: list[int] = []

            def is_first(row: Row) -> bool:
                return row["addr"] == address

            assert await close_clients(node, OPEN, SECONDS, chosen=is_first, report=reported.append) == 1
            assert reported == [1]
            assert await closed.read() == b""
            assert [row["addr"] for row in await list_clients(node, OPEN, SECONDS)] == [other]
            assert await ask(client, "PING"), "the control plane is cut off"

        monkeypatch.setattr(client_list, "LISTED_BYTES", 50)
        with pytest.raises(Unreadable):
            await close_clients(node, OPEN, SECONDS)
        monkeypatch.undo()

        def killed_meanwhile(row: Row) -> bool:
            os.kill(process, signal.SIGKILL)
            return True

        with pytest.raises(NODE_GONE):
            await close_clients(node, OPEN, SECONDS, chosen=killed_meanwhile)

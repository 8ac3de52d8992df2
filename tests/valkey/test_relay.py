"""Relays to sources, in front of a real server."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from libvalkey import pack_command

from cachewright.valkey.access import Address
from cachewright.valkey.sources import relay_process
from cachewright.valkey.sources.gateway import Followed
from cachewright.valkey.sources.relays import Relays
from outside_server import PASSWORD, outside_server


@pytest.fixture
async def relays() -> AsyncIterator[Relays]:
    made = Relays()
    yield made
    await made.end()


async def answers(place: Followed, password: str) -> bool:
    """Whether a connection that begins as that of a gateway reaches the source, which has one key."""
    try:
        reader, writer = await asyncio.open_connection(place.host, place.port)
    except OSError:
        return False
    try:
        writer.write(b"".join(pack_command(words) for words in (("PING",), ("AUTH", password), ("DBSIZE",))))
        with suppress(OSError, asyncio.IncompleteReadError):
            return await reader.readuntil(b"\r\n:1\r\n") == b"+PONG\r\n+OK\r\n:1\r\n"
        return False
    finally:
        writer.close()


def at(port: int, password: str = PASSWORD) -> Address:
    return Address(None, "127.0.0.1", port, None, password, is_named=False)


def processes() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if relay_process.__name__ in child.cmdline()]


async def test_a_relay_leads_its_gateway_alone_to_the_source(relays: Relays, tmp_path: Path) -> None:
    with outside_server(tmp_path) as source:
        source.client().set("key", "value")
        followed = await relays.ensure("gateway", at(source.port))
        token = followed.password or ""
        assert token != PASSWORD
        assert await answers(followed, token)
        assert not await answers(followed, "f" * len(token))
        assert not await answers(followed, PASSWORD)
        assert await relays.ensure("gateway", at(source.port)) == followed
        other = await relays.ensure("gateway", at(source.port, "wrong"))
        assert other.password not in {token, None}
        assert not await answers(followed, token)
        assert not await answers(other, other.password or "")
        await relays.close("gateway")
        await relays.close("gateway")
        assert not await answers(other, other.password or "")


async def test_relays_whose_process_dies_are_opened_again(relays: Relays, tmp_path: Path) -> None:
    with outside_server(tmp_path) as source:
        source.client().set("key", "value")
        former = await relays.ensure("gateway", at(source.port))
        (process,) = processes()
        listening = {link.laddr.port for link in psutil.Process().net_connections() if link.status == "LISTEN"}
        assert former.port not in listening, "this process does not listen for gateways"
        process.kill()
        process.wait(30)
        followed = await relays.ensure("gateway", at(source.port))
        assert await answers(followed, followed.password or "")
        assert not await answers(followed, former.password or "")
        assert len(processes()) == 1


def test_relays_end_with_the_process_that_started_them() -> None:
    command = [sys.executable, "-m", relay_process.__name__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        process.stdin.write(b'{"name": "gateway"}\n')
        process.stdin.flush()
        assert process.stdout
        assert b"Reply" in process.stdout.readline()
        process.stdin.close()
        assert process.wait(30) == 0

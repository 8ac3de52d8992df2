"""Relays to sources, in front of a real server."""

import asyncio
from contextlib import suppress
from pathlib import Path

from libvalkey import pack_command

from cachewright.valkey.access import Address
from cachewright.valkey.sources.gateway import Followed
from cachewright.valkey.sources.relay import Relays
from outside_server import PASSWORD, outside_server


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


async def test_a_relay_leads_its_gateway_alone_to_the_source(tmp_path: Path) -> None:
    relays = Relays()
    with outside_server(tmp_path) as source:
        source.client().set("key", "value")
        place = Address(None, "127.0.0.1", source.port, None, PASSWORD, is_named=False)
        followed = await relays.ensure("gateway", place)
        token = followed.password or ""
        assert token != PASSWORD
        assert await answers(followed, token)
        assert not await answers(followed, "f" * len(token))
        assert not await answers(followed, PASSWORD)
        assert await relays.ensure("gateway", place) == followed
        other = await relays.ensure("gateway", Address(None, "127.0.0.1", source.port, None, "wrong", is_named=False))
        assert other.password not in {token, None}
        assert not await answers(followed, token)
        assert not await answers(other, other.password or "")
        await relays.close("gateway")
        await relays.close("gateway")
        assert not await answers(other, other.password or "")

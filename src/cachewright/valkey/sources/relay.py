"""Relays: a gateway replicates a source with TLS through the server, because a valkey-server may have no TLS.

A relay listens on the loopback address. It passes one connection on that begins as the one of its gateway, with a
password that exists for this relay alone, and signs in at the source itself. So no other process of the machine gets
data of the source, and one that takes over the port of a former relay gets no password of the source.

All relays run on one thread of their own. They end with the server; the next one starts new ones, and their gateways
continue where they were, as after a lost link.
"""

import asyncio
import hmac
import logging
import secrets
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
from libvalkey import pack_command

from cachewright.hosts.addresses import LOOPBACK
from cachewright.valkey.access import Address
from cachewright.valkey.client import NODE_GONE
from cachewright.valkey.single_request import opening
from cachewright.valkey.sources.gateway import Followed
from cachewright.valkey.tls_context import tls_options

log = logging.getLogger(__name__)

_HANDSHAKE_SECONDS = 10.0
_PART_BYTES = 256 * 1024
_LONGEST_REPLY = 1024

Result = TypeVar("Result")


class _Relay(msgspec.Struct):
    server: asyncio.Server
    place: Address
    token: str
    connections: set[asyncio.Task[None]]


class Relays:
    """The relays of this process, by the name of their gateway."""

    def __init__(self) -> None:
        self._relays: dict[str, _Relay] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = threading.Lock()

    async def ensure(self, name: str, place: Address) -> Followed:
        """Ensure that the gateway of this name has a relay to `place`, and return what it has to follow. OSError if
        this machine has no port left."""
        return await self._run(lambda: self._ensure(name, place))

    async def close(self, name: str) -> None:
        """End the relay of a gateway, if it has one."""
        if name in self._relays:
            await self._run(lambda: self._close(name))

    async def _run(self, act: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Run a coroutine on the thread of the relays."""
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="relays", daemon=True).start()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(act(), self._loop))

    async def _ensure(self, name: str, place: Address) -> Followed:
        relay = self._relays.get(name)
        if relay is None or relay.place != place:
            await self._close(name)
            relay = self._relays[name] = await _started(place)
        port = relay.server.sockets[0].getsockname()[1]
        return Followed(LOOPBACK, port, None, relay.token)

    async def _close(self, name: str) -> None:
        if relay := self._relays.pop(name, None):
            relay.server.close()
            for connection in tuple(relay.connections):
                connection.cancel()


async def _started(place: Address) -> _Relay:
    token, connections = secrets.token_hex(32), set[asyncio.Task[None]]()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None  # noqa: S101  # a callback of a server runs in a task
        connections.add(connection)
        try:
            await _pass_on(reader, writer, place, token)
        except (*NODE_GONE, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            log.info("the connection to %s through a relay has ended: %s", place.server_name, error)
        finally:
            connections.discard(connection)
            writer.close()

    server = await asyncio.start_server(accept, LOOPBACK, 0, limit=_PART_BYTES)
    return _Relay(server, place, token, connections)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, place: Address, token: str) -> None:
    """Accept a gateway by its first commands, sign in at the source and pass everything on until one side ends."""
    async with asyncio.timeout(_HANDSHAKE_SECONDS):
        if not await _begins(reader, writer, "PING", reply=b"+PONG\r\n"):
            return
        if not await _begins(reader, writer, "AUTH", token, reply=b"+OK\r\n"):
            return
        source_reader, source_writer = await asyncio.open_connection(
            place.host, place.port, limit=_PART_BYTES, **tls_options(place)
        )
    try:
        async with asyncio.timeout(_HANDSHAKE_SECONDS):
            for command in opening(place):
                source_writer.write(pack_command(command))
                answer = await source_reader.readuntil(b"\r\n")
                if not answer.startswith(b"+") or len(answer) > _LONGEST_REPLY:
                    return  # the look at the source says why
        directions = [
            asyncio.create_task(_copy(reader, source_writer)),
            asyncio.create_task(_copy(source_reader, writer)),
        ]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
    finally:
        source_writer.close()


async def _begins(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *words: str, reply: bytes) -> bool:
    """Whether the next command is this one. Then it gets the reply."""
    wanted = pack_command(words)
    if not hmac.compare_digest(await reader.readexactly(len(wanted)), wanted):
        return False
    writer.write(reply)
    return True


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(*NODE_GONE):
        while part := await reader.read(_PART_BYTES):
            writer.write(part)
            await writer.drain()

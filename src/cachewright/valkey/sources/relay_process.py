"""The process of the relays, which `relays` starts: a server or an agent never listens for a gateway itself.

It reads orders from standard input, one JSON object a line, and writes to standard output a reply to each, and an event
when a connection has ended. It ends with its standard input, so also when its parent is killed.
"""

import asyncio
import hmac
import sys
from collections.abc import Callable
from contextlib import suppress

import msgspec
from libvalkey import pack_command

from cachewright.hosts.addresses import LOOPBACK
from cachewright.valkey.access import Address
from cachewright.valkey.client import NODE_GONE
from cachewright.valkey.single_request import opening
from cachewright.valkey.tls_context import tls_options

_HANDSHAKE_SECONDS = 10.0
_PART_BYTES = 256 * 1024
_LONGEST_REPLY = 1024
_LONGEST_ORDER = 2**20


class Source(msgspec.Struct, frozen=True):
    """The fields of the `Address` of a source."""

    host: str
    port: int
    username: str | None
    password: str | None
    authority: str | None
    server_name: str | None
    checks_name: bool
    identity: str | None
    is_named: bool

    def address(self) -> Address:
        return Address(path=None, **msgspec.structs.asdict(self))


class Order(msgspec.Struct, frozen=True):
    """Open the relay of a gateway to `source`; without a source, close it.

    :ivar token: password of the gateway.
    """

    name: str
    source: Source | None = None
    token: str = ""


class Reply(msgspec.Struct, frozen=True, tag=True):
    """:ivar port: of the relay, 0 if it is closed.
    :ivar error: why it was not opened.
    """

    port: int = 0
    error: str = ""


class Ended(msgspec.Struct, frozen=True, tag=True):
    """A connection to a source has ended."""

    source: str
    reason: str


class _Relay:
    """One relay. It listens on the loopback address."""

    def __init__(self, source: Source, token: str, tell: Callable[[Reply | Ended], None]) -> None:
        self._source = source
        self._token = token
        self._tell = tell
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self) -> int:
        """Listen, and return the port. Raises OSError."""
        self._server = await asyncio.start_server(self._accept, LOOPBACK, 0, limit=_PART_BYTES)
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        if self._server:
            self._server.close()
        for connection in tuple(self._connections):
            connection.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None  # noqa: S101  # a callback of a server runs in a task
        self._connections.add(connection)
        try:
            await _pass_on(reader, writer, self._source.address(), self._token)
        except (*NODE_GONE, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            self._tell(Ended(self._source.server_name or self._source.host, str(error)))
        finally:
            self._connections.discard(connection)
            writer.close()


async def serve(orders: asyncio.StreamReader, tell: Callable[[Reply | Ended], None]) -> None:
    """Follow orders until there are no more."""
    relays: dict[str, _Relay] = {}
    while line := await orders.readline():
        order = msgspec.json.decode(line, type=Order)
        if former := relays.pop(order.name, None):
            former.close()
        if order.source is None:
            tell(Reply())
            continue
        relay = _Relay(order.source, order.token, tell)
        try:
            tell(Reply(port=await relay.open()))
        except OSError as error:
            tell(Reply(error=str(error)))
        else:
            relays[order.name] = relay


async def _serve_parent() -> None:
    orders = asyncio.StreamReader(limit=_LONGEST_ORDER)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)

    def tell(said: Reply | Ended) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
        sys.stdout.buffer.flush()

    await serve(orders, tell)


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


if __name__ == "__main__":
    asyncio.run(_serve_parent())

"""Commands to a node over a connection that is closed after the replies.

Used for frequent checks of all nodes and for requests of clients. A client of the library costs many times as much and
limits only the wait for the next byte. Here the total time and the total size of all replies are limited. A node with
unreadable replies counts as a node that does not answer.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from libvalkey import ProtocolError, Reader, ReplyError, pack_command
from valkey.exceptions import ConnectionError as NodeUnreachable

from cachewright.errors import DatabaseUnavailable
from cachewright.model.instances import Node
from cachewright.valkey.access import Access, Address, address
from cachewright.valkey.client import CONTROL_PLANE, NodeRefused, refusal
from cachewright.valkey.tls_context import tls_options

MOST_BYTES = 2 * 1024 * 1024
"""Usual limit of all replies on one connection, in bytes. CLUSTER NODES takes about 150 bytes a node, INFO 30 KB."""

Command = tuple[str, ...]
Protocol = TypeVar("Protocol", bound=asyncio.Protocol)


class Unreadable(NodeUnreachable):
    """The reply is malformed or too large."""


def opening(place: Address) -> list[Command]:
    """Return the first commands of a connection: authenticate and set its name."""
    signed_in: list[Command] = [("AUTH", *filter(None, (place.username, place.password)))] if place.password else []
    named: list[Command] = [("CLIENT", "SETNAME", CONTROL_PLANE)] if place.is_named else []
    return [*signed_in, *named]


async def dial(place: Address, protocol: Callable[[], Protocol]) -> tuple[asyncio.Transport, Protocol]:
    """Connect to `place` by its Unix socket or over TCP. Raises OSError if no process listens there, or it has another
    certificate."""
    loop = asyncio.get_running_loop()
    secured = tls_options(place)
    if place.path:
        return await loop.create_unix_connection(protocol, place.path, **secured)
    return await loop.create_connection(protocol, place.host, place.port, **secured)


async def request_once(
    node: Node,
    access: Access,
    commands: Sequence[Command],
    answer_seconds: float,
    *,
    keep_refusals: bool = False,
    most_bytes: int = MOST_BYTES,
) -> list[Any]:
    """Send the commands and return the reply to each: text, a number, or a list of them.

    Raises one of NODE_GONE if the node does not answer within `answer_seconds`, NodeRefused if it refuses the
    authentication or a command, and its subclass NodeBusy if it is busy. With `keep_refusals` the refusal of a command
    is returned as its reply.
    """
    with address(node, access) as place:
        return await request_at(
            place, node.id, commands, answer_seconds, keep_refusals=keep_refusals, most_bytes=most_bytes
        )


async def request_at(
    place: Address,
    name: str,
    commands: Sequence[Command],
    answer_seconds: float,
    *,
    keep_refusals: bool = False,
    most_bytes: int = MOST_BYTES,
) -> list[Any]:
    """Same as `request_once`, for the process at an address. Errors contain its `name`."""
    async with asyncio.timeout(answer_seconds):
        transport, request = await dial(place, lambda: _PendingRequest(name, place, commands, most_bytes))
        try:
            replies = await request.replies
        finally:
            transport.abort()
    for reply in replies:
        if isinstance(reply, NodeRefused) and not keep_refusals:
            raise reply
    return replies


async def info(node: Node, access: Access, sections: Sequence[str], answer_seconds: float) -> Mapping[str, str]:
    """Return the fields of these sections of INFO. Raises one of NODE_GONE or NodeRefused."""
    (reply,) = await request_once(node, access, [("INFO", *sections)], answer_seconds)
    return fields(reply)


def fields(reply: Any) -> Mapping[str, str]:
    """Return the lines `name:value` of a reply. Raises Unreadable if it is not text."""
    return dict(line.split(":", 1) for line in text(reply).split("\r\n") if ":" in line)


def databases(said: Mapping[str, str]) -> list[str]:
    """Return the names of INFO's fields that count keys, one for each database with keys: `db0`, `db1`, ..."""
    return [name for name in said if name.startswith("db") and name[2:].isdecimal()]


def text(reply: Any) -> str:
    """Return the reply as text. Raises Unreadable if it is not text."""
    if not isinstance(reply, str):
        raise Unreadable(f"the reply is {type(reply).__name__} and not text")
    return reply


class _PendingRequest(asyncio.Protocol):
    """Sends all commands and collects the replies.

    :ivar replies: the replies to all commands. It fails if an opening command is refused.
    """

    def __init__(self, node_id: str, place: Address, commands: Sequence[Command], most_bytes: int) -> None:
        first = opening(place)
        self._node_id = node_id
        self._require_claim = place.require_claim
        self._most_bytes = most_bytes
        self._request = b"".join(pack_command(words) for words in (*first, *commands))
        self._opening = len(first)
        self._commands = len(commands)
        self._received = 0
        self._read: list[Any] = []
        self._reader = Reader(encoding="utf-8", errors="replace")
        self.replies: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101  # always true for stream sockets
        try:
            self._require_claim()
        except DatabaseUnavailable as replaced:
            self._fail(replaced)
            return
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self.replies.done():
            return
        self._received += len(data)
        if self._received > self._most_bytes:
            self._fail(Unreadable(f"more than {self._most_bytes} bytes"))
            return
        try:
            self._reader.feed(data)
            while not self.replies.done() and (reply := self._reader.gets()) is not False:
                self._add_reply(reply)
        except (ProtocolError, ValueError) as error:
            self._fail(Unreadable(str(error)[:200]))

    def _add_reply(self, reply: Any) -> None:
        if isinstance(reply, ReplyError):
            reply = refusal(self._node_id, str(reply))
        if self._opening:
            self._opening -= 1
            if isinstance(reply, NodeRefused):
                self._fail(reply)
            return
        self._read.append(reply)
        if len(self._read) == self._commands:
            self.replies.set_result(self._read)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.replies.done():
            self._fail(NodeUnreachable(str(exc or "closed before it answered")))

    def _fail(self, failure: Exception) -> None:
        self.replies.set_exception(failure)
        self.replies.exception()  # marks it as retrieved, because the caller may have timed out

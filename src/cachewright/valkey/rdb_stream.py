"""The snapshot of a node, as a replica would receive it.

A replica that wants nothing but the snapshot (`REPLCONF rdb-only 1`) gets it from a child process of the node, over the
connection. The node stores nothing, and does not keep later writes for that replica.

Source: syncCommand and replconfCommand in replication.c of Valkey 9.1.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Final

import msgspec
from libvalkey import pack_command

from cachewright.model.instances import Node
from cachewright.valkey.access import Access, Address, address
from cachewright.valkey.client import ANSWER_SECONDS, refusal
from cachewright.valkey.single_request import Unreadable, fields, opening
from cachewright.valkey.tls_context import tls_options

_BUFFER_BYTES = 4 * 1024 * 1024
_SILENT_SECONDS = 60.0
"""Time without any byte after which the node counts as frozen. It sends an empty line each second while it waits."""

_LONGEST_LINE = 4096
_MARK_BYTES: Final = 40
_FULL = re.compile(r"\+FULLRESYNC ([0-9a-f]{40}) (\d+)")


class Position(msgspec.Struct, frozen=True):
    """A moment of a node: its history, and the bytes of its stream of writes."""

    replication_id: str
    offset: int


class RdbStream:
    """The snapshot of one node. Methods raise one of NODE_GONE if the node does not answer, NodeRefused if it refuses.

    :ivar node: the node that sends.
    :ivar server_version: of the node.
    """

    def __init__(self, node: Node, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.node = node
        self.server_version = ""
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, node: Node, access: Access) -> "RdbStream":
        """Connect, and announce what a replica of the node's own version can read: an older one gets a file without
        the newer types, or none at all."""
        async with asyncio.timeout(ANSWER_SECONDS):
            with address(node, access) as place:
                stream = cls(node, *await _connect(place))
                first = opening(place)
        try:
            for command in first:
                await stream._ask(*command)
            stream.server_version = await stream._version()
            for words in (("capa", "eof", "capa", "psync2"), ("version", stream.server_version), ("rdb-only", "1")):
                await stream._ask("REPLCONF", *words)
        except BaseException:
            stream.close()
            raise
        return stream

    async def begin(self) -> Position:
        """Make the node begin its snapshot. Return the moment of the data: later writes are not in it."""
        self._send("PSYNC", "?", "-1")
        line = await self._line()
        found = _FULL.fullmatch(line)
        if found is None:
            raise refusal(self.node.id, line.removeprefix("-"))
        return Position(found[1], int(found[2]))

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the snapshot. Raises Unreadable if the node stops before its end."""
        line = await self._line()
        if line.startswith("$EOF:"):
            parts = self._until_mark(line.removeprefix("$EOF:").encode())
        elif line[:1] == "$" and line[1:].isdecimal():
            parts = self._counted(int(line[1:]))
        else:
            raise refusal(self.node.id, line.removeprefix("-"))
        async for part in parts:
            yield part

    def close(self) -> None:
        self._writer.transport.abort()

    async def _until_mark(self, mark: bytes) -> AsyncIterator[bytes]:
        """Yield what precedes the mark, a random text that ends the snapshot."""
        kept = b""
        while True:
            kept += await self._read()
            if kept.endswith(mark) and len(mark) == _MARK_BYTES:
                yield kept[:-_MARK_BYTES]
                return
            if len(kept) > _MARK_BYTES:
                yield kept[:-_MARK_BYTES]
                kept = kept[-_MARK_BYTES:]

    async def _counted(self, size: int) -> AsyncIterator[bytes]:
        while size:
            part = (await self._read())[:size]
            size -= len(part)
            yield part

    async def _read(self) -> bytes:
        async with asyncio.timeout(_SILENT_SECONDS):
            part = await self._reader.read(_BUFFER_BYTES)
        if not part:
            raise Unreadable(f"node {self.node.id} has closed the connection in the middle of its snapshot")
        return part

    async def _version(self) -> str:
        self._send("INFO", "server")
        head = await self._line()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                text = (await self._reader.readexactly(int(head[1:]) + 2)).decode(errors="replace")
            return fields(text)["valkey_version"]
        except (ValueError, KeyError, asyncio.IncompleteReadError) as error:
            raise Unreadable(f"node {self.node.id} does not tell its version: {error!r}"[:200]) from error

    async def _ask(self, *words: str) -> None:
        """Send a command that is answered with OK."""
        self._send(*words)
        line = await self._line()
        if not line.startswith("+"):
            raise refusal(self.node.id, line.removeprefix("-"))

    def _send(self, *words: str) -> None:
        self._writer.write(pack_command(words))

    async def _line(self) -> str:
        """Return the next line. Empty lines only show that the node is alive."""
        while True:
            async with asyncio.timeout(_SILENT_SECONDS):
                line = await self._reader.readline()
            if not line.endswith(b"\n") or len(line) > _LONGEST_LINE:
                raise Unreadable(f"node {self.node.id} has closed the connection")
            if line := line.strip():
                return line.decode(errors="replace")


async def _connect(place: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if place.path:
        return await asyncio.open_unix_connection(place.path, limit=_BUFFER_BYTES)
    return await asyncio.open_connection(place.host, place.port, limit=_BUFFER_BYTES, **tls_options(place))

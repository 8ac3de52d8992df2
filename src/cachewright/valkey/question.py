"""One question to a node by the shortest way: a connection, the answer, and gone.

For what every node is asked every few seconds: a client of the library costs many times as much as the question.
"""

import asyncio
from collections.abc import Mapping, Sequence

from libvalkey import Reader, ReplyError, pack_command
from valkey.exceptions import ConnectionError as NodeUnreachable

from cachewright.store.records import Node
from cachewright.valkey.access import Access, address
from cachewright.valkey.client import CONTROL_PLANE, NodeRefused


async def info(node: Node, access: Access, sections: Sequence[str], answer_seconds: float) -> Mapping[str, str]:
    """What the node says of itself in these sections of INFO. One of NODE_GONE or NodeRefused where it does not."""
    commands: list[tuple[str, ...]] = [("CLIENT", "SETNAME", CONTROL_PLANE), ("INFO", *sections)]
    loop = asyncio.get_running_loop()
    with address(node, access) as place:
        if place.password:
            commands.insert(0, ("AUTH", *filter(None, (place.username, place.password))))
        async with asyncio.timeout(answer_seconds):
            if place.path:
                transport, asked = await loop.create_unix_connection(lambda: _Asked(commands), place.path)
            else:
                transport, asked = await loop.create_connection(lambda: _Asked(commands), place.host, place.port)
            try:
                text = await asked.answer
            finally:
                transport.abort()
    return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)


class _Asked(asyncio.Protocol):
    """:ivar answer: the answer to the last command."""

    def __init__(self, commands: Sequence[tuple[str, ...]]) -> None:
        self._commands = commands
        self._unanswered = len(commands)
        self._reader = Reader(encoding="utf-8", errors="replace")
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101  # of a stream socket it is one
        transport.write(b"".join(pack_command(words) for words in self._commands))

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while not self.answer.done() and (said := self._reader.gets()) is not False:
            self._unanswered -= 1
            if isinstance(said, ReplyError):
                self._fail(NodeRefused(str(said)))
            elif not self._unanswered:
                self.answer.set_result(said)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answer.done():
            self._fail(NodeUnreachable(str(exc or "closed before it answered")))

    def _fail(self, failure: Exception) -> None:
        self.answer.set_exception(failure)
        self.answer.exception()  # seen: who asked may have given up already, and nobody is to be told that

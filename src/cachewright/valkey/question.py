"""One question to a node by the shortest way: a connection, the answer, and gone.

For what every node is asked every few seconds: a client of the library costs many times as much as the question.
"""

import asyncio
from collections.abc import Mapping, Sequence

from valkey.exceptions import ConnectionError as NodeUnreachable

from cachewright.store.records import Node
from cachewright.valkey.client import NodeRefused

_NAME = "cachewright"


async def info(node: Node, password: str | None, sections: Sequence[str], answer_seconds: float) -> Mapping[str, str]:
    """What the node says of itself in these sections of INFO. One of NODE_GONE or NodeRefused where it does not."""
    commands: list[Sequence[str]] = [("CLIENT", "SETNAME", _NAME), ("INFO", *sections)]
    if password:
        commands.insert(0, ("AUTH", password))
    question = b"".join(_encoded(words) for words in commands)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(answer_seconds):
        transport, asked = await loop.create_connection(lambda: _Asked(question), node.host, node.port)
        try:
            text = await asked.answer
        finally:
            transport.abort()
    return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)


class _Asked(asyncio.Protocol):
    """:ivar answer: the first answer that is more than a status."""

    def __init__(self, question: bytes) -> None:
        self._question = question
        self._read = bytearray()
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101  # of a stream socket it is one
        transport.write(self._question)

    def data_received(self, data: bytes) -> None:
        self._read += data
        while not self.answer.done():
            line, ended, rest = bytes(self._read).partition(b"\r\n")
            if not ended:
                return
            if line.startswith(b"+"):
                del self._read[: len(line) + 2]
            elif line.startswith(b"$"):
                size = int(line[1:])
                if len(rest) >= size:
                    self.answer.set_result(rest[:size].decode(errors="replace"))
                return
            else:
                self._fail(NodeRefused(line[1:].decode(errors="replace")))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answer.done():
            self._fail(NodeUnreachable(str(exc or "closed before it answered")))

    def _fail(self, failure: Exception) -> None:
        self.answer.set_exception(failure)
        self.answer.exception()  # seen: who asked may have given up already, and nobody is to be told that


def _encoded(words: Sequence[str]) -> bytes:
    sized = [b"$%d\r\n%s\r\n" % (len(word), word) for word in (text.encode() for text in words)]
    return b"*%d\r\n%s" % (len(words), b"".join(sized))

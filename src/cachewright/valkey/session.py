"""Long-lived connections to nodes.

A node at its connection limit refuses new connections, even from the control plane. Open connections keep working.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from libvalkey import ProtocolError, Reader, ReplyError, pack_command
from valkey.exceptions import ConnectionError as NodeUnreachable

from cachewright.model.instances import Node
from cachewright.valkey.access import Access, address
from cachewright.valkey.client import refusal
from cachewright.valkey.single_request import dial, opening

FULL = "max number of clients"
"""Part of the error with which a node refuses a connection because of its limit."""


class Session:
    """One connection. Methods raise one of NODE_GONE if the node does not answer in time, NodeRefused if it refuses."""

    def __init__(self, transport: asyncio.Transport, replies: "_Replies", answer_seconds: float) -> None:
        self._transport = transport
        self._replies = replies
        self._answer_seconds = answer_seconds

    @classmethod
    async def open(
        cls, node: Node, access: Access, answer_seconds: float, lost: Callable[[], None] = lambda: None
    ) -> "Session":
        """Open a connection. `lost` is called when the node closes it."""
        async with asyncio.timeout(answer_seconds):
            with address(node, access) as place:
                transport, replies = await dial(place, lambda: _Replies(node.id, lost))
        session = cls(transport, replies, answer_seconds)
        try:
            for command in opening(place):
                await session.ask(*command)
        except BaseException:
            session.close()
            raise
        return session

    async def ask(self, *words: str) -> Any:
        """Send a command and return the reply: text, a number, or a list of them."""
        answer = self._replies.expected()
        self._transport.write(pack_command(words))
        async with asyncio.timeout(self._answer_seconds):
            return await answer

    def close(self) -> None:
        self._replies.tell_lost = None
        self._transport.abort()


class _Replies(asyncio.Protocol):
    """Matches replies with commands by their order."""

    def __init__(self, node_id: str, lost: Callable[[], None]) -> None:
        self._node_id = node_id
        self.tell_lost: Callable[[], None] | None = lost
        self._reader = Reader(encoding="utf-8", errors="replace")
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._lost: Exception | None = None

    def expected(self) -> asyncio.Future[Any]:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._lost:
            answer.set_exception(self._lost)
        else:
            self._waiting.append(answer)
        return answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                self._deliver(refusal(self._node_id, str(reply)) if isinstance(reply, ReplyError) else reply)
        except ProtocolError as error:
            self._lost = NodeUnreachable(f"the answer cannot be read: {error}")
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = self._lost or NodeUnreachable(str(exc or "the node has closed the connection"))
        while self._waiting:
            self._deliver(self._lost)
        if self.tell_lost:
            self.tell_lost()

    def _deliver(self, reply: Any) -> None:
        if not self._waiting:
            # An error without a command is the reason why the node is about to close the connection.
            self._lost = reply if isinstance(reply, Exception) else NodeUnreachable("an unexpected reply")
            return
        answer = self._waiting.popleft()
        if answer.done():  # its command has timed out
            return
        if isinstance(reply, Exception):
            answer.set_exception(reply)
        else:
            answer.set_result(reply)

"""Long-lived connections to nodes.

A node at its connection limit refuses new connections, even from the control plane. Open connections keep working.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from libvalkey import ProtocolError, Reader, ReplyError, pack_command
from valkey.exceptions import ConnectionError as NodeUnreachable

from cachewright.model.instances import Node
from cachewright.valkey.access import Access, Address, RequireClaim, address
from cachewright.valkey.client import NodeRefused, refusal
from cachewright.valkey.single_request import Unreadable, dial, opening

FULL = "max number of clients"
"""Part of the error with which a node refuses a connection because of its limit."""

Word = str | bytes | int
"""One word of a command."""


class Session:
    """One connection. Methods raise one of NODE_GONE if the node does not answer in time, NodeRefused if it refuses."""

    def __init__(
        self,
        transport: asyncio.Transport,
        replies: "_Replies",
        answer_seconds: float,
        require_claim: RequireClaim,
    ) -> None:
        self._require_claim = require_claim
        self._transport = transport
        self._replies = replies
        self._answer_seconds = answer_seconds

    @classmethod
    async def open(
        cls,
        node: Node,
        access: Access,
        answer_seconds: float,
        lost: Callable[[], None] = lambda: None,
        *,
        encoding: str | None = "utf-8",
        most_bytes: int | None = None,
    ) -> "Session":
        """Open a connection. `lost` is called when the node closes it. Without an `encoding`, texts are bytes.

        :param most_bytes: a longer reply ends the connection; None for no limit.
        """
        with address(node, access) as place:
            return await cls.at(place, node.id, answer_seconds, lost, encoding=encoding, most_bytes=most_bytes)

    @classmethod
    async def at(
        cls,
        place: Address,
        name: str,
        answer_seconds: float,
        lost: Callable[[], None] = lambda: None,
        *,
        encoding: str | None = "utf-8",
        pushed: Callable[[list[Any]], None] | None = None,
        most_bytes: int | None = None,
    ) -> "Session":
        """Same as `open`, for the process at an address. Errors contain its `name`.

        :param pushed: is called with each push message of RESP3. The library returns them as lists, so no command that
            is answered with a list may be sent over such a connection.
        """
        async with asyncio.timeout(answer_seconds):
            transport, replies = await dial(place, lambda: _Replies(name, lost, encoding, pushed, most_bytes))
        session = cls(transport, replies, answer_seconds, place.require_claim)
        try:
            for command in opening(place):
                await session.ask(*command)
        except BaseException:
            session.close()
            raise
        return session

    async def ask(self, *words: Word, ending: bool = False) -> Any:
        """Send a command and return the reply: text, a number, or a list of them. For `ending` see `Claim.require`."""
        self._require_claim(ending=ending)
        answer = self._replies.expected()
        self._transport.write(pack_command(words))
        async with asyncio.timeout(self._answer_seconds):
            return await answer

    async def ask_each(self, commands: Iterable[Sequence[Word]], answer_seconds: float | None = None) -> list[Any]:
        """Send commands together and return their replies. Refusals are returned like replies.

        :param answer_seconds: time limit, instead of that of the session.
        """
        self._require_claim()
        packed = [pack_command(tuple(words)) for words in commands]
        answers = [self._replies.expected() for _ in packed]
        self._transport.write(b"".join(packed))
        async with asyncio.timeout(answer_seconds or self._answer_seconds):
            replies = await asyncio.gather(*answers, return_exceptions=True)
        for reply in replies:
            if isinstance(reply, BaseException) and not isinstance(reply, NodeRefused):
                raise reply
        return replies

    def close(self) -> None:
        self._replies.tell_lost = None
        self._transport.abort()


class _Replies(asyncio.Protocol):
    """Matches replies with commands by their order."""

    def __init__(
        self,
        node_id: str,
        lost: Callable[[], None],
        encoding: str | None,
        pushed: Callable[[list[Any]], None] | None,
        most_bytes: int | None,
    ) -> None:
        self._node_id = node_id
        self._most_bytes = most_bytes
        self._unread = 0
        self._pushed = pushed
        self.tell_lost: Callable[[], None] | None = lost
        self._reader = Reader(encoding=encoding, errors="replace") if encoding else Reader()
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
        self._unread += len(data)
        if self._most_bytes is not None and self._unread > self._most_bytes:
            self._lost = Unreadable(f"more than {self._most_bytes} bytes")
            self._transport.close()
            return
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                self._unread = 0
                if self._pushed and isinstance(reply, list):
                    self._pushed(reply)
                    continue
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

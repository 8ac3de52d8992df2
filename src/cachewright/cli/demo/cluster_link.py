"""Connections of the traffic to the nodes of a cluster that changes: one for each node, shared by all workers.

One thread waits for replies of all nodes. Replies that are ready together get the same time, so the work for one reply
is not part of the latency of another.
"""

import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import libvalkey
from valkey.crc import key_slot

from cachewright.cli.demo.content import Reply
from cachewright.cli.demo.slot_client import Seed

Address = tuple[str, int]
Answer = Callable[[object, float], None]
"""Called with a reply or an exception, and the time at which it arrived, in seconds of the monotonic clock."""

OnLost = Callable[["NodeLink"], None]

_CONNECT_SECONDS = 1.0
_RECEIVED_BYTES = 1 << 16
_REDIRECTIONS = 16
_ATTEMPTS = 50
_PAUSE_SECONDS = 0.02
_SLOTS = 16384


class ConnectionLost(Exception):
    """A node closed its connection, or cannot be reached."""


class _Parser(Protocol):
    def feed(self, data: bytes) -> None: ...
    def gets(self) -> object: ...


class _Flight:
    """One request that has no reply yet."""

    __slots__ = ("answer", "attempts", "packed", "redirections", "slot")

    def __init__(self, slot: int, packed: bytes, answer: Answer) -> None:
        self.slot = slot
        self.packed = packed
        self.answer = answer
        self.attempts = 0
        self.redirections = 0


class Sockets:
    """Sockets of several links, and requests that are sent again later."""

    def __init__(self) -> None:
        self.selector: selectors.BaseSelector = selectors.SelectSelector()
        self._later: deque[tuple[float, Callable[[], None]]] = deque()

    def after_pause(self, action: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + _PAUSE_SECONDS, action))

    def receive(self, seconds: float) -> None:
        """Wait at most this time for replies, process those that are ready, and return."""
        due = self._later[0][0] - time.monotonic() if self._later else seconds
        ready = self.selector.select(max(min(seconds, due), 0.0))
        now = time.monotonic()
        for key, events in ready:
            link: NodeLink = key.data
            if events & selectors.EVENT_WRITE:
                link.flush()
            if events & selectors.EVENT_READ:
                link.receive(now)
        while self._later and self._later[0][0] <= now:
            self._later.popleft()[1]()


class NodeLink:
    """A connection to one node, on which requests wait for their replies in order."""

    def __init__(self, address: Address, password: str | None, sockets: Sockets, on_lost: OnLost) -> None:
        """Connect. Raises OSError if the node cannot be reached. `on_lost` is called when the connection is closed."""
        self.address = address
        self._selector = sockets.selector
        self._on_lost = on_lost
        self._parser = cast(_Parser, libvalkey.Reader())
        self._waiting: deque[Answer] = deque()
        self._unsent = b""
        self._socket = socket.create_connection(address, _CONNECT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._selector.register(self._socket, selectors.EVENT_READ, self)
        if password:
            self.send(libvalkey.pack_command(("AUTH", password)), _ignored)

    def send(self, packed: bytes, *answers: Answer) -> None:
        """Send commands. Each of `answers` is called with one reply, or with ConnectionLost."""
        self._waiting.extend(answers)
        self._unsent += packed
        self.flush()

    def flush(self) -> None:
        """Send as much as the socket accepts without blocking."""
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent = b""  # the next read detects the lost connection
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
        if self._selector.get_key(self._socket).events != wanted:
            self._selector.modify(self._socket, wanted, self)

    def receive(self, now: float) -> None:
        """Read replies and pass each to its `Answer`."""
        try:
            data = self._socket.recv(_RECEIVED_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close(now)
            return
        self._parser.feed(data)
        while self._waiting and (reply := self._parser.gets()) is not False:
            self._waiting.popleft()(reply, now)

    def is_idle(self) -> bool:
        return not self._waiting

    def close(self, now: float) -> None:
        """Close the connection. Requests without a reply get ConnectionLost."""
        if self._socket.fileno() < 0:
            return
        self._selector.unregister(self._socket)
        self._socket.close()
        self._on_lost(self)
        lost = ConnectionLost(f"{self.address[0]}:{self.address[1]} closed its connection")
        while self._waiting:
            self._waiting.popleft()(lost, now)


class ClusterLink:
    """A client of a cluster. It sends each request to the owner of its key, follows redirections, and repeats a request
    whose connection was lost, as client libraries do."""

    def __init__(self, seed: Seed, sockets: Sockets) -> None:
        """Read the owners of all slots. A node without a cluster owns all of them. Raises OSError if the node cannot be
        reached."""
        self._password = seed.password
        self._sockets = sockets
        self._links: dict[Address, NodeLink] = {}
        self._owners: list[Address] = [(seed.host, seed.port)] * _SLOTS
        self._is_refreshing = False
        self._link((seed.host, seed.port))
        self._refresh()
        while self._is_refreshing:
            sockets.receive(_CONNECT_SECONDS)

    def request(self, key: bytes, packed: bytes, answer: Answer) -> None:
        """Send a command. `answer` gets its reply or, as an exception, its error."""
        self._send(_Flight(key_slot(key), packed, answer))

    def _send(self, flight: _Flight) -> None:
        self._send_to(self._owners[flight.slot], flight, b"")

    def _send_to(self, address: Address, flight: _Flight, before: bytes) -> None:
        def answer(reply: object, now: float) -> None:
            self._answered(flight, reply, now)

        try:
            link = self._link(address)
        except OSError as error:
            answer(ConnectionLost(f"{address[0]}:{address[1]}: {error.strerror}"), time.monotonic())
            return
        link.send(before + flight.packed, *((_ignored,) if before else ()), answer)

    def _answered(self, flight: _Flight, reply: object, now: float) -> None:
        if isinstance(reply, ConnectionLost):
            self._refresh()
            if flight.attempts < _ATTEMPTS:
                flight.attempts += 1
                self._sockets.after_pause(lambda: self._send(flight))
                return
        elif isinstance(reply, libvalkey.ReplyError) and flight.redirections < _REDIRECTIONS:
            kind, *words = str(reply).split(" ")
            if kind in {"MOVED", "ASK"}:
                flight.redirections += 1
                host, _, port = words[1].rpartition(":")
                address = (host or "127.0.0.1", int(port))
                if kind == "ASK":
                    self._send_to(address, flight, libvalkey.pack_command(("ASKING",)))
                else:
                    self._owners[flight.slot] = address
                    self._refresh()
                    self._send(flight)
                return
        flight.answer(reply, now)

    def _link(self, address: Address) -> NodeLink:
        if address not in self._links:
            self._links[address] = NodeLink(address, self._password, self._sockets, self._forget)
        return self._links[address]

    def _forget(self, link: NodeLink) -> None:
        self._links = {address: other for address, other in self._links.items() if other is not link}

    def _refresh(self) -> None:
        """Ask a node for the owners of all slots. Skips nodes that cannot be reached."""
        if self._is_refreshing:
            return
        for address in dict.fromkeys([*self._links, *self._owners]):
            try:
                link = self._link(address)
            except OSError:
                continue
            self._is_refreshing = True
            link.send(libvalkey.pack_command(("CLUSTER", "SLOTS")), self._learn)
            return

    def _learn(self, reply: object, now: float) -> None:
        self._is_refreshing = False
        if isinstance(reply, ConnectionLost):
            self._refresh()
        if not isinstance(reply, list):
            return
        for first, last, (host, port, *_), *_ in cast(Sequence[Any], reply):
            self._owners[first : last + 1] = [(host.decode(), port)] * (last - first + 1)
        for address in self._links.keys() - set(self._owners):
            if self._links[address].is_idle():
                self._links[address].close(now)


def _ignored(reply: object, now: float) -> None:
    """Ignore a reply. If it is an error, the next command gets the same one."""


def as_reply(answer: object) -> Reply:
    """Return the reply of a command, or raise its error."""
    if isinstance(answer, Exception):
        raise answer
    return cast(Reply, answer)

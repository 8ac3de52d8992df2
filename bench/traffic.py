"""Clients of a cluster in a separate process, `python -m bench.traffic`, controlled over standard input and output.

Each caller sends a command, waits for the reply, pauses and sends the next: INCR of a key of its own, then GET of it. A
reply that contradicts an acknowledged write counts as a loss. Callers follow MOVED and ASK, as client libraries do; the
time for that is part of the operation.
"""

import contextlib
import gc
import heapq
import random
import selectors
import socket
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Iterator, Sequence
from typing import Any, Self

import msgspec
from valkey.client import Valkey
from valkey.crc import key_slot
from valkey.exceptions import ValkeyError

from cachewright.cli.demo.latency import percentile
from cachewright.cli.demo.slot_client import Seed

_KEYS = 500


class TrafficSpec(msgspec.Struct, frozen=True, kw_only=True):
    seed: Seed
    callers: int = 4
    think_seconds: float = 0.002


class Calls(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a run. `begun` and `took` are packed doubles, seconds of the monotonic clock."""

    begun: bytes
    took: bytes
    errors: int
    lost: int
    acknowledged: int

    def within(self, begin: float, end: float) -> "ClientLatency":
        """Latency of operations between `begin` and `end`."""
        begun, took = array("d"), array("d")
        begun.frombytes(self.begun)
        took.frombytes(self.took)
        spans = [(at, seconds) for at, seconds in zip(begun, took, strict=True) if begin <= at + seconds and at < end]
        ordered = sorted(seconds * 1000 for _, seconds in spans)
        return ClientLatency(
            per_second=len(ordered) / (end - begin),
            p50_ms=percentile(ordered, 0.5),
            p99_ms=percentile(ordered, 0.99),
            p999_ms=percentile(ordered, 0.999),
            longest_ms=ordered[-1] if ordered else 0.0,
        )


class ClientLatency(msgspec.Struct, frozen=True, kw_only=True):
    per_second: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    longest_ms: float


class TrafficClients:
    """Starts and controls the process."""

    def __init__(self, orders: TrafficSpec) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.traffic"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        self._in.write(msgspec.json.encode(orders) + b"\n")
        self._in.flush()
        self._out.readline()

    def stop(self) -> Calls:
        self._in.write(b"stop\n")
        self._in.flush()
        return msgspec.msgpack.decode(self._out.read(), type=Calls)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        with contextlib.suppress(BrokenPipeError), self._process:
            pass  # closes the pipes


class _Caller:
    def __init__(self, number: int, links: "_Links") -> None:
        self._number = number
        self._links = links
        self._random = random.Random(number)
        self.acknowledged: dict[bytes, int] = {}
        self._key = b""
        self._counting = True
        self._aside: socket.socket | None = None
        self.begun = 0.0
        self.lost = 0

    def ask(self) -> socket.socket:
        """Send the next command; the socket of the reply."""
        if self._counting:
            self._key = b"caller:%d:%d" % (self._number, self._random.randrange(_KEYS))
        self.begun = time.monotonic()
        return self._send(self._links.owner(key_slot(self._key)))

    def _words(self) -> bytes:
        command = (b"INCR", b"GET")[not self._counting]
        return b"*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(command), command, len(self._key), self._key)

    def _send(self, link: socket.socket) -> socket.socket:
        words = self._words()
        try:
            link.sendall(words)
        except OSError:  # the node has left the cluster since the last command
            self._links.refresh()
            link = self._links.owner(key_slot(self._key))
            link.sendall(words)
        return link

    def hear(self, answer: bytes) -> socket.socket | None:
        """Process a reply; the socket of the next reply after a redirection, else None. OSError for an error reply."""
        if self._aside and answer:
            answer = answer.removeprefix(b"+OK\r\n")  # reply to ASKING; the rest may come later
            if not answer:
                return self._aside
        self._aside = None
        if answer.startswith(b"-ASK"):
            host, _, port = answer.split()[2].decode().rpartition(":")
            self._aside = self._links.to((host, int(port)))
            self._aside.sendall(b"ASKING\r\n" + self._words())
            return self._aside
        if not answer or answer.startswith(b"-MOVED"):
            self._links.refresh()
            return self._send(self._links.owner(key_slot(self._key)))
        if answer.startswith(b"-"):
            raise OSError(answer.decode())
        number = int(answer[1:].split(b"\r\n")[0 if self._counting else 1])
        last = self.acknowledged.get(self._key, 0)
        self.lost += max(last - number, 0) if not self._counting else max(last + 1 - number, 0)
        self.acknowledged[self._key] = number
        self._counting = not self._counting
        return None

    def skip(self) -> None:
        self._counting = True


class _Links:
    """Connections of one caller, and its knowledge of the owners of slots."""

    def __init__(self, seed: Seed) -> None:
        self._password = seed.password
        self._by_address: dict[tuple[str, int], socket.socket] = {}
        self._known = [(seed.host, seed.port)]
        self._slots: list[tuple[str, int]] = []
        self.refresh()

    def owner(self, slot: int) -> socket.socket:
        return self.to(self._slots[slot])

    def to(self, address: tuple[str, int]) -> socket.socket:
        if address not in self._by_address:
            link = socket.create_connection(address)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._password:
                link.sendall(b"AUTH " + self._password.encode() + b"\r\n")
                link.recv(100)
            self._by_address[address] = link
        return self._by_address[address]

    def refresh(self) -> None:
        """Read the owners from the first node that responds. Close connections to nodes that own no slots."""
        for host, port in self._known:
            with contextlib.suppress(ValkeyError), Valkey(host=host, port=port, password=self._password) as client:
                self._learn(client.execute_command("CLUSTER SLOTS"))
                return
        raise OSError("no node answers")

    def _learn(self, rows: Sequence[Sequence[Any]]) -> None:
        slots: list[tuple[str, int]] = [("", 0)] * 16384
        for first, last, (host, port, *_), *_ in rows:
            slots[first : last + 1] = [(host.decode(), port)] * (last - first + 1)
        self._slots = slots
        self._known = sorted(set(slots))
        for address in [gone for gone in self._by_address if gone not in self._known]:
            self._by_address.pop(address).close()


def _call(orders: TrafficSpec, over: threading.Event) -> Calls:
    callers = [_Caller(number, _Links(orders.seed)) for number in range(orders.callers)]
    begun, took = array("d"), array("d")
    errors = 0
    waiting = [(time.monotonic() + orders.think_seconds * turn / len(callers), turn) for turn in range(len(callers))]
    heapq.heapify(waiting)
    sockets = selectors.DefaultSelector()

    def begin(turn: int) -> None:
        sockets.register(callers[turn].ask(), selectors.EVENT_READ, turn)

    def hear(link: socket.socket, turn: int) -> None:
        nonlocal errors
        sockets.unregister(link)
        try:
            elsewhere = callers[turn].hear(link.recv(4096))
        except OSError as error:
            print(f"a caller: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            errors += 1
            callers[turn].skip()
            elsewhere = None
        if elsewhere is not None:
            sockets.register(elsewhere, selectors.EVENT_READ, turn)
            return
        now = time.monotonic()
        begun.append(callers[turn].begun)
        took.append(now - callers[turn].begun)
        heapq.heappush(waiting, (now + orders.think_seconds, turn))

    while not over.is_set():
        while waiting and waiting[0][0] <= time.monotonic():
            begin(heapq.heappop(waiting)[1])
        patience = max(waiting[0][0] - time.monotonic(), 0) if waiting else 0.1
        for event, _ in sockets.select(patience):
            hear(_socket(event.fileobj), event.data)
    return Calls(
        begun=begun.tobytes(),
        took=took.tobytes(),
        errors=errors,
        lost=sum(caller.lost for caller in callers),
        acknowledged=sum(sum(caller.acknowledged.values()) for caller in callers),
    )


def _socket(thing: object) -> socket.socket:
    assert isinstance(thing, socket.socket)
    return thing


def _lines() -> Iterator[bytes]:
    while line := sys.stdin.buffer.readline():
        yield line


def main() -> None:
    lines = _lines()
    orders = msgspec.json.decode(next(lines), type=TrafficSpec)
    over = threading.Event()

    def listen() -> None:
        next(lines, None)
        over.set()

    threading.Thread(target=listen, daemon=True).start()
    gc.collect()
    gc.freeze()
    sys.stdout.buffer.write(b"under way\n")
    sys.stdout.buffer.flush()
    calls = _call(orders, over)
    sys.stdout.buffer.write(msgspec.msgpack.encode(calls))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()

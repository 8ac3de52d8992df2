"""Stalls of clients that one large value causes while its slot moves: `python -m bench.giant_keys`.

Three masters; the slot of the value moves from the first to the second, and the third takes no part. One client of each
node sends a command every millisecond and waits for the reply. The table shows the longest wait for a reply: while
nothing moves, during the migration, in the seconds after it, and when the value is deleted by UNLINK afterwards.
"""

import contextlib
import itertools
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import cyclopts
import msgspec

from bench.nodes import BareCluster, Job, client_of
from cachewright.model.instances import Node
from cachewright.valkey.slots import SlotRange

_QUIET_SECONDS = 2.0
_AFTER_SECONDS = 3.0
_PAUSE_SECONDS = 0.001
_KEY = "giant:{value}"
_PART = 64 * 1024
_ELEMENTS_AT_ONCE = 2000
_MEGABYTE = 2**20
_MOST_BYTES_OF_A_STRING = 1024 * _MEGABYTE

_MAKE = """
local key, kind, first, last, size = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local text = string.rep('x', size - 9)
for n = first, last do
  local element = string.format('%09d', n) .. text
  if kind == 'string' then redis.call('APPEND', key, element)
  elseif kind == 'hash' then redis.call('HSET', key, n, element)
  elseif kind == 'list' then redis.call('RPUSH', key, element)
  elseif kind == 'set' then redis.call('SADD', key, element)
  elseif kind == 'zset' then redis.call('ZADD', key, n, element)
  else redis.call('XADD', key, n .. '-1', 'field', element) end
end
return redis.status_reply('OK')
"""

app = cyclopts.App(help=__doc__)


class _Wait(msgspec.Struct, frozen=True, array_like=True):
    node: int
    begun: float
    seconds: float


class _Case(msgspec.Struct, frozen=True):
    kind: str
    elements: int
    size: int

    @property
    def title(self) -> str:
        if self.kind == "string":
            return f"{self.elements * self.size // _MEGABYTE} MB"
        return f"{self.elements:,} of {self.size} bytes"


_STRINGS = (1, 10, 50, 200)
_COLLECTIONS = (10_000, 100_000, 500_000, 2_000_000)


@app.default
def run(*kinds: str, strings: Sequence[int] = _STRINGS, elements: Sequence[int] = _COLLECTIONS, size: int = 50) -> None:
    """Measure and print a table.

    Parameters
    ----------
    kinds
        Types of values; by default all.
    strings
        Sizes of strings in megabytes.
    elements
        Numbers of elements of collections.
    size
        Bytes of an element.
    """
    print("| value | memory MB | migration s | source: quiet / during / after / UNLINK ms | target | other |")
    print("|---|---|---|---|---|---|", flush=True)
    for kind in kinds or ("string", "hash", "list", "set", "zset", "stream"):
        cases = [_Case(kind, megabytes * _MEGABYTE // _PART, _PART) for megabytes in strings]
        if kind != "string":
            cases = [_Case(kind, count, size) for count in elements]
        for case in cases:
            print(_measure(case), flush=True)


def _measure(case: _Case) -> str:
    with BareCluster(masters=3) as cluster, client_of(cluster.nodes[0]) as source:
        owner = _owner(cluster)
        target, other = [node for node in cluster.nodes if node.id != owner.id][:2]
        slot = int(source.execute_command("CLUSTER KEYSLOT", _KEY))
        with client_of(owner) as client:
            if case.kind == "string":
                client.execute_command("CONFIG SET", "proto-max-bulk-len", _MOST_BYTES_OF_A_STRING)
            at_once = 16 if case.kind == "string" else _ELEMENTS_AT_ONCE
            for first in range(0, case.elements, at_once):
                last = min(first + at_once, case.elements) - 1
                client.execute_command("EVAL", _MAKE, 1, _KEY, case.kind, first + 1, last + 1, case.size)
            memory = client.execute_command("MEMORY USAGE", _KEY)
        if case.kind == "string":
            for node in (target, other):
                with client_of(node) as client:
                    client.execute_command("CONFIG SET", "proto-max-bulk-len", _MOST_BYTES_OF_A_STRING)
        with _waits((owner, target, other)) as stop:
            begun = time.monotonic()
            time.sleep(_QUIET_SECONDS)
            moving = time.monotonic()
            seconds = cluster.migrate([Job(owner, target, SlotRange(slot, slot))])
            moved = time.monotonic()
            time.sleep(_AFTER_SECONDS)
            deleting = time.monotonic()
            with client_of(target) as client:
                assert client.execute_command("UNLINK", _KEY) == 1
            time.sleep(_AFTER_SECONDS)
            waits = stop()
    edges = (begun, moving, moved, deleting, time.monotonic())
    columns = [" / ".join(f"{longest:.0f}" for longest in _longest(waits, node, edges)) for node in range(3)]
    return f"| {case.kind}, {case.title} | {memory / _MEGABYTE:.1f} | {seconds:.2f} | {' | '.join(columns)} |"


def _owner(cluster: BareCluster) -> Node:
    with client_of(cluster.nodes[0]) as client:
        slot = int(client.execute_command("CLUSTER KEYSLOT", _KEY))
    owned = cluster.owned()
    return next(node for node in cluster.nodes if any(slot in part for part in owned.get(node.id, [])))


def _longest(waits: Sequence[_Wait], node: int, edges: Sequence[float]) -> Iterator[float]:
    """Yield the longest wait in milliseconds of each span between two edges."""
    for begin, end in itertools.pairwise(edges):
        spans = (w.seconds for w in waits if w.node == node and w.begun < end and begin < w.begun + w.seconds)
        yield max(spans, default=0.0) * 1000


@contextlib.contextmanager
def _waits(nodes: Sequence[Node]) -> Iterator[Any]:
    """Run the clients in a process of their own. Yields a function that ends them and returns their waits."""
    ports = [str(node.port) for node in nodes]
    with subprocess.Popen(
        [sys.executable, "-m", "bench.giant_keys", "clients", *ports], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()

        def stop() -> list[_Wait]:
            out, _ = process.communicate(b"stop\n", timeout=60)
            return msgspec.msgpack.decode(out, type=list[_Wait])

        try:
            yield stop
        finally:
            process.kill()


@app.command(show=False)
def clients(*ports: int) -> None:
    """Send a PING every millisecond to each of the ports, until a line arrives on standard input."""
    links = [socket.create_connection(("127.0.0.1", port)) for port in ports]
    waits: list[tuple[int, float, float]] = []
    due = dict.fromkeys(range(len(links)), time.monotonic())
    begun: dict[int, float] = {}
    ready = selectors.DefaultSelector()
    ready.register(sys.stdin, selectors.EVENT_READ, None)
    for number, link in enumerate(links):
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ready.register(link, selectors.EVENT_READ, number)
    print("started", flush=True)
    while True:
        now = time.monotonic()
        for number in [number for number, at in due.items() if at <= now]:
            del due[number]
            begun[number] = time.monotonic()
            links[number].sendall(b"PING\r\n")
        patience = max(min(due.values()) - time.monotonic(), 0) if due else None
        for event, _ in ready.select(patience):
            if event.data is None:
                sys.stdout.buffer.write(msgspec.msgpack.encode(waits))
                return
            links[event.data].recv(100)
            now = time.monotonic()
            waits.append((event.data, begun[event.data], now - begun[event.data]))
            due[event.data] = now + _PAUSE_SECONDS


if __name__ == "__main__":
    app()

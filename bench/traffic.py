"""Clients of a cluster in a separate process, `python -m bench.traffic`, controlled over standard input and output.

Each caller sends a command, waits for the reply, pauses and sends the next: INCR of a key of its own, then GET of it. A
reply that contradicts an acknowledged write counts as a loss. Callers share one connection for each node. They follow
MOVED and ASK, and repeat a request whose connection is lost, as client libraries do; the time for that is part of the
operation.
"""

import contextlib
import gc
import heapq
import queue
import random
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Sequence
from typing import Self

import libvalkey
import msgspec

from cachewright.cli.demo.cluster_link import ClusterLink, Sockets
from cachewright.cli.demo.latency import percentile
from cachewright.cli.demo.slot_client import Seed

_KEYS = 500
_LONG_MS = 10.0
_LISTEN_SECONDS = 0.1
_DRAIN_SECONDS = 30.0


class TrafficSpec(msgspec.Struct, frozen=True, kw_only=True):
    seed: Seed
    callers: int = 4
    think_seconds: float = 0.002


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An operation that ended in an error, or a reply that contradicts an acknowledged write. `at` is monotonic."""

    at: float
    message: str


class Calls(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a run. `begun` and `took` are packed doubles, seconds of the monotonic clock; `writes` has one byte for
    each operation."""

    begun: bytes
    took: bytes
    writes: bytes
    errors: list[Failure]
    lost: list[Failure]
    acknowledged: int

    def within(self, begin: float, end: float) -> "ClientLatency":
        """Latency of operations between `begin` and `end`."""
        begun, took = array("d"), array("d")
        begun.frombytes(self.begun)
        took.frombytes(self.took)
        calls = zip(begun, took, self.writes, strict=True)
        within = [(seconds * 1000, bool(write)) for at, seconds, write in calls if begin <= at + seconds and at < end]
        ordered = sorted(took_ms for took_ms, _ in within)
        return ClientLatency(
            per_second=len(ordered) / (end - begin),
            p50_ms=percentile(ordered, 0.5),
            p99_ms=percentile(ordered, 0.99),
            p999_ms=percentile(ordered, 0.999),
            longest_ms=percentile(ordered, 1),
            longest_read_ms=max((took_ms for took_ms, write in within if not write), default=0.0),
            longest_write_ms=max((took_ms for took_ms, write in within if write), default=0.0),
            over_10_ms_percent=100 * sum(took_ms > _LONG_MS for took_ms in ordered) / max(len(ordered), 1),
        )


class ClientLatency(msgspec.Struct, frozen=True, kw_only=True):
    per_second: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    longest_ms: float
    longest_read_ms: float
    longest_write_ms: float
    over_10_ms_percent: float


class TrafficClients:
    """Starts and controls the process."""

    def __init__(self, spec: TrafficSpec) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.traffic"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        self._in.write(msgspec.json.encode(spec) + b"\n")
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
    def __init__(self, number: int, traffic: "_Traffic") -> None:
        self._number = number
        self._traffic = traffic
        self._random = random.Random(number)
        self._acknowledged: dict[bytes, int] = {}
        self._key = b""
        self._writes = False
        self._begun = 0.0

    def call(self) -> None:
        self._writes = not self._writes
        if self._writes:
            self._key = b"caller:%d:%d" % (self._number, self._random.randrange(_KEYS))
        command = "INCR" if self._writes else "GET"
        self._begun = time.monotonic()
        self._traffic.link.request(self._key, libvalkey.pack_command((command, self._key)), self._answered)

    def _answered(self, reply: object, at: float) -> None:
        if isinstance(reply, Exception):
            command = f"{'INCR' if self._writes else 'GET'} {self._key.decode()}"
            waited = f"after {at - self._begun:.3f} s"
            self._traffic.errors.append(Failure(at=at, message=f"{command}: {type(reply).__name__}: {reply}, {waited}"))
            self._writes = False
        else:
            self._check(int(reply) if isinstance(reply, int | bytes) else 0, at)
        self._traffic.done(self, self._begun, at, self._writes)

    def _check(self, number: int, at: float) -> None:
        last = self._acknowledged.get(self._key, 0)
        expected = last + 1 if self._writes else last
        if number < expected:
            message = f"{self._key.decode()} is {number} after {last} was acknowledged"
            self._traffic.lost.extend([Failure(at=at, message=message)] * (expected - number))
        self._acknowledged[self._key] = number

    @property
    def acknowledged(self) -> int:
        return sum(self._acknowledged.values())


class _Traffic:
    def __init__(self, spec: TrafficSpec) -> None:
        self._sockets = Sockets()
        self.link = ClusterLink(spec.seed, self._sockets)
        self.errors: list[Failure] = []
        self.lost: list[Failure] = []
        self._callers = [_Caller(number, self) for number in range(spec.callers)]
        self._think_seconds = spec.think_seconds
        self._begun, self._took, self._writes = array("d"), array("d"), bytearray()
        self._idle: list[tuple[float, int, _Caller]] = []
        self._order = 0

    def start(self) -> None:
        now = time.monotonic()
        for turn, caller in enumerate(self._callers):
            self._sleep(caller, now + self._think_seconds * turn / len(self._callers))

    def run(self, until: float) -> None:
        while (now := time.monotonic()) < until:
            while self._idle and self._idle[0][0] <= now:
                heapq.heappop(self._idle)[2].call()
            due = min(self._idle[0][0], until) if self._idle else until
            self._sockets.receive(max(due - time.monotonic(), 0))

    def done(self, caller: _Caller, begun: float, at: float, write: bool) -> None:
        self._begun.append(begun)
        self._took.append(at - begun)
        self._writes.append(write)
        self._sleep(caller, at + self._think_seconds)

    def stop(self) -> Calls:
        """Wait for the last replies."""
        limit = time.monotonic() + _DRAIN_SECONDS
        while len(self._idle) < len(self._callers) and (now := time.monotonic()) < limit:
            self._sockets.receive(limit - now)
        missing = len(self._callers) - len(self._idle)
        self.errors.extend([Failure(at=limit, message=f"no reply in {_DRAIN_SECONDS:.0f} s")] * missing)
        return Calls(
            begun=self._begun.tobytes(),
            took=self._took.tobytes(),
            writes=bytes(self._writes),
            errors=self.errors,
            lost=self.lost,
            acknowledged=sum(caller.acknowledged for caller in self._callers),
        )

    def _sleep(self, caller: _Caller, until: float) -> None:
        self._order += 1
        heapq.heappush(self._idle, (until, self._order, caller))


def messages(failures: Sequence[Failure]) -> str:
    return "; ".join(failure.message for failure in failures)


def main() -> None:
    traffic = _Traffic(msgspec.json.decode(sys.stdin.buffer.readline(), type=TrafficSpec))
    stop: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=lambda: stop.put(sys.stdin.buffer.readline()), daemon=True).start()
    gc.collect()
    gc.freeze()
    traffic.start()
    sys.stdout.buffer.write(b"under way\n")
    sys.stdout.buffer.flush()
    while stop.empty():
        traffic.run(time.monotonic() + _LISTEN_SECONDS)
    sys.stdout.buffer.write(msgspec.msgpack.encode(traffic.stop()))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()

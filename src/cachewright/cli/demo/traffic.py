"""Constant traffic in its own process, `python -m cachewright.cli.demo.traffic`; `wire` has its messages.

Request n is due n / rate seconds after the start and belongs to worker n modulo the number of workers. It does not wait
for requests of other workers, so a stalled cache gets the same load as a fast one. There are many more workers than
concurrent requests: a stalled node delays only its own requests, until it holds all workers.

The process adds little to the latency of the cache: it has one thread, one connection for each node, and little work
for a request. The time for which it waits for a processor shows in the lateness of its requests and in the latency of a
control node that does not scale.
"""

import gc
import heapq
import itertools
import os
import queue
import sys
import threading
import time

import libvalkey
import msgspec

from cachewright.cli.demo.cluster_link import ClusterLink, Sockets, as_reply
from cachewright.cli.demo.content import key
from cachewright.cli.demo.latency import Sample, Target, packed
from cachewright.cli.demo.slot_client import Seed, SlotClient
from cachewright.cli.demo.wire import FailedOperation, Line, Outcome, Stop, TrafficSpec, TrafficUpdate
from cachewright.cli.demo.workload import Request, Worker, WrongAnswer, read_back

_PULSE_SECONDS = 0.5
_REPORTED = 100
_CONTROL_SHARE = 3
_CONTROL_WORKERS = 8
_DRAIN_SECONDS = 10.0


class _Turn(msgspec.Struct):
    """A worker that is free or waits for a reply. `worker` is None for requests to the control node."""

    worker: Worker | None
    due: float
    interval: float
    sent: float = 0.0
    was_busy: bool = False


class Traffic:
    def __init__(self, spec: TrafficSpec) -> None:
        self._sockets = Sockets()
        self._cluster = ClusterLink(spec.seed, self._sockets)
        self._control = ClusterLink(spec.control, self._sockets)
        self._workers = [Worker(number, spec.data) for number in range(spec.workers)]
        self._rate = spec.operations_per_second
        self._samples: list[Sample] = []
        self._failures: list[FailedOperation] = []
        self._free: list[tuple[float, int, _Turn]] = []
        self._order = itertools.count()
        self._waiting = 0
        self._reported = 0

    def start(self) -> None:
        begin = time.monotonic()
        self._schedule(begin, list(self._workers), self._rate)
        self._schedule(begin, [None] * _CONTROL_WORKERS, self._rate / _CONTROL_SHARE)

    def _schedule(self, begin: float, workers: "list[Worker] | list[None]", rate: float) -> None:
        for number, worker in enumerate(workers):
            turn = _Turn(worker=worker, due=begin + number / rate, interval=len(workers) / rate)
            heapq.heappush(self._free, (turn.due, next(self._order), turn))

    def run(self, until: float) -> None:
        """Send and receive until this time of the monotonic clock."""
        while (now := time.monotonic()) < until:
            if self._free and self._free[0][0] <= now:
                self._begin(heapq.heappop(self._free)[2], now)
            else:
                due = min(self._free[0][0], until) if self._free else until
                self._sockets.receive(due - now)

    def _begin(self, turn: _Turn, now: float) -> None:
        turn.sent = now
        self._waiting += 1
        if turn.worker is None:
            name = key(0)
            read = libvalkey.pack_command(("GET", name))
            self._control.request(name, read, lambda _, at: self._end(turn, at, Target.CONTROL))
            return
        request = turn.worker.next()
        packed = libvalkey.pack_command(request.command)
        self._cluster.request(request.key, packed, lambda answer, at: self._answered(turn, request, answer, at))

    def _answered(self, turn: _Turn, request: Request, answer: object, at: float) -> None:
        try:
            request.accept(as_reply(answer))
        except Exception as error:  # any error counts and fails the demo
            kind = str(error).split(" ", 1)[0] if isinstance(error, libvalkey.ReplyError) else type(error).__name__
            self._failures.append(FailedOperation(at=turn.sent, kind=kind, message=str(error)[:200]))
        self._end(turn, at, Target.WRITE if request.writes else Target.READ)

    def _end(self, turn: _Turn, at: float, target: Target) -> None:
        self._waiting -= 1
        late = 0.0 if turn.was_busy else turn.sent - turn.due
        begin = turn.due if turn.was_busy else turn.sent
        self._samples.append(Sample(turn.due, at - begin, late, target))
        turn.due += turn.interval
        turn.was_busy = turn.due < at
        heapq.heappush(self._free, (turn.due, next(self._order), turn))

    def stop(self, seed: Seed) -> Outcome:
        """Wait for the replies that are due, and read back all acknowledged writes."""
        self._free.clear()
        limit = time.monotonic() + _DRAIN_SECONDS
        while self._waiting and (now := time.monotonic()) < limit:
            self._sockets.receive(limit - now)
        if self._waiting:
            message = f"{self._waiting} requests have no reply after {_DRAIN_SECONDS:.0f} s"
            self._failures.append(FailedOperation(at=limit, kind="Timeout", message=message))
        with SlotClient(seed) as slot_client:
            checked = read_back(slot_client, self._workers)
        wrong = sum(failure.kind == WrongAnswer.__name__ for failure in self._failures)
        samples = sorted(self._samples, key=lambda sample: sample.due)
        return Outcome(
            operations=sum(sample.target is not Target.CONTROL for sample in samples),
            errors=len(self._failures) - wrong,
            wrong_answers=wrong,
            failures=tuple(self._failures[:_REPORTED]),
            read_back=checked,
            samples=packed(samples),
        )

    def update(self) -> TrafficUpdate:
        recent = self._samples[self._reported :]
        self._reported = len(self._samples)
        durations = (sample.seconds for sample in recent if sample.target is not Target.CONTROL)
        return TrafficUpdate(
            operations=self._reported, errors=len(self._failures), longest_ms=max(durations, default=0.0) * 1000
        )


def main() -> None:
    traffic = Traffic(msgspec.json.decode(sys.stdin.buffer.readline(), type=TrafficSpec))
    stop_requests: queue.Queue[Stop] = queue.Queue()
    threading.Thread(target=_listen, args=(stop_requests,), daemon=True).start()
    gc.collect()
    gc.freeze()
    traffic.start()
    while stop_requests.empty():
        traffic.run(time.monotonic() + _PULSE_SECONDS)
        _send(traffic.update())
    _send(traffic.stop(stop_requests.get().seed))


def _listen(stop_requests: queue.Queue[Stop]) -> None:
    line = sys.stdin.buffer.readline()
    if not line:
        os._exit(1)  # the demo has ended
    stop_requests.put(msgspec.json.decode(line, type=Stop))


def _send(line: Line) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()

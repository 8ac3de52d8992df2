"""Constant traffic in its own process, `python -m cachewright.cli.demo.traffic`; `wire` has its messages.

Operation n is due n / rate seconds after the start and is taken by any free worker. It does not wait for earlier
operations, so a stalled cache gets the same load as a fast one. There are many more workers than concurrent operations:
a stalled node delays only its own operations, until it holds all workers. The client is the official library with its
own retries; an exception after those is an error.
"""

import gc
import itertools
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator

import msgspec
from valkey.cluster import ValkeyCluster

from cachewright.cli.demo.latency import Sample, packed
from cachewright.cli.demo.slot_client import Seed, SlotClient
from cachewright.cli.demo.wire import FailedOperation, Line, Outcome, Stop, TrafficSpec, TrafficUpdate
from cachewright.cli.demo.workload import Worker, WrongAnswer, read_back

_PULSE_SECONDS = 0.5
_ANSWER_SECONDS = 10.0
_REPORTED = 100
_SWITCH_SECONDS = 0.0005
"""Time that one thread may compute while another has a reply to read."""


class Traffic:
    def __init__(self, spec: TrafficSpec) -> None:
        self._rate = spec.operations_per_second
        self._client = ValkeyCluster(
            host=spec.seed.host,
            port=spec.seed.port,
            password=spec.seed.password,
            socket_timeout=_ANSWER_SECONDS,
            socket_connect_timeout=_ANSWER_SECONDS,
        )
        self._workers = [Worker(self._client, number, spec.data) for number in range(spec.workers)]
        self._logs: list[list[Sample]] = [[] for _ in self._workers]
        self._failures: list[FailedOperation] = []
        self._schedule: Iterator[int] = itertools.count()
        self._last_update = 0.0
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=pair, daemon=True)
            for pair in zip(self._workers, self._logs, strict=True)
        ]

    def start(self) -> None:
        self._begin = self._last_update = time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self, seed: Seed) -> Outcome:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        with SlotClient(seed) as slot_client:
            checked = read_back(slot_client, self._workers)
        failures = sorted(self._failures, key=lambda failure: failure.at)
        samples = sorted((sample for log in self._logs for sample in log), key=lambda sample: sample.due)
        wrong = sum(failure.kind == WrongAnswer.__name__ for failure in failures)
        return Outcome(
            operations=len(samples),
            errors=len(failures) - wrong,
            wrong_answers=wrong,
            failures=tuple(failures[:_REPORTED]),
            read_back=checked,
            samples=packed(samples),
        )

    def update(self) -> TrafficUpdate:
        since, self._last_update = self._last_update, time.monotonic()
        recent = [
            sample.seconds
            for log in self._logs
            for sample in itertools.takewhile(lambda sample: sample.due + sample.seconds > since, reversed(log))
        ]
        return TrafficUpdate(
            operations=sum(map(len, self._logs)),
            errors=len(self._failures),
            longest_ms=max(recent, default=0.0) * 1000,
        )

    def _work(self, worker: Worker, log: list[Sample]) -> None:
        while not self._stopping.is_set():
            due = self._begin + next(self._schedule) / self._rate
            begin = due
            if (early := due - time.monotonic()) > 0:
                if self._stopping.wait(early):
                    return
                begin = time.monotonic()
            try:
                worker.act()
            except Exception as error:  # any error counts and fails the demo
                self._failures.append(FailedOperation(at=begin, kind=type(error).__name__, message=str(error)[:200]))
            log.append(Sample(due, time.monotonic() - begin, begin - due))


def main() -> None:
    traffic = Traffic(msgspec.json.decode(sys.stdin.buffer.readline(), type=TrafficSpec))
    stop_requests: queue.Queue[Stop] = queue.Queue()
    threading.Thread(target=_listen, args=(stop_requests,), daemon=True).start()
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    traffic.start()
    while True:
        try:
            stop = stop_requests.get(timeout=_PULSE_SECONDS)
        except queue.Empty:
            _send(traffic.update())
        else:
            _send(traffic.stop(stop.seed))
            return


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

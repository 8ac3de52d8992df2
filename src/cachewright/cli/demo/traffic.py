"""Steady traffic, as a process of its own: `python -m cachewright.cli.demo.traffic`, spoken to as `wire` says.

Operation n is due n / rate seconds after the start, whatever became of those before it, and is taken by whichever
worker is free: a cache that stalls is not spared the load that a waiting client would hold back. There are many more
workers than operations under way, so a node's stall delays only what goes to that node, until it holds all workers.
The client is the official one with its own retries; what it raises after those is an error.
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
from cachewright.cli.demo.owners import Seed, SlotClient
from cachewright.cli.demo.wire import Line, Outcome, Pulse, Stop, TrafficSpec, Trouble
from cachewright.cli.demo.workload import Worker, WrongAnswer, read_back

_PULSE_SECONDS = 0.5
_ANSWER_SECONDS = 10.0
_TOLD = 100
_SWITCH_SECONDS = 0.0005
"""How long one thread may compute while another has an answer to read."""


class Traffic:
    def __init__(self, orders: TrafficSpec) -> None:
        self._rate = orders.operations_per_second
        self._client = ValkeyCluster(
            host=orders.seed.host,
            port=orders.seed.port,
            password=orders.seed.password,
            socket_timeout=_ANSWER_SECONDS,
            socket_connect_timeout=_ANSWER_SECONDS,
        )
        self._workers = [Worker(self._client, number, orders.data) for number in range(orders.workers)]
        self._logs: list[list[Sample]] = [[] for _ in self._workers]
        self._troubles: list[Trouble] = []
        self._schedule: Iterator[int] = itertools.count()
        self._told = 0.0
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=pair, daemon=True)
            for pair in zip(self._workers, self._logs, strict=True)
        ]

    def start(self) -> None:
        self._begin = self._told = time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self, seed: Seed) -> Outcome:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        with SlotClient(seed) as owners:
            kept = read_back(owners, self._workers)
        troubles = sorted(self._troubles, key=lambda trouble: trouble.at)
        samples = sorted((sample for log in self._logs for sample in log), key=lambda sample: sample.due)
        wrong = sum(trouble.kind == WrongAnswer.__name__ for trouble in troubles)
        return Outcome(
            operations=len(samples),
            errors=len(troubles) - wrong,
            wrong_answers=wrong,
            troubles=tuple(troubles[:_TOLD]),
            kept=kept,
            samples=packed(samples),
        )

    def pulse(self) -> Pulse:
        since, self._told = self._told, time.monotonic()
        recent = [
            sample.seconds
            for log in self._logs
            for sample in itertools.takewhile(lambda sample: sample.due + sample.seconds > since, reversed(log))
        ]
        return Pulse(
            operations=sum(map(len, self._logs)),
            errors=len(self._troubles),
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
            except Exception as error:  # whatever it is, it is counted and makes the demo fail
                self._troubles.append(Trouble(at=begin, kind=type(error).__name__, message=str(error)[:200]))
            log.append(Sample(due, time.monotonic() - begin, begin - due))


def main() -> None:
    traffic = Traffic(msgspec.json.decode(sys.stdin.buffer.readline(), type=TrafficSpec))
    asked_to_stop: queue.Queue[Stop] = queue.Queue()
    threading.Thread(target=_listen, args=(asked_to_stop,), daemon=True).start()
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    traffic.start()
    while True:
        try:
            stop = asked_to_stop.get(timeout=_PULSE_SECONDS)
        except queue.Empty:
            _say(traffic.pulse())
        else:
            _say(traffic.stop(stop.seed))
            return


def _listen(asked_to_stop: queue.Queue[Stop]) -> None:
    line = sys.stdin.buffer.readline()
    if not line:
        os._exit(1)  # whoever asked for the traffic is gone
    asked_to_stop.put(msgspec.json.decode(line, type=Stop))


def _say(line: Line) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()

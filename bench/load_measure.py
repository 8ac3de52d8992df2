"""What is measured of an installation while it works: requests, processes, the database, and ages of its knowledge."""

import asyncio
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import httpx
import msgspec
import psutil
import psycopg

from cachewright.cli.demo.cloud import Access
from cachewright.cli.demo.latency import percentile
from cachewright.client.account import Account
from cachewright.client.errors import RequestRefused, Unreachable
from cachewright.client.http import ApiClient

_EVERY_SECONDS = 0.5
_SCRAPE_SECONDS = 5.0
_SETTLED_SECONDS = 1.5
_LOOPS = ("supervisor", "statistics", "cluster check", "housekeeping")
_AGES = """
    SELECT extract(epoch FROM clock_timestamp())::float8 - estimated_at / 1000.0
    FROM tasks WHERE status = 'EXECUTING' AND estimated_at IS NOT NULL
"""
_SILENT = """
    SELECT max(extract(epoch FROM clock_timestamp())::float8 - seen_at / 1000.0) FROM hosts WHERE name <> 'local'
"""
_COUNTERS = """
    SELECT xact_commit, tup_inserted + tup_updated + tup_deleted, (SELECT wal_bytes FROM pg_stat_wal)::bigint
    FROM pg_stat_database WHERE datname = current_database()
"""


class _Background(threading.Thread):
    """A thread that works during a `with` block, until `_over` is set."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


class Requests(_Background):
    """Sends requests of some kinds to a server, each kind twice a second on a connection of its own, in a `with` block.
    The time of a request counts from when it was due.

    :param paths: path of the next request of each kind, below the project.
    """

    def __init__(self, access: Access, paths: Mapping[str, Callable[[], str]]) -> None:
        super().__init__()
        self._client = ApiClient(msgspec.convert(msgspec.to_builtins(access), Account))
        self._paths = paths
        self.seconds: dict[str, list[float]] = {kind: [] for kind in paths}
        self.failed: dict[str, int] = dict.fromkeys(paths, 0)

    def run(self) -> None:
        asyncio.run(self._send())

    async def _send(self) -> None:
        await asyncio.gather(*map(self._repeat, self._paths))

    async def _repeat(self, kind: str) -> None:
        async with self._client.connected() as http:
            due = time.perf_counter()
            while not self._over.is_set():
                try:
                    await self._client.asked(http, "GET", self._paths[kind]())
                except (RequestRefused, Unreachable):
                    self.failed[kind] += 1
                else:
                    self.seconds[kind].append(time.perf_counter() - due)
                due = max(due + _EVERY_SECONDS, time.perf_counter())
                await asyncio.sleep(due - time.perf_counter())

    def figures(self) -> Iterator[tuple[str, dict[str, float]]]:
        for kind, taken in self.seconds.items():
            if not taken:
                raise RuntimeError(f"the server has not answered any request of the kind {kind}")
            times = {"p50_ms": 1000 * statistics.median(taken), "p99_ms": 1000 * p99(taken)}
            yield kind, times | {"requests": len(taken), "failed": self.failed[kind]}


class Ages(_Background):
    """Measures in a `with` block how old the estimates of running tasks are, and, every five seconds, how long ago the
    loops of a server have begun their latest round.

    :param metrics: URL and headers of the page of metrics.
    """

    def __init__(self, connection: psycopg.Connection[Any], metrics: tuple[str, Mapping[str, str]]) -> None:
        super().__init__()
        self._connection = connection
        self._url, self._headers = metrics
        self.of_estimates: list[float] = []
        self.of_reports: list[float] = []
        self.of_loops: dict[str, float] = dict.fromkeys(_LOOPS, 0.0)
        self.scrapes: list[float] = []

    def run(self) -> None:
        scraped = float("-inf")
        with httpx.Client(timeout=30) as http:
            while not self._over.wait(_EVERY_SECONDS):
                self.of_estimates += [row[0] for row in self._connection.execute(_AGES)]
                self.of_reports += [row[0] for row in self._connection.execute(_SILENT)]
                if time.monotonic() - scraped >= _SCRAPE_SECONDS:
                    scraped = time.monotonic()
                    self._scrape(http)

    def _scrape(self, http: httpx.Client) -> None:
        begun = time.perf_counter()
        try:
            page = http.get(self._url, headers=dict(self._headers)).text
        except httpx.HTTPError:
            return  # the server was killed
        self.scrapes.append(time.perf_counter() - begun)
        for line in page.splitlines():
            name, _, value = line.removeprefix('cachewright_heartbeat_timestamp_seconds{loop="').partition('"} ')
            if name in self.of_loops:
                self.of_loops[name] = max(self.of_loops[name], time.time() - float(value))

    def figures(self) -> Iterator[tuple[str, dict[str, float]]]:
        yield from ((f"loop: {name}", {"longest_seconds": age}) for name, age in self.of_loops.items() if age)
        if self.scrapes:
            yield "page of metrics", {"seconds": statistics.median(self.scrapes)}
        yield "reports of agents", {"oldest_seconds": max(self.of_reports, default=0.0)}
        if self.of_estimates:
            middle = statistics.median(self.of_estimates)
            yield "age of estimates", {"p50_seconds": middle, "p99_seconds": p99(self.of_estimates)}


class Used(msgspec.Struct):
    """:ivar parts: processor seconds, share of a core and memory (USS) of each part of the control plane.
    :ivar busy_percent: share of a core that all programs of the machine use, also those that others run.
    :ivar commits: of the database, and the rows and bytes of its log that were written.
    """

    seconds: float = 0.0
    parts: dict[str, dict[str, float]] = {}
    busy_percent: float = 0.0
    commits: float = 0.0
    rows: float = 0.0
    log_kb: float = 0.0


@contextmanager
def used(
    processes: Callable[[], Mapping[str, Sequence[psutil.Process]]], connection: psycopg.Connection[Any]
) -> Iterator[Used]:
    """Measure what the `with` block uses. A server that is killed within it is left out.

    :param processes: returns the processes of each part that run.
    """
    found, begun = Used(), time.monotonic()
    before, counted = {part: _times(own) for part, own in processes().items()}, _counters(connection)
    psutil.cpu_percent(percpu=True)
    yield found
    found.seconds, found.busy_percent = time.monotonic() - begun, sum(psutil.cpu_percent(percpu=True))
    for part, own in processes().items():
        if not own:
            continue
        spent = sum(after - before[part].get(pid, 0.0) for pid, after in _times(own).items())
        found.parts[part] = {
            "cpu_percent": 100 * spent / found.seconds,
            "cpu_seconds": spent,
            "uss_mb": sum(map(_memory, own)) / 2**20,
        }
    time.sleep(_SETTLED_SECONDS)  # sessions of PostgreSQL report what they did within a second
    commits, rows, log_bytes = (new - old for new, old in zip(_counters(connection), counted, strict=True))
    found.commits, found.rows, found.log_kb = commits, rows, log_bytes / 1024


def p99(values: Sequence[float]) -> float:
    return percentile(sorted(values), 0.99)


def _times(processes: Sequence[psutil.Process]) -> dict[int, float]:
    """Return the processor seconds of each process, with those of its children that have ended."""
    found = {}
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        found[process.pid] = sum(times[:4])  # user, system, and the same of ended children
    return found


def _memory(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().uss)
    except psutil.NoSuchProcess:
        return 0.0


def _counters(connection: psycopg.Connection[Any]) -> tuple[int, int, int]:
    row = connection.execute(_COUNTERS).fetchone()
    assert row
    return row[0], row[1], row[2]

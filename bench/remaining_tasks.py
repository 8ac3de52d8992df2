"""Runs one task of the benchmark of remaining time: clients, interruption, and the samples of its record."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import httpx
import psutil

from bench.cluster import BenchCluster
from bench.heavy_writes import HeavyWrites, HeavyWritesSpec
from bench.remaining_cases import Cause, Clients, Series
from bench.remaining_metrics import Interruption, Observed, Sample
from bench.traffic import TrafficClients, TrafficSpec
from cachewright.cli.demo.cloud import Size
from cachewright.cli.demo.slot_client import Seed
from cachewright.cli.demo.watch import newest
from cachewright.client.errors import CommandFailed
from cachewright.client.http import ApiClient
from cachewright.client.progress import parse_detail, parse_time
from cachewright.valkey.slots import SlotRange

_EVERY_SECONDS = 0.2
_WITHIN_SECONDS = 900.0
_NOTICED_SECONDS = 2.0  # the nodes notice clients that have sent commands for a while
_INTERRUPTED_AT = 30
_PAUSE_SECONDS = 10.0
_FREEZE_SECONDS = 5.0
_LOOK_SECONDS = 0.02


def run(cluster: BenchCluster, instance_id: str, series: Series, position: int) -> Observed:
    """Scale an instance to the next number of shards of a series, and watch the task. RuntimeError if it fails."""
    size = Size(series.shards[position + 1], series.shard_gb)
    body = {"spec_code": size.spec_code, "migration_mode": series.mode}
    path = f"instances/{instance_id}/resize"
    plan = partial(cluster.api.ask, "POST", f"{path}/plan", body)
    with _clients(series.clients, cluster.seed(instance_id), plan):
        if series.clients is not Clients.NONE:
            time.sleep(_NOTICED_SECONDS)
        planned = plan()["seconds"]
        known = cluster.known(instance_id)
        cluster.api.ask("POST", path, {**body, "new_capacity": size.capacity})
        task_id = newest(cluster.cloud, instance_id, known).id
        watch = _Watch(cluster.api, f"instances/{instance_id}/tasks/{task_id}")
        with ThreadPoolExecutor(1) as thread:
            record = thread.submit(lambda: asyncio.run(watch.follow()))
            cause = series.interrupted.get(position)
            cut = _interrupted(cause, cluster, instance_id, watch, record) if cause else ()
        task = record.result()["task"]
    if task["status"] != "SUCCESS":
        raise RuntimeError(f"{series.name(position)} is {task['status']}: {record.result()['message']}")
    begun, ended = parse_time(task["created_at"]), parse_time(task["updated_at"])
    assert begun
    assert ended
    return Observed(
        begun=begun.timestamp(),
        ended=ended.timestamp(),
        planned=planned,
        samples=tuple(sample for sample in watch.samples if sample.at < ended.timestamp()),
        interruptions=cut,
    )


class _Watch:
    """Reads the record of a task several times a second. The server may be down meanwhile."""

    def __init__(self, api: ApiClient, path: str) -> None:
        self.path = path
        self.samples: list[Sample] = []
        self._api = api

    @property
    def percent(self) -> int:
        return self.samples[-1].percent if self.samples else 0

    async def follow(self) -> Any:
        """The record after the end of the task."""
        deadline = time.monotonic() + _WITHIN_SECONDS
        async with self._api.connected() as http:
            while (asked := time.monotonic()) < deadline:
                with suppress(CommandFailed):
                    record = await self._read(http)
                    if record["task"]["status"] in {"SUCCESS", "FAILED"}:
                        return record
                    if record["task"]["status"] == "EXECUTING":  # before the plan, the end is that of other tasks
                        self.samples.append(_sample(record, time.time()))
                await asyncio.sleep(max(asked + _EVERY_SECONDS - time.monotonic(), 0))
        raise TimeoutError(f"{self.path} does not end")

    async def _read(self, http: httpx.AsyncClient) -> Any:
        return await self._api.asked(http, "GET", self.path)


def _sample(record: Any, at: float) -> Sample:
    shown = {**record, **record["progress"]}
    return Sample(
        at=at,
        percent=shown["progress"],
        remaining=shown["remain_seconds"],
        low=shown["remain_low"],
        high=shown["remain_high"],
        is_waiting=bool(shown["waiting"]),
        control=str(record["control"]),
        effort=shown["effort"],
    )


def _moving(plan: Any) -> tuple[SlotRange, ...]:
    """Slots that move by a plan."""
    details = [parse_detail(sub_step["detail"]) for step in plan["steps"] for sub_step in step["sub_steps"]]
    return tuple(SlotRange(detail.first_slot, detail.last_slot) for detail in details if detail)


@contextmanager
def _clients(kind: Clients, seed: Seed, plan: Callable[[], Any]) -> Iterator[None]:
    if kind is Clients.NONE:
        yield
    elif kind is Clients.STEADY:
        with TrafficClients(TrafficSpec(seed=seed)):
            yield
    elif kind is Clients.HEAVY:
        with HeavyWrites(HeavyWritesSpec(seed=seed, slots=_moving(plan()))):
            yield
    else:
        over = threading.Event()
        coming = threading.Thread(target=_come_and_go, args=(seed, over))
        coming.start()
        try:
            yield
        finally:
            over.set()
            coming.join()


def _come_and_go(seed: Seed, over: threading.Event) -> None:
    while not over.wait(1):
        with TrafficClients(TrafficSpec(seed=seed, callers=8, think_seconds=0.001)):
            over.wait(1.5)


def _interrupted(
    cause: Cause, cluster: BenchCluster, instance_id: str, watch: _Watch, record: Future[Any]
) -> tuple[Interruption, ...]:
    """Interrupt a task, unless it ends before."""
    while watch.percent < _INTERRUPTED_AT:
        if record.done():
            return ()
        time.sleep(_LOOK_SECONDS)
    begin = time.time()
    match cause:
        case Cause.PAUSE:
            _pause(cluster.api, watch.path)
        case Cause.KILL:
            cluster.server.crash_and_restart()
        case Cause.FREEZE:
            _freeze(cluster.seed(instance_id).port)
    return (Interruption(begin, time.time()),)


def _pause(api: ApiClient, path: str) -> None:
    settings = api.ask("GET", path)["control"]
    api.ask("PUT", f"{path}/control", {**settings, "state": "paused"})
    time.sleep(_PAUSE_SECONDS)
    api.ask("PUT", f"{path}/control", {**settings, "state": "running"})


def _freeze(port: int) -> None:
    node = next(
        psutil.Process(link.pid)
        for link in psutil.net_connections(kind="tcp")
        if link.pid and link.laddr and (link.status, link.laddr.port) == (psutil.CONN_LISTEN, port)
    )
    node.suspend()
    try:
        time.sleep(_FREEZE_SECONDS)
    finally:
        node.resume()

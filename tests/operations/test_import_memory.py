"""Limits on the memory of gateways that load a file."""

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cachewright import errors
from cachewright.hosts.host import ProcessInfo
from cachewright.hosts.resources import Resources
from cachewright.jobs.failure import JobFailed
from cachewright.jobs.migrations.files import FileOfImport, FilePlace
from cachewright.jobs.migrations.machine import GatewayMachine
from cachewright.jobs.migrations.shards import ImportedFile
from cachewright.valkey.sources import gateway as gateways
from cachewright.valkey.sources.gateway import Gateway, gateway_conf

FILE = ImportedFile(0, "dump.rdb", 1)
GATEWAY = Gateway("gateway", "secret", Path("/does/not/matter"))
MUCH = 1 << 40


def loading(memory: int, free: int) -> Any:
    """The file of an import, whose gateway is this process, on a host with so much memory."""

    async def process(name: str) -> ProcessInfo:
        return ProcessInfo(os.getpid(), 0.0)

    processes: Any = SimpleNamespace(process=process, start=process)
    machine = GatewayMachine(
        processes, Path("/does/not/matter"), lambda: Resources(memory=memory, memory_free=free, disk_free=0)
    )
    caller = SimpleNamespace(raise_if_cancelled=lambda: None)
    run: Any = SimpleNamespace(machine=machine, caller=caller, gateway=lambda number: GATEWAY)
    storage: Any = None
    return FileOfImport(run, FILE, FilePlace(url="https://host/dump.rdb"), storage)


@pytest.mark.parametrize(
    ("most", "free", "code"),
    [(1, 100, errors.MIGRATION_OUT_OF_MEMORY), (MUCH, 1, errors.NOT_ENOUGH_MEMORY)],
)
async def test_memory_is_limited_while_a_gateway_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, most: int, free: int, code: str
) -> None:
    """It does not answer while it unpacks a value."""

    async def never(gateway: Gateway) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(gateways, "state", never)
    ended_first: list[int] = []
    monkeypatch.setattr("cachewright.jobs.migrations.files.end_first", ended_first.append)
    limited: list[int] = []
    monkeypatch.setattr(
        "cachewright.jobs.migrations.gateway_limits.limit_process",
        lambda pid, *, memory, file: limited.append(memory),
    )
    file = loading(100, free)
    monkeypatch.setattr(file, "fetch", lambda progress: asyncio.sleep(0))
    with pytest.raises(JobFailed) as failed:
        await file.loaded(most, lambda state: None)
    assert (failed.value.code, failed.value.final) == (code, True)
    assert ended_first == [os.getpid()]
    assert limited
    assert min(limited) > most


def test_the_kernel_ends_a_gateway_before_nodes() -> None:
    lines = gateway_conf(GATEWAY).splitlines()
    assert "oom-score-adj absolute" in lines
    assert "oom-score-adj-values 1000 1000 1000" in lines

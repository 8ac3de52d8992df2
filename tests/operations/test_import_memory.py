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
from cachewright.operations.online_migrations.files import ImportedFile, ImportFiles
from cachewright.tasks.operation import ActionFailed
from cachewright.valkey.sources import gateway as gateways
from cachewright.valkey.sources.gateway import Gateway, gateway_conf

FILE = ImportedFile(0, "dump.rdb", 1)
GATEWAY = Gateway("gateway", "secret", Path("/does/not/matter"))
MUCH = 1 << 40


def loading(memory: int, free: int) -> Any:
    """The files of an import, whose gateway is this process, on a host with so much memory."""

    async def process(name: str) -> ProcessInfo:
        return ProcessInfo(os.getpid(), 0.0)

    host = SimpleNamespace(
        gateways=SimpleNamespace(process=process, start=process),
        gateways_dir=Path("/does/not/matter"),
        own_resources=lambda: Resources(memory=memory, memory_free=free, disk_free=0),
    )
    run: Any = SimpleNamespace(
        context=SimpleNamespace(host=host, streams=None, relays=None),
        migration=SimpleNamespace(id="m", source_files="https://host/dump.rdb"),
        instance=SimpleNamespace(control_secret="secret"),
    )
    return ImportFiles(run)


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
    monkeypatch.setattr("cachewright.operations.online_migrations.files.end_first", ended_first.append)
    limited: list[int] = []
    monkeypatch.setattr(
        "cachewright.jobs.migrations.gateway_limits.limit_process",
        lambda pid, *, memory, file: limited.append(memory),
    )
    files = loading(100, free)
    monkeypatch.setattr(files, "fetch", lambda file, progress: asyncio.sleep(0))
    step: Any = SimpleNamespace(raise_if_cancelled=lambda: None)
    with pytest.raises(ActionFailed) as failed:
        await files.loaded(step, FILE, most, lambda state: None)
    assert (failed.value.code, failed.value.final) == (code, True)
    assert ended_first == [os.getpid()]
    assert limited
    assert min(limited) > most


def test_the_kernel_ends_a_gateway_before_nodes() -> None:
    lines = gateway_conf(GATEWAY).splitlines()
    assert "oom-score-adj absolute" in lines
    assert "oom-score-adj-values 1000 1000 1000" in lines

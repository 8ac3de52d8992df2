"""Limits of the kernel on a gateway."""

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cachewright import errors
from cachewright.config import Settings
from cachewright.hosts.host import CONFIG
from cachewright.hosts.local import LocalHost
from cachewright.hosts.resources import Resources
from cachewright.jobs.failure import JobFailed
from cachewright.jobs.migrations import gateway_limits
from cachewright.jobs.migrations.gateway_limits import (
    gateway_memory,
    limit_gateway,
    require_disk,
    require_host_memory,
    require_stored,
    require_within_limits,
)
from cachewright.jobs.migrations.machine import GatewayMachine
from cachewright.valkey.client import NODE_GONE
from cachewright.valkey.sources import gateway as gateways
from cachewright.valkey.sources.gateway import Gateway
from serving import until

MEGABYTE = 1024 * 1024


class Running:
    def __init__(self, folder: Path) -> None:
        self.settings = Settings(data_dir=folder)
        self.host = LocalHost(self.settings)
        self.machine = GatewayMachine(self.host.gateways, self.host.gateways_dir, self.host.own_resources)
        self.gateway = Gateway("m.0", "secret", self.host.gateways_dir / "m.0")

    async def pid(self) -> int | None:
        process = await self.host.gateways.process("m.0")
        return process.pid if process else None


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Running]:
    running = Running(tmp_path)
    await running.host.gateways.write_files("m.0", {CONFIG: gateways.gateway_conf(running.gateway)})
    await running.host.gateways.start("m.0")
    yield running
    await running.host.gateways.remove("m.0", 0)


@pytest.mark.node
async def test_a_gateway_that_needs_more_memory_ends_and_leaves_no_core(there: Running) -> None:
    await require_within_limits(there.gateway, None)
    await limit_gateway(there.machine, there.gateway, 100 * MEGABYTE)
    session = await gateways.session(there.gateway, 10)
    assert await session.ask("SETRANGE", "small", 10 * MEGABYTE, "x") == 10 * MEGABYTE + 1
    with suppress(*NODE_GONE):
        await session.ask("SETRANGE", "large", 500 * MEGABYTE, "x")
    until(lambda: gateways.is_out_of_memory(gateways.read_log(there.gateway)), "the gateway has not ended")
    assert not list(there.gateway.folder.glob("core*"))
    with pytest.raises(JobFailed) as failed:
        await require_within_limits(there.gateway, None)
    assert (failed.value.code, failed.value.final) == (errors.NOT_ENOUGH_MEMORY, True)


@pytest.mark.node
async def test_a_limit_can_be_raised_and_one_of_a_process_that_has_ended_is_nothing(there: Running) -> None:
    await limit_gateway(there.machine, there.gateway, 10 * MEGABYTE)
    await limit_gateway(there.machine, there.gateway, 1000 * MEGABYTE)
    session = await gateways.session(there.gateway, 10)
    assert await session.ask("SETRANGE", "large", 400 * MEGABYTE, "x") == 400 * MEGABYTE + 1
    session.close()
    await there.host.gateways.stop("m.0", 0)
    await limit_gateway(there.machine, there.gateway, 1)


async def test_a_snapshot_is_not_longer_than_the_data_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine: Any = SimpleNamespace(folder=tmp_path / "gateways")
    most = gateway_memory(1000)

    def receiving(received: int) -> Any:
        return SimpleNamespace(received=received)

    gateway = Gateway("m.0", "secret", machine.folder / "m.0")
    gateway.folder.mkdir(parents=True)
    await require_disk(machine, gateway, receiving(most), most)
    await require_stored(machine, gateway, most)
    with pytest.raises(JobFailed) as failed:
        await require_disk(machine, gateway, receiving(most + 1), most)
    assert (failed.value.code, failed.value.final) == (errors.SOURCE_UNUSABLE, True)
    (gateway.folder / "temp-1.7.rdb").write_bytes(b"x" * 11)
    await require_disk(machine, gateway, receiving(0), 11)
    with pytest.raises(JobFailed) as failed:
        await require_disk(machine, gateway, receiving(0), 10)
    assert failed.value.code == errors.SOURCE_UNUSABLE
    (gateway.folder / gateways.LOG).write_text("7:S # bio: Write error or short write writing to the DB dump file")
    with pytest.raises(JobFailed) as failed:
        await require_stored(machine, gateway, most)
    assert (failed.value.code, failed.value.final) == (errors.SOURCE_UNUSABLE, True)

    def full(folder: Path) -> None:
        raise OSError(28, "the disk is almost full")

    monkeypatch.setattr(gateway_limits, "require_reserve", full)
    with pytest.raises(JobFailed) as failed:
        await require_stored(machine, gateway, most)
    assert (failed.value.code, failed.value.final) == (errors.NOT_ENOUGH_DISK, True)
    with pytest.raises(JobFailed) as failed:
        await require_disk(machine, gateway, receiving(1), most)
    assert (failed.value.code, failed.value.final) == (errors.NOT_ENOUGH_DISK, True)
    (gateway.folder / "temp-1.7.rdb").unlink()
    await require_disk(machine, gateway, receiving(0), most)


async def test_what_the_kernel_has_ended_is_not_started_again(tmp_path: Path) -> None:
    gateway = Gateway("m.0", "secret", tmp_path)
    (tmp_path / "temp-1800000000.7.rdb").write_bytes(b"x" * 100)
    await require_within_limits(gateway, 101)
    await require_within_limits(gateway, None)
    with pytest.raises(JobFailed) as failed:
        await require_within_limits(gateway, 100)
    assert "more than 100 bytes" in failed.value.message
    lines = ["7:S # Short read or OOM loading DB. Unrecoverable error, aborting now."]
    (tmp_path / gateways.LOG).write_text("\n".join(lines))
    await require_within_limits(gateway, 101)
    lines.append("7:S # Terminating server after rdb file reading failure.")
    (tmp_path / gateways.LOG).write_text("\n".join(lines))
    with pytest.raises(JobFailed) as failed:
        await require_within_limits(gateway, 101)
    assert (failed.value.code, failed.value.final) == (errors.SOURCE_UNUSABLE, True)
    assert "Short read" in failed.value.message


async def test_a_source_that_says_that_it_has_grown_does_not_take_the_memory_of_nodes() -> None:
    machine: Any = SimpleNamespace(resources=lambda: found)
    found = Resources(memory=100, memory_free=5, disk_free=0)
    await require_host_memory(machine, "a test runs")
    found = Resources(memory=100, memory_free=4, disk_free=0)
    with pytest.raises(JobFailed) as failed:
        await require_host_memory(machine, "a test runs")
    assert (failed.value.code, failed.value.final) == (errors.NOT_ENOUGH_MEMORY, True)

"""Environment of node processes: real ones, in a temporary folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from cachewright.config import Settings
from cachewright.hosts.local import LocalHost
from cachewright.hosts.ports import free_ports

pytestmark = pytest.mark.node
NODE = "c" * 40


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[LocalHost]:
    made = LocalHost(Settings(data_dir=tmp_path))
    port = next(free_ports("127.0.0.1", (10240, 30000), set()))
    lines = f"bind 127.0.0.1\nport {port}\ndaemonize yes\npidfile valkey.pid\nlogfile valkey.log\nset-proc-title no\n"
    await made.write_files(NODE, {"valkey.conf": lines})
    yield made
    await made.remove(NODE, 5)


async def process_of(host: LocalHost) -> psutil.Process:
    process = await host.process(NODE)
    assert process is not None
    return psutil.Process(process.pid)


async def test_freed_chunks_of_memory_do_not_wait_to_be_gathered_at_once(host: LocalHost) -> None:
    await host.start(NODE)
    assert (await process_of(host)).environ()["GLIBC_TUNABLES"] == "glibc.malloc.mxfast=0"


async def test_a_restarted_node_gets_it_too(host: LocalHost) -> None:
    await host.start(NODE)
    first = await process_of(host)
    await host.restart(NODE, first.create_time() + 1, 5)
    assert (await process_of(host)).pid != first.pid
    assert (await process_of(host)).environ()["GLIBC_TUNABLES"] == "glibc.malloc.mxfast=0"


async def test_a_node_does_not_get_the_environment_of_the_server(
    host: LocalHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHEWRIGHT_TEST_SECRET", "hidden")
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.mxfast=128")
    await host.start(NODE)
    environment = (await process_of(host)).environ()
    assert "CACHEWRIGHT_TEST_SECRET" not in environment
    assert environment["GLIBC_TUNABLES"] == "glibc.malloc.mxfast=0"

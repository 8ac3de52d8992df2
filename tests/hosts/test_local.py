"""Node processes of this machine: real ones, in a temporary folder."""

import asyncio
import os
import socket
import stat
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from cachewright.config import Settings
from cachewright.hosts.host import Host, NodeStartFailed
from cachewright.hosts.local import LocalHost
from cachewright.hosts.ports import NoFreePort, free_ports, is_free
from cachewright.hosts.process_end import has_ended
from cachewright.hosts.resources import end_first, resident_memory

pytestmark = pytest.mark.node
NODE = "a" * 40


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[LocalHost]:
    made = LocalHost(Settings(data_dir=tmp_path))
    yield made
    await made.remove(NODE, 5)


async def write(host: Host, port: int) -> None:
    lines = f"bind 127.0.0.1\nport {port}\ndaemonize yes\npidfile valkey.pid\nlogfile valkey.log\nset-proc-title no\n"
    await host.write_files(NODE, {"valkey.conf": lines})


def a_port() -> int:
    return next(free_ports("127.0.0.1", (10240, 30000), set()))


async def test_a_node_belongs_to_nobody_and_is_found_again(host: LocalHost, tmp_path: Path) -> None:
    await write(host, a_port())
    await host.start(NODE)
    process = await host.process(NODE)
    assert process is not None
    assert psutil.Process(process.pid).ppid() != os.getpid()
    assert process.started_at == psutil.Process(process.pid).create_time()
    again = LocalHost(Settings(data_dir=tmp_path, valkey_binary=Path("/does/not/matter")))
    assert await again.process(NODE) == process
    assert await again.processes() == {NODE: process}
    await host.start(NODE)
    assert await host.process(NODE) == process, "it was started a second time"


async def test_two_who_start_it_at_once_start_one(host: LocalHost) -> None:
    await write(host, a_port())
    await asyncio.gather(*(host.start(NODE) for _ in range(5)))
    assert await host.process(NODE)


async def test_a_successor_starts_when_the_process_has_ended(host: LocalHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """A valkey-server that ends removes its pid file first, and its Unix socket later."""
    await write(host, a_port())
    await host.start(NODE)
    info = await host.process(NODE)
    assert info is not None
    process, launch = psutil.Process(info.pid), host._launch

    async def launch_later(name: str) -> None:
        assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, "both run"
        await launch(name)

    monkeypatch.setattr(host, "_launch", launch_later)
    process.suspend()
    restart = asyncio.create_task(host.restart(NODE, info.started_at + 1, 30))
    await asyncio.sleep(0.1)
    (host.folder(NODE) / "valkey.pid").unlink()
    await asyncio.sleep(0.2)
    process.resume()
    await restart
    assert await host.process(NODE) != info


async def test_retiring_leaves_nothing_and_cannot_be_crossed_by_a_start(host: LocalHost, tmp_path: Path) -> None:
    await write(host, a_port())
    await host.start(NODE)
    process = await host.process(NODE)
    assert process is not None
    ended = await asyncio.gather(host.remove(NODE, 5), host.start(NODE), return_exceptions=True)
    assert ended[0] is None
    assert isinstance(ended[1], NodeStartFailed)
    assert await host.process(NODE) is None
    assert not list((tmp_path / "nodes").iterdir())


async def test_a_taken_port_is_told_with_the_nodes_own_words(host: LocalHost) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        assert not is_free("127.0.0.1", port)
        await write(host, port)
        with pytest.raises(NodeStartFailed, match="Address already in use"):
            await host.start(NODE)


async def test_a_pid_that_is_now_something_else_is_not_the_node(host: LocalHost) -> None:
    await write(host, a_port())
    (host.folder(NODE) / "valkey.pid").write_text(str(os.getpid()))
    assert await host.process(NODE) is None
    assert await host.processes() == {}


async def test_a_node_that_runs_is_known_again_and_again_until_it_dies(host: LocalHost) -> None:
    await write(host, a_port())
    assert not await runs(host)
    await host.start(NODE)
    assert await runs(host)
    assert await runs(host)
    process = await host.process(NODE)
    assert process is not None
    killed = psutil.Process(process.pid)
    killed.kill()
    killed.wait(60)
    assert not await runs(host)
    await host.start(NODE)
    assert await runs(host)


async def runs(host: Host) -> bool:
    """Whether the host finds the node's process, alone and among all."""
    alone = await host.process(NODE)
    assert (await host.processes()).get(NODE) == alone
    return alone is not None


async def test_a_zombie_does_not_run(tmp_path: Path) -> None:
    host = LocalHost(Settings(data_dir=tmp_path, valkey_binary=Path("/does/not/matter")))
    await write(host, 1)
    config = host.folder(NODE) / "valkey.conf"
    dying = subprocess.Popen(["/bin/sh", "-c", "sleep 60; true", str(config)])  # noqa: ASYNC220  # a real zombie is needed
    (host.folder(NODE) / "valkey.pid").write_text(str(dying.pid))
    while not await runs(host):  # it takes a moment until the command line is that of the shell
        assert dying.poll() is None
        await asyncio.sleep(0.01)
    dying.kill()
    os.waitid(os.P_PID, dying.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222  # asyncio would reap it
    assert not await runs(host)
    dying.wait()


async def test_a_process_that_is_not_seen_in_time_is_ended(host: LocalHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cachewright.hosts.local_processes._START_SECONDS", 0.5)
    known = psutil.Process.create_time  # as if the kernel had started late in its second
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: known(process) - 0.9)
    lines = "port 0\nunixsocket valkey.sock\ndaemonize yes\npidfile other.pid\nlogfile valkey.log\nset-proc-title no\n"
    await host.write_files(NODE, {"valkey.conf": lines})
    with pytest.raises(NodeStartFailed):
        await host.start(NODE)
    unseen = psutil.Process(int((host.folder(NODE) / "other.pid").read_text()))
    try:
        assert await has_ended(unseen, 60)
    finally:
        with suppress(psutil.NoSuchProcess):
            unseen.kill()


async def test_a_frozen_node_is_removed_without_a_wait(host: LocalHost) -> None:
    await write(host, a_port())
    await host.start(NODE)
    process = await host.process(NODE)
    assert process is not None
    end_first(process.pid)
    assert oom_score(process.pid) == 1000
    psutil.Process(process.pid).suspend()
    assert resident_memory(process.pid) > 0
    await host.remove(NODE, 0)
    assert resident_memory(process.pid) == 0
    end_first(process.pid)
    assert not host.folder(NODE).exists()
    assert await host.processes() == {}


def oom_score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


async def test_files_are_for_their_owner_alone(host: LocalHost) -> None:
    await write(host, 1)
    assert stat.S_IMODE((host.folder(NODE) / "valkey.conf").stat().st_mode) == 0o600
    assert stat.S_IMODE(host.folder(NODE).stat().st_mode) == 0o700


async def test_files_are_found_by_node_and_by_name(host: LocalHost) -> None:
    assert await host.with_file("valkey.conf") == frozenset()
    await write(host, 1)
    assert await host.with_file("valkey.conf") == {NODE}
    assert await host.with_file("nodes.conf") == frozenset()
    assert await host.has_file(NODE, "valkey.conf")
    assert not await host.has_file(NODE, "nodes.conf")
    assert "port 1\n" in (await host.read_file(NODE, "valkey.conf") or "")
    assert await host.read_file(NODE, "nodes.conf") is None


async def test_a_node_that_is_being_changed_is_busy(host: LocalHost) -> None:
    assert not await host.is_busy(NODE)
    await write(host, a_port())
    starting = asyncio.create_task(host.start(NODE))
    while not await host.is_busy(NODE):
        assert not starting.done()
        await asyncio.sleep(0)
    await starting
    assert not await host.is_busy(NODE)


def test_ports_run_out_with_words() -> None:
    with pytest.raises(NoFreePort, match="no free port"):
        list(free_ports("127.0.0.1", (20000, 20003), {20000, 20001, 20002}))

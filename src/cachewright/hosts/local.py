"""Node processes of this machine.

A node is a folder and at most one process. The process is detached and survives this server. It is identified by its
pid file and by its command line, which contains the folder, so that another program that has reused the pid is not
mistaken for the node.
"""

import asyncio
import fcntl
import os
import shutil
import signal
import stat
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Set
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import psutil

from cachewright.config import Settings
from cachewright.hosts import log_files, node_environment, resources
from cachewright.hosts.child_processes import children_of, end_child, start_ticks
from cachewright.hosts.damaged_files import set_aside
from cachewright.hosts.held_ports import HeldPorts
from cachewright.hosts.host import CONFIG, ChildProcess, LogPart, LogPosition, NodeStartFailed, ProcessInfo
from cachewright.hosts.ports import NodePorts, find_node_ports, is_free
from cachewright.hosts.server_binary import has_tls
from cachewright.threads import in_background

PID = "valkey.pid"
LOG = "valkey.log"
_START_SECONDS = 5.0
_OUTPUT_TAIL = 2000
_OWNER_ONLY = stat.S_IRUSR | stat.S_IWUSR
_POLL_SECONDS = 0.02
_SETTLE_SECONDS = 0.03
"""Upper limit for the lifetime of a process that cannot bind its port."""


class _Known(msgspec.Struct, frozen=True):
    """A process that was identified as a node's. `ticks` is its start time in /proc, which is cheap to compare."""

    process: ProcessInfo
    ticks: bytes


class LocalHost:
    """Implementation of `Host` for this machine."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        if self.nodes_dir.exists():
            self.nodes_dir.chmod(stat.S_IRWXU)
        self._known: dict[str, _Known] = {}
        self._held_ports = HeldPorts()

    @property
    def address(self) -> str:
        return self._settings.node_host

    @property
    def nodes_dir(self) -> Path:
        return self._settings.nodes_dir

    @property
    def cpus(self) -> int:
        return resources.cpus()

    def folder(self, node_id: str) -> Path:
        return self.nodes_dir / node_id

    async def processes(self) -> dict[str, ProcessInfo]:
        return await in_background(self._processes)

    def _processes(self) -> dict[str, ProcessInfo]:
        processes = ((node_id, self._process_info(node_id)) for node_id in self._node_ids())
        return {node_id: process for node_id, process in processes if process is not None}

    async def process(self, node_id: str) -> ProcessInfo | None:
        return self._process_info(node_id)

    async def is_running(self, node_id: str) -> bool:
        process = self._process(node_id)
        with suppress(psutil.NoSuchProcess):
            return process is not None and process.status() != psutil.STATUS_STOPPED
        return False

    async def nodes_with_file(self, name: str) -> frozenset[str]:
        def search() -> frozenset[str]:
            return frozenset(node_id for node_id in self._node_ids() if (self.folder(node_id) / name).exists())

        return await in_background(search)

    async def has_file(self, node_id: str, name: str) -> bool:
        return (self.folder(node_id) / name).exists()

    async def read_file(self, node_id: str, name: str) -> str | None:
        try:
            return (self.folder(node_id) / name).read_text()
        except (OSError, UnicodeDecodeError):
            return None

    async def write_files(self, node_id: str, files: Mapping[str, str]) -> None:
        await in_background(self._write_files, node_id, files)

    def _write_files(self, node_id: str, files: Mapping[str, str]) -> None:
        folder = self.folder(node_id)
        self.nodes_dir.mkdir(parents=True, exist_ok=True, mode=stat.S_IRWXU)
        folder.mkdir(exist_ok=True, mode=stat.S_IRWXU)
        for name, text in files.items():
            partial = folder / f".{name}.partial"
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _OWNER_ONLY)
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
            partial.replace(folder / name)

    async def read_log(self, node_id: str, after: LogPosition | None) -> LogPart:
        log = self.folder(node_id) / LOG
        if after and log_files.is_read(log, after):
            return LogPart(lines=(), position=after)
        return await in_background(log_files.read, log, after)

    async def children(self, node_id: str) -> list[ChildProcess]:
        process = self._process_info(node_id)
        return children_of(process.pid) if process else []

    async def end_child(self, node_id: str, child: ChildProcess, grace_seconds: float) -> bool:
        process = self._process_info(node_id)
        return process is None or await end_child(process.pid, child, grace_seconds)

    def find_ports(self, count: int, taken: Set[int], *, tls: bool) -> list[NodePorts]:
        ranges = self._settings.node_ports, self._settings.bus_ports
        return find_node_ports(self.address, *ranges, count, taken, tls=tls)

    def hold_port(self, port: int) -> None:
        self._held_ports.hold(self.address, port)

    def release_port(self, port: int) -> None:
        self._held_ports.release(port)

    def is_port_free(self, port: int) -> bool:
        return is_free(self.address, port)

    def resources(self) -> resources.Resources:
        return resources.resources(self._settings.data_dir)

    def supports_tls(self) -> bool:
        return has_tls(self._settings.valkey_binary)

    def _node_ids(self) -> Iterator[str]:
        with suppress(FileNotFoundError), os.scandir(self.nodes_dir) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    yield entry.name

    def _process_info(self, node_id: str) -> ProcessInfo | None:
        """Return the node's running process. Repeated calls are cheap, because a process that was identified before is
        compared by pid and start time only."""
        known = self._known.get(node_id)
        if known and start_ticks(known.process.pid) == known.ticks:
            return known.process
        self._known.pop(node_id, None)
        process = self._process(node_id)
        if process is None:
            return None
        try:
            info = ProcessInfo(process.pid, process.create_time())
        except psutil.NoSuchProcess:
            return None
        ticks = start_ticks(process.pid)
        if ticks and process.is_running():  # the pid still belongs to the identified process
            self._known[node_id] = _Known(info, ticks)
        return info

    def _process(self, node_id: str) -> psutil.Process | None:
        folder = self.folder(node_id)
        try:
            process = psutil.Process(int((folder / PID).read_text()))
            if process.status() != psutil.STATUS_ZOMBIE and str(folder / CONFIG) in process.cmdline():
                return process
        except (OSError, ValueError, psutil.NoSuchProcess):
            pass
        return None

    async def start(self, node_id: str) -> None:
        async with self._exclusive(node_id):
            if not (self.folder(node_id) / CONFIG).exists():
                raise NodeStartFailed("its files are missing")
            if not self._process(node_id):
                await self._launch(node_id)

    async def _launch(self, node_id: str) -> None:
        folder = self.folder(node_id)
        log = folder / LOG
        before = log.stat().st_size if log.exists() else 0
        binary = self._settings.valkey_binary
        environment = await in_background(node_environment.variables, binary, self._settings.jemalloc)
        (folder / PID).unlink(missing_ok=True)
        launcher = await asyncio.create_subprocess_exec(
            binary,
            folder / CONFIG,
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            umask=stat.S_IRWXG | stat.S_IRWXO,
            env=environment,
        )
        output, _ = await launcher.communicate()
        deadline = time.monotonic() + _START_SECONDS
        while launcher.returncode == 0 and time.monotonic() < deadline:
            if self._process(node_id):
                await asyncio.sleep(_SETTLE_SECONDS)
                if self._process(node_id):
                    return
                break
            await asyncio.sleep(0.01)
        raise NodeStartFailed(output.decode(errors="replace")[-_OUTPUT_TAIL:] + log_files.tail(log, before))

    async def restart(self, node_id: str, not_before: float, grace_seconds: float) -> None:
        async with self._exclusive(node_id):
            process = self._process(node_id)
            if process is not None and process.create_time() < not_before:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGTERM)
                if not await self._has_ended(node_id, grace_seconds):
                    raise TimeoutError(f"process {process.pid} did not end in {grace_seconds:.0f} s")
            if not self._process(node_id):
                await self._launch(node_id)

    async def is_busy(self, node_id: str) -> bool:
        try:
            with self._lock_file(node_id).open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    async def stop(self, node_id: str, grace_seconds: float) -> None:
        async with self._exclusive(node_id):
            await self._end(node_id, grace_seconds)

    async def set_aside(self, node_id: str, not_before: float, grace_seconds: float) -> None:
        async with self._exclusive(node_id):
            await self._end(node_id, grace_seconds)
            self._known.pop(node_id, None)
            await asyncio.to_thread(set_aside, self.folder(node_id), not_before)

    async def remove(self, node_id: str, grace_seconds: float) -> None:
        """Delete the folder repeatedly until it stays deleted, because a child of the process may still be writing. The
        lock prevents a start in between."""
        async with self._exclusive(node_id):
            await self._end(node_id, grace_seconds)
            self._known.pop(node_id, None)
            deadline = time.monotonic() + grace_seconds
            while self.folder(node_id).exists():
                if time.monotonic() > deadline:
                    raise TimeoutError(f"folder {self.folder(node_id)} cannot be deleted")
                await asyncio.to_thread(shutil.rmtree, self.folder(node_id), ignore_errors=True)
                await asyncio.sleep(_POLL_SECONDS)

    async def _end(self, node_id: str, grace_seconds: float) -> None:
        process = self._process(node_id)
        if process is None:
            return
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)
            if await self._has_ended(node_id, grace_seconds):
                return
            process.kill()
        if not await self._has_ended(node_id, grace_seconds):
            raise TimeoutError(f"process {process.pid} of node {node_id} did not end")

    async def _has_ended(self, node_id: str, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._process(node_id) is None:
                return True
            await asyncio.sleep(_POLL_SECONDS)
        return False

    def _lock_file(self, node_id: str) -> Path:
        return self.nodes_dir / f".{node_id}.lock"

    @asynccontextmanager
    async def _exclusive(self, node_id: str) -> AsyncIterator[None]:
        """Lock the node against other tasks and other servers. Starting a node twice, or during its removal, would
        leave an orphaned process. The lock file is deleted with the folder."""
        lock = self._lock_file(node_id)
        lock.parent.mkdir(parents=True, exist_ok=True, mode=stat.S_IRWXU)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, _OWNER_ONLY)
        with os.fdopen(descriptor, "w") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await asyncio.sleep(_POLL_SECONDS)
            try:
                yield
            finally:
                if not self.folder(node_id).exists():
                    lock.unlink(missing_ok=True)

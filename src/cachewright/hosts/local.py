"""Node processes of this machine.

A node is a folder and at most one process. The process is started detached, belongs to nobody, and is found again
by its pid file and its command line, which names the folder: a pid that the system has since given to something else
is not taken for the node.
"""

import asyncio
import fcntl
import os
import shutil
import signal
import stat
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil

from cachewright.errors import CachewrightError

CONFIG = "valkey.conf"
PID = "valkey.pid"
LOG = "valkey.log"
_START_SECONDS = 5.0
_LOG_TAIL = 2000
_STAT_BYTES = 1024
_OWNER_ONLY = stat.S_IRUSR | stat.S_IWUSR
_ENVIRONMENT = {"PATH": os.defpath, "LANG": "C.UTF-8"}
"""All that a node gets of the server's environment, which may hold secrets."""

_DEAD = (b"Z", b"X")
_LOOK_SECONDS = 0.02
_SETTLE_SECONDS = 0.03  # a process that cannot have its port lives this long at the most


class NodeStartFailed(CachewrightError):
    """The process ended, or did not come to life, with the last lines of its log."""


class LocalHost:
    def __init__(self, binary: Path, nodes_dir: Path) -> None:
        self._binary = binary
        self._nodes_dir = nodes_dir
        if nodes_dir.exists():
            nodes_dir.chmod(stat.S_IRWXU)
        self._seen: dict[str, tuple[int, bytes]] = {}

    def folder(self, node_id: str) -> Path:
        return self._nodes_dir / node_id

    def write(self, node_id: str, files: Mapping[str, str]) -> None:
        """Makes the node's folder and files, readable by their owner alone. A file is replaced as a whole."""
        folder = self.folder(node_id)
        self._nodes_dir.mkdir(parents=True, exist_ok=True, mode=stat.S_IRWXU)
        folder.mkdir(exist_ok=True, mode=stat.S_IRWXU)
        for name, text in files.items():
            partial = folder / f".{name}.partial"
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _OWNER_ONLY)
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
            partial.replace(folder / name)

    def read(self, node_id: str, name: str) -> str | None:
        """A file of the node; None where it cannot be read."""
        try:
            return (self.folder(node_id) / name).read_text()
        except (OSError, UnicodeDecodeError):
            return None

    def has(self, node_id: str, name: str) -> bool:
        return (self.folder(node_id) / name).exists()

    def process(self, node_id: str) -> psutil.Process | None:
        """The node's living process."""
        folder = self.folder(node_id)
        try:
            process = psutil.Process(int((folder / PID).read_text()))
            if process.status() != psutil.STATUS_ZOMBIE and str(folder / CONFIG) in process.cmdline():
                return process
        except (OSError, ValueError, psutil.NoSuchProcess):
            pass
        return None

    def runs(self, node_id: str) -> bool:
        """Whether the node has a living process. Cheap where it is asked again and again: a process that has been found
        to be the node's once is known by its pid and the time it was started."""
        pid, started = self._seen.get(node_id, (0, b""))
        if pid and _started(pid) == started:
            return True
        self._seen.pop(node_id, None)
        process = self.process(node_id)
        if process is None:
            return False
        begun = _started(process.pid)
        if begun and process.is_running():  # still the one that was looked at
            self._seen[node_id] = process.pid, begun
        return True

    async def start(self, node_id: str) -> None:
        """Ensures the node's process runs. NodeStartFailed with the reason from its log."""
        async with self._alone(node_id):
            if not self.has(node_id, CONFIG):
                raise NodeStartFailed("its files are gone")
            if not self.process(node_id):
                await self._launch(node_id)

    async def _launch(self, node_id: str) -> None:
        folder = self.folder(node_id)
        log = folder / LOG
        before = log.stat().st_size if log.exists() else 0
        (folder / PID).unlink(missing_ok=True)
        launcher = await asyncio.create_subprocess_exec(
            self._binary,
            folder / CONFIG,
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            umask=stat.S_IRWXG | stat.S_IRWXO,
            env=_ENVIRONMENT,
        )
        said, _ = await launcher.communicate()
        deadline = time.monotonic() + _START_SECONDS
        while launcher.returncode == 0 and time.monotonic() < deadline:
            if self.process(node_id):
                await asyncio.sleep(_SETTLE_SECONDS)
                if self.process(node_id):
                    return
                break
            await asyncio.sleep(0.01)
        raise NodeStartFailed(said.decode(errors="replace")[-_LOG_TAIL:] + _tail(log, before))

    async def restart(self, node_id: str, before: float, grace_seconds: float) -> None:
        """Ensures the node's process was started later than `before`, in seconds since the epoch; it is asked to end
        and never made to. TimeoutError where it does not end, NodeStartFailed with the reason from its log."""
        async with self._alone(node_id):
            process = self.process(node_id)
            if process is not None and process.create_time() < before:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGTERM)
                if not await _gone(self, node_id, grace_seconds):
                    raise TimeoutError(f"process {process.pid} does not end within {grace_seconds:.0f} s")
            if not self.process(node_id):
                await self._launch(node_id)

    def busy(self, node_id: str) -> bool:
        """Somebody is starting it, ending it or restarting it."""
        try:
            with self._lock(node_id).open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    async def stop(self, node_id: str, grace_seconds: float) -> None:
        """Ends the node's process: asked first, then made to. TimeoutError where it does not end."""
        async with self._alone(node_id):
            await self._end(node_id, grace_seconds)

    async def retire(self, node_id: str, grace_seconds: float) -> None:
        """Ends the node's process and deletes its folder; nobody can start it in between. TimeoutError where either
        does not go: a child of the process may still be writing."""
        async with self._alone(node_id):
            await self._end(node_id, grace_seconds)
            self._seen.pop(node_id, None)
            deadline = time.monotonic() + grace_seconds
            while self.folder(node_id).exists():
                if time.monotonic() > deadline:
                    raise TimeoutError(f"folder {self.folder(node_id)} cannot be deleted")
                await asyncio.to_thread(shutil.rmtree, self.folder(node_id), ignore_errors=True)
                await asyncio.sleep(_LOOK_SECONDS)

    async def _end(self, node_id: str, grace_seconds: float) -> None:
        process = self.process(node_id)
        if process is None:
            return
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)
            if await _gone(self, node_id, grace_seconds):
                return
            process.kill()
        if not await _gone(self, node_id, grace_seconds):
            raise TimeoutError(f"process {process.pid} of node {node_id} does not end")

    def _lock(self, node_id: str) -> Path:
        return self._nodes_dir / f".{node_id}.lock"

    @asynccontextmanager
    async def _alone(self, node_id: str) -> AsyncIterator[None]:
        """One at a time, whichever task or process it is: a node that is started while it is retired, or twice at
        once, would leave a process behind. The lock goes with the folder."""
        lock = self._lock(node_id)
        lock.parent.mkdir(parents=True, exist_ok=True, mode=stat.S_IRWXU)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, _OWNER_ONLY)
        with os.fdopen(descriptor, "w") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await asyncio.sleep(_LOOK_SECONDS)
            try:
                yield
            finally:
                if not self.folder(node_id).exists():
                    lock.unlink(missing_ok=True)


async def _gone(host: LocalHost, node_id: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if host.process(node_id) is None:
            return True
        await asyncio.sleep(_LOOK_SECONDS)
    return False


def _started(pid: int) -> bytes | None:
    """When a living process was started, in ticks since the system's start; None where there is none, or no /proc."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
        try:
            fields = os.read(descriptor, _STAT_BYTES).rpartition(b")")[2].split()
        finally:
            os.close(descriptor)
    except OSError:
        return None
    return None if fields[0] in _DEAD else fields[19]


def _tail(log: Path, start: int) -> str:
    try:
        with log.open("rb") as file:
            file.seek(start)
            return file.read()[-_LOG_TAIL:].decode(errors="replace")
    except OSError:
        return ""

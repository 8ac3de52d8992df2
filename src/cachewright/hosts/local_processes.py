"""Detached processes of this machine, each with a folder of its own.

A process survives this server. It is identified by its pid file and by its command line, which contains the folder, so
that another program that has reused the pid is not mistaken for it.
"""

import asyncio
import fcntl
import os
import shutil
import signal
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import psutil

from cachewright.hosts import log_files
from cachewright.hosts.child_processes import start_ticks
from cachewright.hosts.damaged_files import set_aside
from cachewright.hosts.host import NodeStartFailed, ProcessInfo
from cachewright.hosts.process_end import has_ended
from cachewright.hosts.programs import Program
from cachewright.hosts.unseen_processes import end_unseen, ticks_now
from cachewright.threads import in_background

_START_SECONDS = 5.0
_OUTPUT_TAIL = 2000
_OWNER_ONLY = stat.S_IRUSR | stat.S_IWUSR
_POLL_SECONDS = 0.02
_KILLED_SECONDS = 10.0
"""Least limit for the end of a process that was killed: the kernel frees its memory first."""

_SETTLE_SECONDS = 0.03
"""Upper limit for the lifetime of a process that cannot bind its port."""


class _Known(msgspec.Struct, frozen=True):
    """A process that was identified as a node's. `ticks` is its start time in /proc, which is cheap to compare."""

    process: ProcessInfo
    ticks: bytes


class LocalProcesses:
    """Implementation of `Processes` for this machine."""

    def __init__(
        self,
        root: Path,
        program: Program,
        binary: Callable[[str], Path],
        environment: Callable[[Path], Mapping[str, str]],
    ) -> None:
        """:param root: folder that contains the folder of each process.
        :param binary: path of the program of a process. Called on a thread, like `environment`.
        :param environment: whole environment of a process that runs this program.
        """
        self._root = root
        self._program = program
        self._binary = binary
        self._environment = environment
        self._known: dict[str, _Known] = {}
        if root.exists():
            root.chmod(stat.S_IRWXU)

    def folder(self, name: str) -> Path:
        return self._root / name

    async def processes(self) -> dict[str, ProcessInfo]:
        return await in_background(self._processes)

    def _processes(self) -> dict[str, ProcessInfo]:
        begun = (name for name in self._names() if name in self._known or self._has(name, self._program.pid_file))
        processes = ((name, self._process_info(name)) for name in begun)
        return {name: process for name, process in processes if process is not None}

    async def process(self, name: str) -> ProcessInfo | None:
        return self._process_info(name)

    async def is_running(self, name: str) -> bool:
        process = self._process(name)
        with suppress(psutil.NoSuchProcess):
            return process is not None and process.status() != psutil.STATUS_STOPPED
        return False

    async def with_file(self, file: str) -> frozenset[str]:
        def search() -> frozenset[str]:
            return frozenset(name for name in self._names() if self._has(name, file))

        return await in_background(search)

    def _has(self, name: str, file: str) -> bool:
        """Same as `has_file`. A host may have thousands of folders, and Path would take most of the time."""
        return os.path.exists(f"{self._root}/{name}/{file}")  # noqa: PTH110

    async def has_file(self, name: str, file: str) -> bool:
        return (self.folder(name) / file).exists()

    async def read_file(self, name: str, file: str) -> str | None:
        try:
            return (self.folder(name) / file).read_text()
        except (OSError, UnicodeDecodeError):
            return None

    async def write_files(self, name: str, files: Mapping[str, str]) -> None:
        await in_background(self._write_files, name, files)

    def _write_files(self, name: str, files: Mapping[str, str]) -> None:
        folder = self.folder(name)
        self._root.mkdir(parents=True, exist_ok=True, mode=stat.S_IRWXU)
        folder.mkdir(exist_ok=True, mode=stat.S_IRWXU)
        for file_name, text in files.items():
            partial = folder / f".{file_name}.partial"
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _OWNER_ONLY)
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
            partial.replace(folder / file_name)

    def _names(self) -> Iterator[str]:
        with suppress(FileNotFoundError), os.scandir(self._root) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    yield entry.name

    def _process_info(self, name: str) -> ProcessInfo | None:
        """Return the node's running process. Repeated calls are cheap, because a process that was identified before is
        compared by pid and start time only."""
        known = self._known.get(name)
        if known and start_ticks(known.process.pid) == known.ticks:
            return known.process
        self._known.pop(name, None)
        process = self._process(name)
        if process is None:
            return None
        try:
            info = ProcessInfo(process.pid, process.create_time())
        except psutil.NoSuchProcess:
            return None
        ticks = start_ticks(process.pid)
        if ticks and process.is_running():  # the pid still belongs to the identified process
            self._known[name] = _Known(info, ticks)
        return info

    def _process(self, name: str) -> psutil.Process | None:
        folder = self.folder(name)
        try:
            process = psutil.Process(int((folder / self._program.pid_file).read_text()))
            if process.status() != psutil.STATUS_ZOMBIE and str(folder / self._program.config) in process.cmdline():
                return process
        except (OSError, ValueError, psutil.NoSuchProcess):
            pass
        return None

    async def start(self, name: str) -> None:
        async with self._exclusive(name):
            if not (self.folder(name) / self._program.config).exists():
                raise NodeStartFailed("its files are missing")
            if not self._process(name):
                await self._launch(name)

    async def _launch(self, name: str) -> None:
        folder = self.folder(name)
        log = folder / self._program.log
        before = log.stat().st_size if log.exists() else 0
        binary = await in_background(self._binary, name)
        environment = await in_background(self._environment, binary)
        (folder / self._program.pid_file).unlink(missing_ok=True)
        begun = ticks_now()
        launcher = await asyncio.create_subprocess_exec(
            binary,
            *self._program.before,
            folder / self._program.config,
            *self._program.after,
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
            if self._process(name):
                await asyncio.sleep(_SETTLE_SECONDS)
                if self._process(name):
                    return
                break
            if self._has_exited(name):
                break
            await asyncio.sleep(0.01)
        await in_background(end_unseen, folder / self._program.config, begun)
        raise NodeStartFailed(output.decode(errors="replace")[-_OUTPUT_TAIL:] + log_files.tail(log, before))

    def _has_exited(self, name: str) -> bool:
        """Whether a process that has written its pid file does not exist any more."""
        try:
            return not psutil.pid_exists(int((self.folder(name) / self._program.pid_file).read_text()))
        except (OSError, ValueError):
            return False

    async def restart(self, name: str, not_before: float, grace_seconds: float) -> None:
        async with self._exclusive(name):
            process = self._process(name)
            if process is not None and process.create_time() < not_before:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGTERM)
                if not await has_ended(process, grace_seconds):
                    raise TimeoutError(f"process {process.pid} did not end in {grace_seconds:.0f} s")
            if not self._process(name):
                await self._launch(name)

    async def ensure(
        self, name: str, files: Callable[[], Awaitable[Mapping[str, str] | None]], grace_seconds: float
    ) -> None:
        async with self._exclusive(name):
            wanted = await files()
            if wanted is None:
                return
            present = [await self.read_file(name, file) for file in wanted]
            if present != list(wanted.values()):
                await self._end(name, grace_seconds)
                await in_background(self._write_files, name, wanted)
            if not self._process(name):
                await self._launch(name)

    async def is_busy(self, name: str) -> bool:
        try:
            with self._lock_file(name).open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    async def stop(self, name: str, grace_seconds: float) -> None:
        async with self._exclusive(name):
            await self._end(name, grace_seconds)

    async def set_aside(self, name: str, not_before: float, grace_seconds: float) -> None:
        async with self._exclusive(name):
            await self._end(name, grace_seconds)
            self._known.pop(name, None)
            await asyncio.to_thread(set_aside, self.folder(name), not_before)

    async def remove(self, name: str, grace_seconds: float) -> None:
        """Delete the folder repeatedly until it stays deleted, because a child of the process may still be writing. The
        lock prevents a start in between."""
        async with self._exclusive(name):
            await self._end(name, grace_seconds)
            self._known.pop(name, None)
            deadline = time.monotonic() + max(grace_seconds, _KILLED_SECONDS)
            while self.folder(name).exists():
                if time.monotonic() > deadline:
                    raise TimeoutError(f"folder {self.folder(name)} cannot be deleted")
                await asyncio.to_thread(shutil.rmtree, self.folder(name), ignore_errors=True)
                await asyncio.sleep(_POLL_SECONDS)

    async def _end(self, name: str, grace_seconds: float) -> None:
        process = self._process(name)
        if process is None:
            return
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)
            if await has_ended(process, grace_seconds):
                return
            process.kill()
        if not await has_ended(process, max(grace_seconds, _KILLED_SECONDS)):
            raise TimeoutError(f"process {process.pid} of {name} did not end")

    def _lock_file(self, name: str) -> Path:
        return self._root / f".{name}.lock"

    @asynccontextmanager
    async def _exclusive(self, name: str) -> AsyncIterator[None]:
        """Lock the node against other tasks and other servers. Starting a node twice, or during its removal, would
        leave an orphaned process. The lock file is deleted with the folder."""
        lock = self._lock_file(name)
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
                if not self.folder(name).exists():
                    lock.unlink(missing_ok=True)

"""The file of an import: where it is, and the gateway that has it. Methods raise JobFailed.

A gateway that starts with a file in its folder loads it, and has its keys. It checks all data that it loads.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import msgspec

from cachewright import errors
from cachewright.backups.manifest import Manifest
from cachewright.backups.reader import fetch_shard
from cachewright.backups.storage import BackupDamaged, Storage, StorageFailed
from cachewright.hosts.host import CONFIG, NodeStartFailed
from cachewright.hosts.resources import end_first, resident_memory
from cachewright.jobs.failure import JobFailed
from cachewright.jobs.migrations.gateway_limits import limit_gateway, require_host_memory
from cachewright.jobs.migrations.run import SourceRun
from cachewright.jobs.migrations.shards import ImportedFile
from cachewright.valkey.config import SNAPSHOT
from cachewright.valkey.sources import gateway as gateways
from cachewright.valkey.sources.files import fetch_file
from cachewright.valkey.sources.gateway import Gateway, GatewayState
from cachewright.valkey.sources.source import SourceUnusable

_POLL_SECONDS = 0.1


class FilePlace(msgspec.Struct, frozen=True):
    """Where a file is. It has secrets.

    :ivar url: of the file; None for one of a backup.
    :ivar manifest: of that backup, with the shard of the file alone, :ivar storage: URL of its storage. The credentials
        are in the environment of the machine.
    """

    url: str | None = None
    manifest: Manifest | None = None
    storage: str = ""


class FileOfImport:
    """A file on the machine of its gateway."""

    def __init__(
        self, run: SourceRun, file: ImportedFile, place: FilePlace, storage: Callable[[], Awaitable[Storage]]
    ) -> None:
        """:param storage: opens the storage of the backup."""
        self._run = run
        self._machine = run.machine
        self._file = file
        self._place = place
        self._storage = storage
        self._gateway = run.gateway(file.number)

    async def fetch(self, progress: Callable[[int], None]) -> None:
        """Ensure that the gateway has the file.

        :param progress: called with the bytes that are stored.
        """
        gateway, processes = self._gateway, self._machine.processes
        await processes.write_files(gateway.name, {CONFIG: gateways.gateway_conf(gateway)})
        target = gateway.folder / SNAPSHOT
        if await asyncio.to_thread(target.exists):
            return
        with failures_of_files():
            if (manifest := self._place.manifest) is not None:
                await fetch_shard(await self._storage(), manifest, manifest.shards[0], target, progress)
                return
            source, url = self._run.assignment.source, self._place.url or ""
            await fetch_file(source, url, self._file.size, target, progress)

    async def loaded(self, most_memory: int, seen: Callable[[GatewayState], None]) -> GatewayState:
        """Return the state of the gateway when it has loaded the file. `seen` is called with each state before.

        :param most_memory: bytes that the gateway may use. A small file may have much data.
        """
        await self.fetch(lambda stored: None)
        gateway, processes = self._gateway, self._machine.processes
        try:
            await processes.start(gateway.name)
        except NodeStartFailed as failure:
            raise await self._failure(most_memory) from failure
        await limit_gateway(self._machine, gateway, most_memory)
        if (process := await processes.process(gateway.name)) is not None:
            await asyncio.to_thread(end_first, process.pid)
        while True:
            self._run.caller.raise_if_cancelled()
            state = await self._state(gateway, most_memory)
            if state is None and await processes.process(gateway.name) is None:
                raise await self._failure(most_memory)
            if state is not None and not state.is_loading:
                return state
            if state is not None:
                seen(state)
            await asyncio.sleep(_POLL_SECONDS)

    async def _state(self, gateway: Gateway, most_memory: int) -> GatewayState | None:
        """Return the state of a gateway, None if it does not answer. While it unpacks a large value it does not, so its
        memory is also measured meanwhile."""
        asking = asyncio.create_task(gateways.state(gateway))
        try:
            while True:
                await self._require_memory(gateway, most_memory)
                if asking in (await asyncio.wait((asking,), timeout=_POLL_SECONDS))[0]:
                    state = asking.result()
                    if state is not None and state.used_memory > most_memory:
                        raise self._too_large(most_memory)
                    return state
        finally:
            asking.cancel()

    async def _require_memory(self, gateway: Gateway, most_memory: int) -> None:
        """Raise JobFailed if a gateway has too much memory, or the host too little."""
        process = await self._machine.processes.process(gateway.name)
        if process is not None and await asyncio.to_thread(resident_memory, process.pid) > most_memory:
            raise self._too_large(most_memory)
        await require_host_memory(self._machine, f"{self._file.name} is loaded")

    async def _failure(self, most_memory: int) -> JobFailed:
        """Return why a gateway has ended while it loaded its file."""
        log = await asyncio.to_thread(gateways.read_log, self._gateway)
        if gateways.is_out_of_memory(log):
            return self._too_large(most_memory)
        reason = gateways.load_failure(log)
        if reason is None:
            return JobFailed(errors.NODE_START_FAILED, "the gateway has ended while it loaded the file")
        return JobFailed(errors.SOURCE_UNUSABLE, f"{self._file.name} cannot be read: {reason}", final=True)

    def _too_large(self, most_memory: int) -> JobFailed:
        message = f"{self._file.name} has more than {most_memory} bytes of data"
        return JobFailed(errors.MIGRATION_OUT_OF_MEMORY, message, final=True)


@contextmanager
def failures_of_files() -> Iterator[None]:
    """Turn errors into JobFailed."""
    try:
        yield
    except SourceUnusable as reason:
        raise JobFailed(errors.SOURCE_UNUSABLE, reason.message, final=not reason.passes) from reason
    except StorageFailed as failure:
        raise JobFailed(errors.BACKUP_STORAGE_FAILED, str(failure)) from failure
    except BackupDamaged as failure:
        raise JobFailed(errors.BACKUP_DAMAGED, str(failure), final=True) from failure
    except OSError as error:
        message = f"the file cannot be stored on the disk of the host: {error.strerror}"
        raise JobFailed(errors.NOT_ENOUGH_DISK, message) from error

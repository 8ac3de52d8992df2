"""The files of an import: their sizes, and where a gateway finds them. Methods raise ActionFailed.

A gateway that starts with a file in its folder loads it, and has its keys. It checks all data that it loads.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from cachewright import errors
from cachewright.backups.manifest import Manifest, read_manifest
from cachewright.backups.reader import fetch_shard
from cachewright.backups.storage import BackupDamaged, StorageFailed
from cachewright.hosts.host import CONFIG, NodeStartFailed
from cachewright.hosts.resources import end_first, resident_memory
from cachewright.jobs.migrations.gateway_limits import limit_gateway, require_host_memory
from cachewright.jobs.migrations.shards import ALL_SLOTS
from cachewright.operations.agent_jobs import failures_of_actions
from cachewright.operations.online_migrations.run import MigrationRun, machine_of
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.valkey.config import SNAPSHOT
from cachewright.valkey.sources import gateway as gateways
from cachewright.valkey.sources.files import fetch_file, file_size, without_query
from cachewright.valkey.sources.gateway import Gateway, GatewayState
from cachewright.valkey.sources.source import SourceUnusable

_POLL_SECONDS = 0.1


class ImportedFile(msgspec.Struct, frozen=True):
    """:ivar number: of its gateway. :ivar size: bytes.
    :ivar slots: first and last slot of each range whose keys are imported.
    """

    number: int
    name: str
    size: int
    slots: tuple[tuple[int, int], ...] = ALL_SLOTS


class ImportFiles:
    def __init__(self, run: MigrationRun) -> None:
        self._run = run
        self._machine = machine_of(run.context)
        self._urls = tuple((run.migration.source_files or "").splitlines())

    async def find(self) -> list[ImportedFile]:
        """Return the files with their sizes."""
        with _failures():
            if self._run.migration.source_backup is None:
                sizes = await asyncio.gather(*(file_size(self._run.source, url) for url in self._urls))
                named = zip(map(without_query, self._urls), sizes, strict=True)
                return [ImportedFile(number, name, size) for number, (name, size) in enumerate(named)]
            manifest = await self._manifest()
            shards = enumerate(manifest.shards)
            return [
                ImportedFile(number, f"shard {shard.shard}", shard.size, shard.slots or ALL_SLOTS)
                for number, shard in shards
            ]

    async def fetch(self, file: ImportedFile, progress: Callable[[int], None]) -> None:
        """Ensure that the gateway of a file has it.

        :param progress: called with the bytes that are stored.
        """
        gateway, processes = self._gateway(file), self._machine.processes
        await processes.write_files(gateway.name, {CONFIG: gateways.gateway_conf(gateway)})
        target = gateway.folder / SNAPSHOT
        if await asyncio.to_thread(target.exists):
            return
        with _failures():
            if self._run.migration.source_backup is None:
                url = self._urls[file.number]
                await fetch_file(self._run.source, url, file.size, target, progress)
                return
            storage, manifest = await self._run.context.backup_storage(), await self._manifest()
            await fetch_shard(storage, manifest, manifest.shards[file.number], target, progress)

    async def loaded(
        self, step: StepContext, file: ImportedFile, most_memory: int, seen: Callable[[GatewayState], None]
    ) -> GatewayState:
        """Return the state of the gateway of a file when it has loaded it. `seen` is called with each state before.

        :param most_memory: bytes that the gateway may use. A small file may have much data.
        """
        await self.fetch(file, lambda stored: None)
        gateway, processes = self._gateway(file), self._machine.processes
        try:
            await processes.start(gateway.name)
        except NodeStartFailed as failure:
            raise await self._failure(gateway, file, most_memory) from failure
        await limit_gateway(self._machine, gateway, most_memory)
        if (process := await processes.process(gateway.name)) is not None:
            await asyncio.to_thread(end_first, process.pid)
        while True:
            step.raise_if_cancelled()
            state = await self._state(gateway, file, most_memory)
            if state is None and await processes.process(gateway.name) is None:
                raise await self._failure(gateway, file, most_memory)
            if state is not None and not state.is_loading:
                return state
            if state is not None:
                seen(state)
            await asyncio.sleep(_POLL_SECONDS)

    def _gateway(self, file: ImportedFile) -> Gateway:
        return self._machine.gateway(self._run.migration.id, file.number, self._run.instance.control_secret)

    async def _state(self, gateway: Gateway, file: ImportedFile, most_memory: int) -> GatewayState | None:
        """Return the state of a gateway, None if it does not answer. While it unpacks a large value it does not, so its
        memory is also measured meanwhile."""
        asking = asyncio.create_task(gateways.state(gateway))
        try:
            while True:
                await self._require_memory(gateway, file, most_memory)
                if asking in (await asyncio.wait((asking,), timeout=_POLL_SECONDS))[0]:
                    state = asking.result()
                    if state is not None and state.used_memory > most_memory:
                        raise _too_large(file, most_memory)
                    return state
        finally:
            asking.cancel()

    async def _require_memory(self, gateway: Gateway, file: ImportedFile, most_memory: int) -> None:
        """Raise ActionFailed if a gateway has too much memory, or the host too little."""
        process = await self._machine.processes.process(gateway.name)
        if process is not None and await asyncio.to_thread(resident_memory, process.pid) > most_memory:
            raise _too_large(file, most_memory)
        with failures_of_actions():
            await require_host_memory(self._machine, f"{file.name} is loaded")

    async def _failure(self, gateway: Gateway, file: ImportedFile, most_memory: int) -> ActionFailed:
        """Return why a gateway has ended while it loaded its file."""
        log = await asyncio.to_thread(gateways.read_log, gateway)
        if gateways.is_out_of_memory(log):
            return _too_large(file, most_memory)
        reason = gateways.load_failure(log)
        if reason is None:
            return ActionFailed(errors.NODE_START_FAILED, "the gateway has ended while it loaded the file")
        return ActionFailed(errors.SOURCE_UNUSABLE, f"{file.name} cannot be read: {reason}", final=True)

    async def _manifest(self) -> Manifest:
        storage = await self._run.context.backup_storage()
        backup_id = self._run.migration.source_backup or ""
        return await read_manifest(storage, self._run.context.database.cipher, backup_id)


def _too_large(file: ImportedFile, most_memory: int) -> ActionFailed:
    message = f"{file.name} has more than {most_memory} bytes of data"
    return ActionFailed(errors.MIGRATION_OUT_OF_MEMORY, message, final=True)


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except SourceUnusable as reason:
        raise ActionFailed(errors.SOURCE_UNUSABLE, reason.message, final=not reason.passes) from reason
    except StorageFailed as failure:
        raise ActionFailed(errors.BACKUP_STORAGE_FAILED, str(failure)) from failure
    except BackupDamaged as failure:
        raise ActionFailed(errors.BACKUP_DAMAGED, str(failure), final=True) from failure
    except OSError as error:
        message = f"the file cannot be stored on the disk of the server: {error.strerror}"
        raise ActionFailed(errors.NOT_ENOUGH_DISK, message) from error

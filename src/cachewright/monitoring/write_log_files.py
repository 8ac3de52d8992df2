"""The files of a primary that a write log is stored from, on the machine of the server or on that of an agent."""

import asyncio
import uuid
from collections.abc import Mapping, Sequence, Set
from typing import Protocol

from cachewright.backups.log_objects import Part, seal
from cachewright.backups.storage import Storage, StorageFailed
from cachewright.clock import Clock
from cachewright.hosts.host import LINKS
from cachewright.hosts.jobs import JobState
from cachewright.jobs.results import Latest, Linked
from cachewright.jobs.spec import Job, LinkLog, LogPart, ReadTimes, StoreLog, encoded
from cachewright.model.hosts import EMBEDDED
from cachewright.model.instances import Node
from cachewright.model.write_logs import WriteLog
from cachewright.monitoring.write_log_times import latest_time
from cachewright.operations.agent_jobs import told
from cachewright.operations.context import OperationContext
from cachewright.threads import in_background
from cachewright.valkey import append_only_files
from cachewright.valkey.config import DATA_FOLDER

_PUT_SECONDS = 60.0
"""Time for one part, after which the storage counts as away."""

_LINK_SECONDS, _TIMES_SECONDS, _STORE_SECONDS = 10.0, 300.0, 120.0
_TRIES = 3


class LogFiles(Protocol):
    """Methods raise OSError, HostSilent or StorageFailed."""

    async def link(self, kept: Set[str]) -> Linked:
        """Link the present files, and keep others with these names."""

    async def latest_time(self, sizes: Mapping[str, int], clock: Clock) -> int:
        """Return the latest second in linked files of these sizes."""

    async def store(self, log: WriteLog, parts: Sequence[LogPart]) -> None:
        """Store parts of linked files, which the storage may have already. They may also be stored later if this
        fails."""


def log_files(context: OperationContext, node: Node) -> LogFiles:
    """Return the files of a node."""
    return ServerLogFiles(context, node) if node.host_name == EMBEDDED else AgentLogFiles(context, node)


class ServerLogFiles:
    """Implements `LogFiles` for the machine of the server."""

    def __init__(self, context: OperationContext, node: Node) -> None:
        self._context = context
        self._node = node

    async def link(self, kept: Set[str]) -> Linked:
        """Link the present files. Repeated when a rewrite has deleted one of them meanwhile."""
        host, node_id = self._context.host, self._node.id
        for left in reversed(range(_TRIES)):
            text = await host.read_file(node_id, f"{DATA_FOLDER}/{append_only_files.MANIFEST}")
            files = [file.name for file in append_only_files.parse(text or "")]
            try:
                sizes = await host.link_files(node_id, [f"{DATA_FOLDER}/{name}" for name in files], kept, LINKS)
            except FileNotFoundError:
                if not left:
                    raise
            else:
                return Linked(tuple(files), dict(sizes), has_room=True)
        raise AssertionError("unreachable")

    async def latest_time(self, sizes: Mapping[str, int], clock: Clock) -> int:
        return await latest_time(self._context.host, self._node.id, LINKS, sizes, clock)

    async def store(self, log: WriteLog, parts: Sequence[LogPart]) -> None:
        storage: Storage | None = None
        for part in parts:
            content = await self._context.host.read_part(self._node.id, f"{LINKS}/{part.file}", part.start, part.length)
            name, sealed = await in_background(seal, log, part.number, Part(part.file, part.start), content)
            storage = await self._put(storage, name, sealed)

    async def _put(self, storage: Storage | None, name: str, sealed: bytes) -> Storage:
        """Store an object in the storage, which is opened if it is None, and return the storage. StorageFailed if that
        takes too long: the object may be stored later all the same."""
        try:
            async with asyncio.timeout(_PUT_SECONDS):
                storage = storage or await self._context.marked_backup_storage()
                await storage.put(name, sealed)
                return storage
        except TimeoutError as error:
            raise StorageFailed(f"the storage has not answered for {_PUT_SECONDS:.0f} s") from error


class AgentLogFiles:
    """Implements `LogFiles` for a machine with an agent, by jobs."""

    def __init__(self, context: OperationContext, node: Node) -> None:
        self._context = context
        self._node = node

    async def link(self, kept: Set[str]) -> Linked:
        return told(await self._performed(LinkLog(folder=LINKS, kept=tuple(kept)), _LINK_SECONDS), Linked)

    async def latest_time(self, sizes: Mapping[str, int], clock: Clock) -> int:
        return told(await self._performed(ReadTimes(folder=LINKS, sizes=dict(sizes)), _TIMES_SECONDS), Latest).latest

    async def store(self, log: WriteLog, parts: Sequence[LogPart]) -> None:
        if parts:
            await self._context.marked_backup_storage()
            url = self._context.settings.backup_url
            await self._performed(StoreLog(folder=LINKS, storage=url, log=log, parts=tuple(parts)), _STORE_SECONDS)

    async def _performed(self, job: Job, seconds: float) -> JobState:
        job_id = str(uuid.uuid4())
        state = await self._context.host.perform_job(self._node.id, job_id, encoded(job), seconds)
        if not state.has_ended:
            raise StorageFailed(f"host {self._node.host_name} has not finished in {seconds:.0f} s")
        if state.failure is not None:
            raise StorageFailed(f"host {self._node.host_name}: {state.text}")
        return state

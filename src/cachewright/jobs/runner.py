"""The jobs of an agent. They run on the event loop of the agent, calls arrive on that of DBOS."""

import asyncio
import logging
import shutil
import time
from collections.abc import Coroutine, Mapping, Set
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from cachewright.backups.storage import BackupDamaged, StorageFailed
from cachewright.concurrency import end_tasks
from cachewright.config import Settings
from cachewright.hosts.jobs import JobFailure, JobState
from cachewright.hosts.node_folders import delete_folder
from cachewright.jobs import division, replays, restores, snapshots, write_logs
from cachewright.jobs.failure import JobFailed
from cachewright.jobs.migrations import job as migrations
from cachewright.jobs.migrations.machine import GatewayMachine
from cachewright.jobs.migrations.orders import Orders
from cachewright.jobs.migrations.unused import UsedGateways
from cachewright.jobs.receiver import DiskFailed
from cachewright.jobs.restores import TooMuchData
from cachewright.jobs.spec import (
    FETCHED_PREFIX,
    SNAPSHOT_PREFIX,
    CheckSnapshot,
    DivideSnapshot,
    FolderJob,
    Job,
    LinkLog,
    MakeData,
    PartOfMigration,
    ReadTimes,
    ReceiveSnapshot,
    RemoveGateways,
    ReplayLog,
    StoreLog,
    StoreSnapshot,
    decoded,
)
from cachewright.jobs.temporary_node import TemporaryNodes
from cachewright.jobs.work import FolderWork, OrderedWork, Work
from cachewright.threads import in_background
from cachewright.valkey.append_only_files import DamagedLog
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.rdb_check import DamagedSnapshot
from cachewright.valkey.rdb_index import UnreadableSnapshot

Result = TypeVar("Result")

log = logging.getLogger(__name__)

_KEPT_SECONDS = 3600.0
"""Time for which an ended job is kept if no call ends it."""

_BEGIN_SECONDS = 30.0
_LEFT_SECONDS = 3 * 24 * 3600.0
"""Time after which files of jobs are deleted. The server needs those of a failed backup for a day (`backup_retention`),
and deletes them itself."""


class _Running:
    """:ivar migration_id: of a part of a migration.
    :ivar ended_at: seconds of the monotonic clock; None while it runs.
    """

    def __init__(self, work: Work, job: Job, task: "asyncio.Task[None]") -> None:
        self.work = work
        self.migration_id = job.assignment.migration_id if isinstance(job, PartOfMigration) else None
        self.task = task
        self.ended_at: float | None = None


class JobRunner:
    """Implements `Jobs`. Calls of one job come one after another. Those with a job raise msgspec.ValidationError if
    it is not one of `spec`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._jobs: dict[str, _Running] = {}

    def start(self, machine: GatewayMachine, nodes: TemporaryNodes) -> None:
        """Run jobs on the event loop of the caller.

        :param machine: this one, for gateways of migrations, :param nodes: for temporary nodes.
        """
        self._machine, self._used, self._nodes = machine, UsedGateways(machine), nodes
        self._loop = asyncio.get_running_loop()

    async def stop(self) -> None:
        """End all jobs. The server begins them again with the next agent."""
        await end_tasks(*(job.task for job in self._jobs.values()))
        self._jobs.clear()

    async def sweep(self) -> None:
        """Delete folders of jobs that no job has used for days: of attempts whose server has chosen another node."""
        works = [job.work for job in self._jobs.values() if job.ended_at is None]
        used = {work.folder for work in works if isinstance(work, FolderWork)}
        await in_background(_sweep, self._settings.nodes_dir, used)

    async def remove_temporary_nodes(self) -> None:
        """Remove the temporary nodes of an earlier process, whose jobs have ended with it."""
        try:
            await self._nodes.remove_all()
        except JobFailed as failed:
            log.warning("%s", failed.message)

    async def remove_unused_gateways(self) -> None:
        """Remove gateways of migrations whose instance is deleted, or of which no server has called for long."""
        for migration_id in await self._used.unused():
            log.warning("gateways of migration %s are removed: no server needs them", migration_id)
            await self._remove_gateways(migration_id)

    async def remove_all_gateways(self) -> None:
        """Remove all gateways: this host was given up."""
        for migration_id in await self._machine.migrations():
            await self._remove_gateways(migration_id)

    async def _remove_gateways(self, migration_id: str) -> None:
        jobs = [job_id for job_id, job in self._jobs.items() if job.migration_id == migration_id]
        await end_tasks(*(self._jobs.pop(job_id).task for job_id in jobs))
        await self._machine.remove_gateways(migration_id)
        self._used.forget(migration_id)

    async def begin_job(self, node_id: str, job_id: str, job: Mapping[str, Any]) -> None:
        await self._on_loop(self._begin(node_id, job_id, decoded(job)))

    async def perform_job(self, node_id: str, job_id: str, job: Mapping[str, Any], within: float) -> JobState:
        return await self._on_loop(self._perform(node_id, job_id, decoded(job), within))

    async def job_state(self, node_id: str, job_id: str, known_stage: str, within: float) -> JobState | None:
        return await self._on_loop(self._state(job_id, known_stage, within))

    async def steer_job(
        self, node_id: str, job_id: str, orders: Mapping[str, Any], known_stage: str, within: float
    ) -> JobState | None:
        taken = msgspec.convert(orders, Orders, str_keys=True)
        return await self._on_loop(self._steer(job_id, taken, known_stage, within))

    async def release_job(self, node_id: str, job_id: str, offset: int) -> JobState | None:
        return await self._on_loop(self._release(job_id, offset))

    async def end_job(self, node_id: str, job_id: str) -> None:
        await self._on_loop(self._end(job_id))

    async def _on_loop(self, act: Coroutine[Any, Any, Result]) -> Result:
        assert self._loop is not None  # noqa: S101  # the agent starts it before it takes calls
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(act, self._loop))

    async def _begin(self, node_id: str, job_id: str, job: Job) -> None:
        self._forget_old()
        known = self._jobs.get(job_id)
        if known is not None and known.work.state.failure is None:
            return
        work, acting = self._prepared(node_id, job)
        running = _Running(work, job, asyncio.create_task(_perform(work, job, acting)))
        self._jobs[job_id] = running
        if running.migration_id is not None:
            self._used.use(running.migration_id, work.node_folder)

        def ended(_: object) -> None:
            running.ended_at = time.monotonic()

        running.task.add_done_callback(ended)

    def _prepared(self, node_id: str, job: Job) -> tuple[Work, Coroutine[Any, Any, None]]:
        """Return a new job: what it can use, and what it does."""
        if isinstance(job, RemoveGateways):
            return Work(self._settings, node_id), self._remove_gateways(job.migration_id)
        if isinstance(job, PartOfMigration):
            work = OrderedWork(self._settings, node_id)
            return work, migrations.perform(work, job, self._machine)
        in_folder = FolderWork(self._settings, node_id, job.folder)
        return in_folder, _run(in_folder, job, self._nodes)

    async def _perform(self, node_id: str, job_id: str, job: Job, seconds: float) -> JobState:
        await self._begin(node_id, job_id, job)
        work = self._jobs[job_id].work
        await work.until("", seconds)
        await self._end(job_id)
        return work.state

    async def _state(self, job_id: str, known_stage: str, seconds: float) -> JobState | None:
        found = self._jobs.get(job_id)
        return await found.work.until(known_stage, seconds) if found else None

    async def _steer(self, job_id: str, orders: Orders, known_stage: str, seconds: float) -> JobState | None:
        found = self._jobs.get(job_id)
        if found is None or not isinstance(found.work, OrderedWork):
            return None
        if found.migration_id is not None:
            self._used.use(found.migration_id, found.work.node_folder)
        found.work.take(orders)
        return await found.work.until(known_stage, seconds)

    async def _release(self, job_id: str, offset: int) -> JobState | None:
        found = self._jobs.get(job_id)
        if found is None or not isinstance(found.work, FolderWork):
            return None
        stage = found.work.state.stage
        if not found.work.offset.done():
            found.work.offset.set_result(offset)
        return await found.work.until(stage, _BEGIN_SECONDS)

    async def _end(self, job_id: str) -> None:
        found = self._jobs.pop(job_id, None)
        if found is not None:
            await end_tasks(found.task)

    def _forget_old(self) -> None:
        now = time.monotonic()
        for job_id, job in list(self._jobs.items()):
            if job.ended_at is not None and now - job.ended_at > _KEPT_SECONDS:
                del self._jobs[job_id]


def _sweep(nodes_dir: Path, used: Set[Path]) -> None:
    for prefix in (SNAPSHOT_PREFIX, FETCHED_PREFIX):
        for folder in nodes_dir.glob(f"*/{prefix}*"):
            if folder not in used and _is_old(folder):
                delete_folder(folder)
        for rest in nodes_dir.glob(f"*/.{prefix}*"):  # of a deletion that was interrupted
            if _is_old(rest):
                shutil.rmtree(rest, ignore_errors=True)


def _is_old(folder: Path) -> bool:
    """Whether a folder has not been used for days. False if a call has deleted it just now."""
    try:
        return time.time() - folder.stat().st_mtime > _LEFT_SECONDS
    except FileNotFoundError:
        return False


async def _perform(work: Work, job: Job, acting: Coroutine[Any, Any, None]) -> None:
    """Perform a job, and keep its end in its state."""
    try:
        await acting
    except asyncio.CancelledError:
        work.change(has_ended=True, failure="unexpected", text="the job was ended")
        raise
    except JobFailed as failed:
        work.change(has_ended=True, failure="copy", text=failed.message, code=failed.code, final=failed.final)
    except Exception as error:  # whatever it is, the server reads it
        failure = _failure_of_migration(error) if isinstance(job, PartOfMigration) else _failure(job, error)
        if failure == "unexpected":
            log.exception("a job has failed")
        work.change(has_ended=True, failure=failure, text=str(error) or type(error).__name__)
    else:
        work.change(has_ended=True)


async def _run(work: FolderWork, job: FolderJob, nodes: TemporaryNodes) -> None:
    match job:
        case ReceiveSnapshot():
            await snapshots.receive(work, job)
        case CheckSnapshot():
            await snapshots.check(work, job)
        case StoreSnapshot():
            await snapshots.store(work, job)
        case MakeData():
            await restores.make(work, job)
        case LinkLog():
            await write_logs.link(work, job)
        case ReadTimes():
            await write_logs.read_times(work, job)
        case StoreLog():
            await write_logs.store(work, job)
        case ReplayLog():
            await replays.replay(work, job, nodes)
        case DivideSnapshot():
            await division.divide(work, job, nodes)


def _failure(job: Job, error: Exception) -> JobFailure:
    if isinstance(error, StorageFailed):
        return "storage"
    if isinstance(error, FileNotFoundError | BackupDamaged | DamagedLog | DamagedSnapshot | UnreadableSnapshot):
        return "damaged"
    if isinstance(error, DiskFailed):
        return "disk"
    if isinstance(error, TooMuchData):
        return "memory"
    if isinstance(job, ReceiveSnapshot) and isinstance(error, (*NODE_GONE, NodeRefused)):
        return "node"
    return "disk" if isinstance(error, OSError) else "unexpected"


def _failure_of_migration(error: Exception) -> JobFailure:
    return "node" if isinstance(error, (*NODE_GONE, NodeRefused)) else "unexpected"

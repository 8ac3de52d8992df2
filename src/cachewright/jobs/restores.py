"""Job of a restore: make the data of a node from the snapshots of a backup."""

import asyncio
import threading

from cachewright.backups.manifest import SavedShard
from cachewright.concurrency import until_ended
from cachewright.errors import CachewrightError
from cachewright.hosts.node_folders import write_folder
from cachewright.jobs.results import Made
from cachewright.jobs.snapshot_files import SnapshotFiles
from cachewright.jobs.spec import MakeData
from cachewright.jobs.work import FolderWork
from cachewright.valkey.config import data_files
from cachewright.valkey.rdb_cut import Cut
from cachewright.valkey.slots import SlotRange

_FETCHED = 0.8
"""Share of the duration after which the snapshots are fetched and checked."""

_POLL_SECONDS = 0.2


class TooMuchData(CachewrightError):
    """The data is larger than the memory of the node."""


async def make(work: FolderWork, job: MakeData) -> None:
    files = SnapshotFiles(work.folder)
    await asyncio.to_thread(work.new_folder)
    try:
        _, binary = await asyncio.to_thread(work.server_that_reads, job.manifest.server_version)
        done, whole = 0, max(job.manifest.size, 1)
        for shard in job.manifest.shards:

            def report(fetched: int, before: int = done) -> None:
                work.tell(Made(_FETCHED * (before + fetched) / whole))

            await files.fetch(lambda: work.storage(job.storage), job.manifest, shard, binary, report)
            done += shard.size
        ranges = None if job.slots is None else [SlotRange(first, last) for first, last in job.slots]
        planned = await asyncio.to_thread(files.cut, ranges)
        if planned.size > job.most_bytes:
            raise TooMuchData(f"a node would get {planned.size} bytes of the backup, its memory is {job.most_bytes}")
        await _write(work, job, files, planned)
        work.tell(Made(1.0, planned.size, planned.keys))
    finally:
        await asyncio.shield(asyncio.to_thread(work.delete_folder))


async def _write(work: FolderWork, job: MakeData, files: SnapshotFiles, planned: Cut) -> None:
    """Write the folder on a thread, which ends before this returns."""
    stopped, written = threading.Event(), 0

    def count(done: int) -> None:
        nonlocal written
        written = done
        if stopped.is_set():
            raise InterruptedError("the job was ended")

    target = work.folder.with_name(job.target)
    writing = asyncio.create_task(asyncio.to_thread(write_folder, target, data_files(files.parts(planned, count))))
    try:
        while not writing.done():
            share = _FETCHED + (1 - _FETCHED) * written / max(planned.size, 1)
            work.tell(Made(share, written, planned.keys))
            await asyncio.wait([writing], timeout=_POLL_SECONDS)
    finally:
        stopped.set()
        await until_ended(writing)
    await writing


def with_keys_of(shards: tuple[SavedShard, ...], slots: tuple[tuple[int, int], ...] | None) -> tuple[SavedShard, ...]:
    """Return the shards of a backup that have keys in these slots, or may have; of all slots with None. At least one:
    its functions are those of all shards. Pure."""
    found = (shard for shard in shards if slots is None or not shard.slots or _meet(shard.slots, slots))
    return tuple(found) or shards[:1]


def _meet(some: tuple[tuple[int, int], ...], others: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= end and start <= last for first, last in some for start, end in others)

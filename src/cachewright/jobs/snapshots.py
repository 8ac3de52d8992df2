"""Jobs of a backup: receive the snapshot of a node, check it, store it."""

import asyncio
import os
from typing import BinaryIO

import msgspec

from cachewright.backups import writer
from cachewright.concurrency import end_tasks
from cachewright.jobs.receiver import SnapshotReceiver
from cachewright.jobs.results import Begun, Checked, Done
from cachewright.jobs.spec import SNAPSHOT_FILE, CheckSnapshot, ReceiveSnapshot, StoreSnapshot
from cachewright.jobs.work import FolderWork
from cachewright.model.hosts import EMBEDDED
from cachewright.valkey import rdb_check
from cachewright.valkey.access import Access

_FILE_MODE = 0o600
_COUNT_SECONDS = 0.5
_WAIT_SECONDS = 120.0
"""Time for which an open snapshot waits for its begin."""


async def receive(work: FolderWork, job: ReceiveSnapshot) -> None:
    """The node is reached through its socket on this machine."""
    await asyncio.to_thread(work.new_folder)
    node = msgspec.structs.replace(job.node, host_name=EMBEDDED, access="socket")
    access = Access(job.secret, None, work.settings.nodes_dir)
    receiver = SnapshotReceiver(node, access, lambda: _created(work), work.folder)
    try:
        work.tell(await receiver.open(by_slot=job.by_slot), ReceiveSnapshot.OPEN)
        async with asyncio.timeout(_WAIT_SECONDS):
            offset = await work.offset
        position = await receiver.begin_after(offset)
        work.tell(Begun(position.replication_id, position.offset), ReceiveSnapshot.BEGUN)
        counting = asyncio.create_task(_count(work, receiver))
        try:
            received = await receiver.receive()
        finally:
            await end_tasks(counting)
        work.tell(receiver.counted)
        work.tell(received)
    except BaseException:
        await asyncio.shield(asyncio.to_thread(work.delete_folder))
        raise
    finally:
        await receiver.close()


def _created(work: FolderWork) -> BinaryIO:
    descriptor = os.open(work.folder / SNAPSHOT_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
    return os.fdopen(descriptor, "wb", buffering=0)


async def _count(work: FolderWork, receiver: SnapshotReceiver) -> None:
    while True:
        await receiver.update()
        work.tell(receiver.counted)
        await asyncio.sleep(_COUNT_SECONDS)


async def check(work: FolderWork, job: CheckSnapshot) -> None:
    _, binary = await asyncio.to_thread(work.server_that_reads, job.version)
    content = await rdb_check.check(binary, work.folder / SNAPSHOT_FILE, lambda read: work.tell(Done(read)))
    work.tell(Checked(content.keys))


async def store(work: FolderWork, job: StoreSnapshot) -> None:
    """Store the snapshot, then delete its folder. Objects that an earlier attempt has stored need no file."""

    async def progress(stored: int) -> None:
        work.tell(Done(stored))

    storage = await work.storage(job.storage)
    await writer.store_shard(storage, job.target, job.shard, work.folder / SNAPSHOT_FILE, progress)
    await asyncio.to_thread(work.delete_folder)

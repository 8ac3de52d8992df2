"""A snapshot of a node without a cluster, written again with its keys divided by slots.

A temporary node of a cluster loads the snapshot and writes one of its own. For nodes on several hosts it is stored
beside the backup until the restore ends.
"""

import asyncio
import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import msgspec

from cachewright import errors
from cachewright.backups import writer
from cachewright.backups.encryption import new_key
from cachewright.backups.manifest import Manifest
from cachewright.backups.storage import Storage
from cachewright.jobs.failure import JobFailed
from cachewright.jobs.results import Divided
from cachewright.jobs.snapshot_files import ORDERED, SnapshotFiles, name_of
from cachewright.jobs.spec import DivideSnapshot
from cachewright.jobs.temporary_node import TemporaryNode, TemporaryNodes
from cachewright.jobs.work import FolderWork
from cachewright.valkey.config import SNAPSHOT, converter_conf

_FETCHED, _ORDERED = 0.3, 0.8
"""Shares of the duration of a job after which the snapshot is fetched, and divided."""

_LOADED, _WRITTEN = 0.4, 0.8
_TOKEN_BYTES = 8


async def divide(work: FolderWork, job: DivideSnapshot, nodes: TemporaryNodes) -> None:
    """Fetch the snapshot, divide it and store the result."""
    files, (shard,) = SnapshotFiles(work.folder), job.manifest.shards
    await asyncio.to_thread(work.new_folder)

    def tell(begin: float, end: float, share: float) -> None:
        work.tell(Divided(begin + (end - begin) * min(share, 1.0)))

    try:
        server = await asyncio.to_thread(work.server_that_reads, job.manifest.server_version)
        size = max(shard.size, 1)
        await files.fetch(
            lambda: work.storage(job.storage),
            job.manifest,
            shard,
            server[1],
            lambda done: tell(0, _FETCHED, done / size),
        )
        node = TemporaryNode(nodes, job.name)
        await order(files, job.manifest, node, server, lambda share: tell(_FETCHED, _ORDERED, share))
        storage = await work.storage(job.storage)
        made = await store(files, storage, job.manifest, job.target, lambda share: tell(_ORDERED, 1.0, share))
    finally:
        await asyncio.shield(asyncio.to_thread(work.delete_folder))
    work.tell(Divided(1.0, made))


async def order(
    files: SnapshotFiles,
    manifest: Manifest,
    node: TemporaryNode,
    server: tuple[str, Path],
    progress: Callable[[float], None],
) -> None:
    """Ensure that the only snapshot of a backup, which is there, is also there divided by slots, with its index. Raises
    JobFailed, and as `SnapshotFiles`.

    :param server: version and path of the valkey-server that the node runs.
    :param progress: called with the finished share.
    """
    (shard,), (version, binary) = manifest.shards, server
    if await asyncio.to_thread(files.index(ORDERED).exists):
        return
    known = await asyncio.to_thread(files.read_index, name_of(shard))
    snapshot, target = files.snapshot(name_of(shard)), files.snapshot(ORDERED)
    async with node.ended_on_failure():
        await node.start(version, converter_conf, lambda folder: os.link(snapshot, folder / SNAPSHOT))
        said = await node.loaded(lambda share: progress(_LOADED * share))
        found = int(said["rdb_last_load_keys_loaded"]) + int(said["rdb_last_load_keys_expired"])
        if found != known.keys:
            message = f"{found} keys were loaded, the backup has {known.keys}"
            raise JobFailed(errors.BACKUP_DAMAGED, message, final=True)
        await node.save(said, target, lambda share: progress(_LOADED + (_WRITTEN - _LOADED) * share))
    ordered = await files.indexed(
        ORDERED, binary, lambda read: progress(_WRITTEN + (1 - _WRITTEN) * min(read / max(shard.size, 1), 1.0))
    )
    if not ordered.is_by_slot:
        raise JobFailed(errors.BACKUP_DAMAGED, "the keys of the snapshot were not divided by slots", final=True)
    await asyncio.to_thread(files.store_index, ORDERED, ordered)


async def store(
    files: SnapshotFiles, storage: Storage, manifest: Manifest, target: str, progress: Callable[[float], None]
) -> Manifest:
    """Store the snapshot of `order`, with a key of its own, and return its manifest. Each call stores another one below
    `target`: two snapshots of the same data may differ. Raises StorageFailed, OSError."""
    path, (shard,) = files.snapshot(ORDERED), manifest.shards
    size, digest = await asyncio.to_thread(_measured, path)
    made = msgspec.structs.replace(shard, key=new_key(), size=size, sha256=digest)
    folder = f"{target}/{secrets.token_hex(_TOKEN_BYTES)}"

    async def report(done: int) -> None:
        progress(done / max(size, 1))

    await writer.store_shard(storage, folder, made, path, report)
    return msgspec.structs.replace(manifest, folder=folder, shards=(made,))


def _measured(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return path.stat().st_size, digest

"""The data of a shard as it was at the end of a second: a temporary node loads its write log and writes a snapshot."""

import asyncio
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from cachewright.backups import log_objects
from cachewright.backups.spool import Rebuilt
from cachewright.backups.storage import Storage
from cachewright.jobs.results import Replayed
from cachewright.jobs.spec import SNAPSHOT_FILE, ReplayLog
from cachewright.jobs.temporary_node import TemporaryNode, TemporaryNodes
from cachewright.jobs.work import FolderWork
from cachewright.model.write_logs import WriteLog
from cachewright.private_files import write_private
from cachewright.valkey.append_only_files import MANIFEST, cut_after, manifest_of, number_of
from cachewright.valkey.config import DATA_FOLDER, replay_conf

FETCHED_SHARE = 0.4
"""Share of the duration of a job after which the log is fetched."""

_LOADED_SHARE = 0.7
_OWNER_ONLY = 0o700
_LOG_FOLDER = "log"


async def replay(work: FolderWork, job: ReplayLog, nodes: TemporaryNodes) -> None:
    """Leave the snapshot in the folder of the job, for the jobs that check and store it."""

    def fetched(done: int) -> None:
        work.tell(Replayed(FETCHED_SHARE * min(done / max(job.log.size, 1), 1.0)))

    def replayed(share: float) -> None:
        work.tell(Replayed(FETCHED_SHARE + (1 - FETCHED_SHARE) * share))

    await asyncio.to_thread(work.new_folder)
    try:
        version, binary = await asyncio.to_thread(work.server_that_reads, job.log.server_version)
        source = work.folder / _LOG_FOLDER
        await asyncio.to_thread(source.mkdir, mode=_OWNER_ONLY)
        await fetch_log(await work.storage(job.storage), job.log, source, fetched, binary=binary, second=job.moment)
        made = Replay(nodes, job.name, version, job.databases, job.is_cluster)
        rebuilt = await made.write(source, work.folder / SNAPSHOT_FILE, replayed)
        await asyncio.to_thread(shutil.rmtree, source)
    except BaseException:
        await asyncio.shield(asyncio.to_thread(work.delete_folder))
        raise
    work.tell(Replayed(1.0, rebuilt))


async def fetch_log(
    storage: Storage, log: WriteLog, folder: Path, progress: Callable[[int], None], *, binary: Path, second: int
) -> None:
    """Store the files of a log in a folder, without what was written after a second, and then their manifest, without
    which they do not count. Raises BackupDamaged, DamagedLog, StorageFailed, OSError.

    :param progress: called with the bytes that are stored. :param binary: valkey-server.
    """
    paths = await log_objects.fetch(storage, log, folder, progress)
    numbered = sorted((number, path) for path in paths if (number := number_of(path.name)) is not None)
    await cut_after(binary, [path for _, path in numbered], second)
    await asyncio.to_thread(_complete, folder)


class Replay(msgspec.Struct, frozen=True):
    """The temporary node that loads a log.

    :ivar name: of the node, :ivar version: of its valkey-server.
    """

    nodes: TemporaryNodes
    name: str
    version: str
    databases: int
    is_cluster: bool

    async def write(self, source: Path, target: Path, progress: Callable[[float], None]) -> Rebuilt:
        """Write the snapshot of the data of a folder of `fetch_log`. Raises JobFailed, OSError.

        :param progress: called with the finished share.
        """

        def conf(host: str, bus_port: int) -> str:
            return replay_conf(host, bus_port, self.databases, is_cluster=self.is_cluster)

        node = TemporaryNode(self.nodes, self.name)
        async with node.ended_on_failure():
            await node.start(self.version, conf, lambda folder: _link_all(source, folder / DATA_FOLDER))
            said = await node.loaded(lambda share: progress(_LOADED_SHARE * share))
            await node.save(said, target, lambda share: progress(_LOADED_SHARE + (1 - _LOADED_SHARE) * share))
        return await asyncio.to_thread(_summary, target, int(said["used_memory_dataset"]), self.version)


def _complete(folder: Path) -> None:
    names = [path.name for path in folder.iterdir()]
    for name in names:
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
    write_private(folder / MANIFEST, manifest_of(names).encode())


def _link_all(source: Path, folder: Path) -> None:
    folder.mkdir(mode=_OWNER_ONLY)
    for path in source.iterdir():
        (folder / path.name).hardlink_to(path)


def _summary(path: Path, memory: int, version: str) -> Rebuilt:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    return Rebuilt(size=path.stat().st_size, sha256=digest, memory=memory, version=version)

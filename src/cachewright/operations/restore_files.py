"""Files of a restore on the server's own disk: the snapshots of the backup, and where their keys are.

They are below `SPOOL/restore-TASK_ID`, for the server's user only, until the task ends. Agents have files of their own,
below the folders of their nodes; here is what the server knows of them.
"""

import asyncio
import logging
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from cachewright import errors
from cachewright.backups.manifest import Manifest, SavedShard, decoded, encoded, read_manifest
from cachewright.backups.storage import BackupDamaged, StorageFailed
from cachewright.jobs import division
from cachewright.jobs.snapshot_files import SnapshotFiles
from cachewright.jobs.temporary_node import TemporaryNode, TemporaryNodes
from cachewright.logs import RARELY
from cachewright.operations.agent_jobs import failures_of_actions
from cachewright.operations.context import OperationContext
from cachewright.private_files import write_private
from cachewright.tasks.operation import ActionFailed
from cachewright.valkey.rdb_check import DamagedSnapshot
from cachewright.valkey.rdb_cut import Cut
from cachewright.valkey.rdb_index import UnreadableSnapshot
from cachewright.valkey.slots import SlotRange

log = logging.getLogger(__name__)

Stored = TypeVar("Stored")

_PREFIX = "restore-"
_DIVISION, _DIVIDED = "division.json", "divided.manifest"
_REMOVAL_SECONDS = 10.0
_SILENT, _SILENT_WITH_FORMER = "silent.json", "silent-with-former.json"


class RestoreFiles:
    """Files of one restore. Methods raise ActionFailed."""

    def __init__(self, context: OperationContext, task_id: str) -> None:
        self._context = context
        self._task_id = task_id
        self._folder = context.settings.spool_dir / f"{_PREFIX}{task_id}"
        self._files = SnapshotFiles(self._folder)

    async def manifest(self, backup_id: str) -> Manifest:
        with _failures():
            storage = await self._context.backup_storage()
            return await read_manifest(storage, self._context.database.cipher, backup_id)

    async def fetch(self, manifest: Manifest, shard: SavedShard, progress: Callable[[int], None]) -> None:
        """Ensure that the snapshot of a shard is there, verified, with its index.

        :param progress: called with the bytes that have been fetched and checked; each counts half.
        """
        with _failures():
            _, binary = await asyncio.to_thread(self._context.server_that_reads, manifest.server_version)
            await self._files.fetch(self._context.backup_storage, manifest, shard, binary, progress)

    async def data_manifest(self, backup_id: str) -> Manifest:
        """Return the manifest of the snapshots that nodes get: of the divided one if there is one."""
        with _failures():
            content = await asyncio.to_thread(_content, self._folder / _DIVIDED)
            if content is not None:
                return decoded(content, self._context.database.cipher, backup_id)
        return await self.manifest(backup_id)

    async def order(self, manifest: Manifest, progress: Callable[[float], None]) -> None:
        """Ensure that the only snapshot of the backup is there divided by slots, with its index.

        :param progress: called with the finished share.
        """
        server = await asyncio.to_thread(self._context.server_that_reads, manifest.server_version)
        with failures_of_actions(), _failures():
            await division.order(self._files, manifest, self._node, server, progress)

    async def begin_division(self, backup_id: str) -> str:
        """Store that the snapshot will be stored divided, and return the folder of the storage for that."""
        await self._write(_DIVISION, msgspec.json.encode(backup_id))
        return self._target(backup_id)

    async def is_divided(self) -> bool:
        """Whether the snapshot is stored divided."""
        return await asyncio.to_thread((self._folder / _DIVIDED).exists)

    async def share(self, manifest: Manifest) -> None:
        """Store the snapshot of `order`, so that agents reach it."""
        target = await self.begin_division(manifest.backup_id)
        with _failures():
            storage = await self._context.marked_backup_storage()
            made = await division.store(self._files, storage, manifest, target, lambda share: None)
        await self.store_divided(made)

    async def store_divided(self, manifest: Manifest) -> None:
        """Store the manifest of the divided snapshot, which is in the storage."""
        await self._write(_DIVIDED, encoded(manifest, self._context.database.cipher))

    async def delete_divided(self) -> None:
        """Delete the divided snapshot in the storage. If that does not answer, `sweep` tries again."""
        backup_id = await asyncio.to_thread(_stored, self._folder / _DIVISION, str)
        if backup_id is None:
            return
        try:
            async with asyncio.timeout(_REMOVAL_SECONDS):
                storage = await self._context.backup_storage()
                await storage.remove(self._target(backup_id))
        except (StorageFailed, TimeoutError) as failure:
            log.warning("a divided snapshot of backup %s is deleted later: %s", backup_id, failure, extra=RARELY)
            return
        await asyncio.to_thread((self._folder / _DIVISION).unlink, missing_ok=True)

    @property
    def _node(self) -> TemporaryNode:
        return TemporaryNode(TemporaryNodes.of(self._context.host), self._task_id)

    def _target(self, backup_id: str) -> str:
        """Return a folder below that of the backup, so that it is deleted with it at the latest."""
        return f"{backup_id}/divided-{self._task_id}"

    async def _write(self, name: str, content: bytes) -> None:
        def write() -> None:
            self._folder.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
            write_private(self._folder / name, content)

        with _failures():
            await asyncio.to_thread(write)

    async def cut(self, slots: Sequence[SlotRange] | None) -> Cut:
        """Return the snapshot of the keys in these slots, or of all keys with None. The storage of the backup is not
        needed any more."""
        with _failures():
            return await asyncio.to_thread(self._files.cut, slots)

    def parts(self, planned: Cut, progress: Callable[[int], None]) -> Iterator[bytes]:
        """Yield the bytes of a new snapshot. Blocks. `progress` is called with the bytes so far."""
        return self._files.parts(planned, progress)

    async def store_keys(self, node_id: str, keys: int) -> None:
        """Store that the agent of a node has made its data, with so many keys."""
        await self._write(f"{node_id}.keys", msgspec.json.encode(keys))

    async def keys(self, node_id: str) -> int | None:
        """Return what `store_keys` has stored."""
        return await asyncio.to_thread(_stored, self._folder / f"{node_id}.keys", int)

    async def delete(self, *, new: Sequence[str] = (), former: Sequence[str] = ()) -> None:
        """Delete everything on the disk. What is left of `delete_divided` is remembered for `sweep`.

        :param new: nodes whose hosts do not answer: `sweep` deletes what is left there of their new data,
        :param former: and of their former data, which is not needed any more.
        """
        with failures_of_actions():
            await self._node.end()

        def delete() -> None:
            divided = _stored(self._folder / _DIVISION, str)
            for path in self._folder.glob("*"):
                if path.name != _DIVISION:
                    path.unlink(missing_ok=True)
            if divided is None:
                shutil.rmtree(self._folder, ignore_errors=True)
            for name, nodes in ((_SILENT, new), (_SILENT_WITH_FORMER, former)):
                if nodes:
                    self._folder.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
                    write_private(self._folder / name, msgspec.json.encode(nodes))

        await asyncio.to_thread(delete)

    async def silent_nodes(self) -> tuple[list[str], list[str]]:
        """Return the nodes with which `delete` was called: with new data, with former data."""
        new = await asyncio.to_thread(_stored, self._folder / _SILENT, list[str])
        former = await asyncio.to_thread(_stored, self._folder / _SILENT_WITH_FORMER, list[str])
        return new or [], former or []


def tasks_with_files(context: OperationContext) -> set[str]:
    """Return the ids of the tasks that have files. Blocks."""
    return {path.name.removeprefix(_PREFIX) for path in context.settings.spool_dir.glob(f"{_PREFIX}*")}


def _stored(path: Path, kind: type[Stored]) -> Stored | None:
    content = _content(path)
    return None if content is None else msgspec.json.decode(content, type=kind)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


@contextmanager
def _failures() -> Iterator[None]:
    """Turn errors into ActionFailed. A storage may answer again, a damaged backup stays damaged."""
    try:
        yield
    except StorageFailed as failure:
        raise ActionFailed(errors.BACKUP_STORAGE_FAILED, str(failure)) from failure
    except (BackupDamaged, DamagedSnapshot, UnreadableSnapshot) as failure:
        raise ActionFailed(errors.BACKUP_DAMAGED, str(failure), True) from failure
    except FileNotFoundError as error:
        raise ActionFailed(errors.BACKUP_DAMAGED, "the files of the restore are gone; retry the task", True) from error
    except OSError as error:
        message = f"the backup cannot be stored on the disk of the server: {error.strerror}"
        raise ActionFailed(errors.NOT_ENOUGH_DISK, message) from error

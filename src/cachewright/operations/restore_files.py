"""Files of a restore on the server's own disk: the snapshots of the backup, and where their keys are.

They are below `SPOOL/restore-TASK_ID`, for the server's user only, until the task ends. Agents have files of their own,
below the folders of their nodes; here is what the server knows of them.
"""

import asyncio
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from cachewright import errors
from cachewright.backups.manifest import Manifest, SavedShard, read_manifest
from cachewright.backups.storage import BackupDamaged, StorageFailed
from cachewright.jobs.snapshot_files import ORDERED, SnapshotFiles, name_of
from cachewright.operations.context import OperationContext
from cachewright.operations.slot_order import SlotOrder
from cachewright.private_files import write_private
from cachewright.tasks.operation import ActionFailed
from cachewright.valkey.rdb_check import DamagedSnapshot
from cachewright.valkey.rdb_cut import Cut
from cachewright.valkey.rdb_index import RdbIndex, UnreadableSnapshot
from cachewright.valkey.slots import SlotRange

Stored = TypeVar("Stored")

_PREFIX = "restore-"
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

    async def order(self, manifest: Manifest, progress: Callable[[float], None]) -> None:
        """Ensure that the only snapshot of the backup is there divided by slots, with its index.

        :param progress: called with the finished share.
        """
        (shard,) = manifest.shards
        if self._files.index(ORDERED).exists():
            return
        found = await asyncio.to_thread(self._files.read_index, name_of(shard))
        target = self._files.snapshot(ORDERED)
        order = SlotOrder(self._context, self._task_id)
        version, binary = await asyncio.to_thread(self._context.server_that_reads, manifest.server_version)
        snapshot = self._files.snapshot(name_of(shard))
        await order.write(snapshot, target, found.keys, version, lambda share: progress(0.8 * share))
        with _failures():
            ordered: RdbIndex = await self._files.indexed(
                ORDERED, binary, lambda read: progress(0.8 + 0.2 * read / max(shard.size, 1))
            )
        if not ordered.is_by_slot:
            raise ActionFailed(errors.BACKUP_DAMAGED, "the keys of the snapshot were not divided by slots", True)
        await asyncio.to_thread(self._files.store_index, ORDERED, ordered)

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

        def write() -> None:
            self._folder.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
            write_private(self._folder / f"{node_id}.keys", msgspec.json.encode(keys))

        with _failures():
            await asyncio.to_thread(write)

    async def keys(self, node_id: str) -> int | None:
        """Return what `store_keys` has stored."""
        return await asyncio.to_thread(_stored, self._folder / f"{node_id}.keys", int)

    async def delete(self, *, new: Sequence[str] = (), former: Sequence[str] = ()) -> None:
        """Delete everything.

        :param new: nodes whose hosts do not answer: `sweep` deletes what is left there of their new data,
        :param former: and of their former data, which is not needed any more.
        """
        await SlotOrder(self._context, self._task_id).end()

        def delete() -> None:
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
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
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

"""Files of a restore on the server's own disk: the snapshots of the backup, and where their keys are.

They are below `SPOOL/restore-TASK_ID`, for the server's user only, until the task ends.
"""

import asyncio
import logging
import mmap
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from cachewright import errors
from cachewright.backups.manifest import Manifest, SavedShard, read_manifest
from cachewright.backups.reader import fetch_shard
from cachewright.backups.storage import BackupDamaged, StorageFailed
from cachewright.operations.context import OperationContext
from cachewright.operations.slot_order import SlotOrder
from cachewright.store import tasks
from cachewright.tasks.operation import ActionFailed
from cachewright.valkey import rdb_check, rdb_cut, rdb_index
from cachewright.valkey.rdb_check import DamagedSnapshot
from cachewright.valkey.rdb_cut import Cut, Part
from cachewright.valkey.rdb_index import RdbIndex, UnreadableSnapshot
from cachewright.valkey.slots import SlotRange

log = logging.getLogger(__name__)

_PREFIX = "restore-"
_ORDERED = "ordered"
_PART_BYTES = 1024 * 1024


class RestoreFiles:
    """Files of one restore. Methods raise ActionFailed."""

    def __init__(self, context: OperationContext, task_id: str) -> None:
        self._context = context
        self._task_id = task_id
        self._folder = context.settings.spool_dir / f"{_PREFIX}{task_id}"

    async def manifest(self, backup_id: str) -> Manifest:
        with _failures():
            storage = await self._context.backup_storage()
            return await read_manifest(storage, self._context.database.cipher, backup_id)

    async def fetch(self, manifest: Manifest, shard: SavedShard, progress: Callable[[int], None]) -> None:
        """Ensure that the snapshot of a shard is there, verified, with its index.

        :param progress: called with the bytes that have been fetched and checked; each counts half.
        """
        target, index = self._snapshot(_name(shard)), self._index(_name(shard))
        if index.exists():
            return
        with _failures():
            await asyncio.to_thread(self._folder.mkdir, mode=stat.S_IRWXU, parents=True, exist_ok=True)
            if not target.exists():
                storage = await self._context.backup_storage()
                await fetch_shard(storage, manifest, shard, target, lambda fetched: progress(fetched // 2))
        half = shard.size // 2
        found = await self._indexed(target, manifest.server_version, lambda read: progress(half + read // 2))
        if shard.slots and found.is_by_slot:
            owned = rdb_index.within(found, [SlotRange(first, last) for first, last in shard.slots])
            if owned.keys != found.keys:
                log.warning("%s has %d keys in slots of other shards", _name(shard), found.keys - owned.keys)
            found = owned
        await asyncio.to_thread(_store, index, found)

    async def order(self, manifest: Manifest, progress: Callable[[float], None]) -> None:
        """Ensure that the only snapshot of the backup is there divided by slots, with its index.

        :param progress: called with the finished share.
        """
        (shard,) = manifest.shards
        if self._index(_ORDERED).exists():
            return
        found = await asyncio.to_thread(self._read_index, _name(shard))
        target = self._snapshot(_ORDERED)
        order = SlotOrder(self._context, self._task_id)
        version, _ = await asyncio.to_thread(self._context.server_that_reads, manifest.server_version)
        snapshot = self._snapshot(_name(shard))
        await order.write(snapshot, target, found.keys, version, lambda share: progress(0.8 * share))
        ordered = await self._indexed(target, version, lambda read: progress(0.8 + 0.2 * read / max(shard.size, 1)))
        if not ordered.is_by_slot:
            raise ActionFailed(errors.BACKUP_DAMAGED, "the keys of the snapshot were not divided by slots", True)
        await asyncio.to_thread(_store, self._index(_ORDERED), ordered)

    async def cut(self, slots: Sequence[SlotRange] | None) -> Cut:
        """Return the snapshot of the keys in these slots, or of all keys with None. The storage of the backup is not
        needed any more."""

        def read() -> Cut:
            names = self._names()
            indexes = [self._read_index(name) for name in names]
            if slots is None and len(indexes) == 1:
                return rdb_cut.whole(indexes[0], self._snapshot(names[0]).stat().st_size)
            return rdb_cut.cut(indexes, (rdb_cut.ALL_SLOTS,) if slots is None else slots)

        with _failures():
            return await asyncio.to_thread(read)

    def parts(self, planned: Cut, progress: Callable[[int], None]) -> Iterator[bytes]:
        """Yield the bytes of a new snapshot. Blocks. `progress` is called with the bytes so far."""
        done = 0
        pieces: Iterator[bytes]
        with ExitStack() as stack:
            files = [stack.enter_context(self._snapshot(name).open("rb")) for name in self._names()]
            for piece in planned.pieces:
                if isinstance(piece, Part):
                    file = files[piece.source]
                    file.seek(piece.first)
                    sizes = range(piece.first, piece.end, _PART_BYTES)
                    pieces = (file.read(min(_PART_BYTES, piece.end - first)) for first in sizes)
                else:
                    pieces = iter((piece,))
                for part in pieces:
                    done += len(part)
                    progress(done)
                    yield part

    async def delete(self) -> None:
        await SlotOrder(self._context, self._task_id).end()
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def _indexed(self, snapshot: Path, version: str, progress: Callable[[int], None]) -> RdbIndex:
        """Check a snapshot of this version of valkey-server and return its index. `progress` is called with the bytes
        that have been read."""
        with _failures():
            _, binary = await asyncio.to_thread(self._context.server_that_reads, version)
            checked = await rdb_check.check(binary, snapshot, progress)
            return await asyncio.to_thread(_parsed, checked.report, snapshot)

    def _names(self) -> list[str]:
        """Return the names of the snapshots that contain the backup, always in the same order."""
        if self._index(_ORDERED).exists():
            return [_ORDERED]
        return sorted(path.stem for path in self._folder.glob("*.index"))

    def _read_index(self, name: str) -> RdbIndex:
        return msgspec.json.decode(self._index(name).read_bytes(), type=RdbIndex)

    def _snapshot(self, name: str) -> Path:
        return self._folder / f"{name}.rdb"

    def _index(self, name: str) -> Path:
        return self._folder / f"{name}.index"


async def sweep(context: OperationContext) -> None:
    """Delete files of tasks that have ended without a recovery, because their instance was deleted."""

    def stale() -> set[str]:
        found = {path.name.removeprefix(_PREFIX) for path in context.settings.spool_dir.glob(f"{_PREFIX}*")}
        if not found:
            return found
        with context.database.read() as connection:
            return found - {task.id for task in tasks.unfinished(connection)}

    for task_id in await asyncio.to_thread(stale):
        await RestoreFiles(context, task_id).delete()


def _name(shard: SavedShard) -> str:
    return f"shard-{shard.shard}"


def _parsed(report: str, path: Path) -> RdbIndex:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return rdb_index.parse(report, content)


def _store(path: Path, index: RdbIndex) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(msgspec.json.encode(index))
    partial.replace(path)


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

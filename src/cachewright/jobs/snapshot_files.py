"""Snapshots of a backup in a folder of this machine: fetched, checked, and cut by slots.

Beside each snapshot is its index, which says where its keys are. A snapshot with an index is whole.
"""

import asyncio
import logging
import mmap
import stat
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from cachewright.backups.manifest import Manifest, SavedShard
from cachewright.backups.reader import fetch_shard
from cachewright.backups.storage import Storage
from cachewright.private_files import write_private
from cachewright.valkey import rdb_check, rdb_cut, rdb_index
from cachewright.valkey.rdb_cut import Cut, Part
from cachewright.valkey.rdb_index import RdbIndex
from cachewright.valkey.slots import SlotRange

log = logging.getLogger(__name__)

ORDERED = "ordered"
"""Name of the snapshot with all keys, divided by slots, if there is one."""

_PART_BYTES = 1024 * 1024


class SnapshotFiles:
    """Raises StorageFailed, BackupDamaged, DamagedSnapshot, UnreadableSnapshot, OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def fetch(
        self,
        storage: Callable[[], Awaitable[Storage]],
        manifest: Manifest,
        shard: SavedShard,
        binary: Path,
        progress: Callable[[int], None],
    ) -> None:
        """Ensure that the snapshot of a shard is there, verified, with its index.

        :param storage: opens the storage of the backup.
        :param binary: valkey-server that reads the snapshot.
        :param progress: called with the bytes that have been fetched and checked; each counts half.
        """
        target, index = self.snapshot(name_of(shard)), self.index(name_of(shard))
        if index.exists():
            return
        await asyncio.to_thread(self._folder.mkdir, mode=stat.S_IRWXU, parents=True, exist_ok=True)
        if not target.exists():
            opened = await storage()
            await fetch_shard(opened, manifest, shard, target, lambda fetched: progress(fetched // 2))
        half = shard.size // 2
        found = await self.indexed(name_of(shard), binary, lambda read: progress(half + read // 2))
        if shard.slots and found.is_by_slot:
            owned = rdb_index.within(found, [SlotRange(first, last) for first, last in shard.slots])
            if owned.keys != found.keys:
                log.warning("%s has %d keys in slots of other shards", name_of(shard), found.keys - owned.keys)
            found = owned
        await asyncio.to_thread(self.store_index, name_of(shard), found)

    async def indexed(self, name: str, binary: Path, progress: Callable[[int], None]) -> RdbIndex:
        """Check a snapshot and return its index. `progress` is called with the bytes that have been read."""
        snapshot = self.snapshot(name)
        checked = await rdb_check.check(binary, snapshot, progress)
        return await asyncio.to_thread(_parsed, checked.report, snapshot)

    def cut(self, slots: Sequence[SlotRange] | None) -> Cut:
        """Return the snapshot of the keys in these slots, or of all keys with None. Blocks."""
        names = self._names()
        indexes = [self.read_index(name) for name in names]
        if slots is None and len(indexes) == 1:
            return rdb_cut.whole(indexes[0], self.snapshot(names[0]).stat().st_size)
        return rdb_cut.cut(indexes, (rdb_cut.ALL_SLOTS,) if slots is None else slots)

    def parts(self, planned: Cut, progress: Callable[[int], None]) -> Iterator[bytes]:
        """Yield the bytes of a new snapshot. Blocks. `progress` is called with the bytes so far."""
        done = 0
        pieces: Iterator[bytes]
        with ExitStack() as stack:
            files = [stack.enter_context(self.snapshot(name).open("rb")) for name in self._names()]
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

    def snapshot(self, name: str) -> Path:
        return self._folder / f"{name}.rdb"

    def index(self, name: str) -> Path:
        return self._folder / f"{name}.index"

    def read_index(self, name: str) -> RdbIndex:
        """Blocks."""
        return msgspec.json.decode(self.index(name).read_bytes(), type=RdbIndex)

    def store_index(self, name: str, index: RdbIndex) -> None:
        """Blocks."""
        write_private(self.index(name), msgspec.json.encode(index))

    def _names(self) -> list[str]:
        """Return the names of the snapshots that contain the backup, always in the same order."""
        if self.index(ORDERED).exists():
            return [ORDERED]
        return sorted(path.stem for path in self._folder.glob("*.index"))


def name_of(shard: SavedShard) -> str:
    """Return the name of the snapshot of a shard."""
    return f"shard-{shard.shard}"


def _parsed(report: str, path: Path) -> RdbIndex:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return rdb_index.parse(report, content)

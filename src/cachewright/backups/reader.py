"""Reading the files of a backup. Everything is verified: each chunk when it is decrypted, the whole file at its end."""

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

from cachewright.backups.encryption import ChunkCipher, object_count, object_name, sealed_lengths
from cachewright.backups.manifest import Manifest, SavedShard
from cachewright.backups.storage import BackupDamaged, Storage
from cachewright.disk_reserve import append, sync

_OWNER_ONLY = 0o600


async def read_shard(storage: Storage, manifest: Manifest, shard: SavedShard) -> AsyncGenerator[bytes, None]:
    """Yield the RDB file of a shard. Raises BackupDamaged as soon as a chunk is not the original one, and at the end if
    the file is not; StorageFailed."""
    cipher = ChunkCipher(shard.key, manifest.folder, shard.shard, shard.size)
    lengths = sealed_lengths(shard.size)
    number, wanted = 0, next(lengths)
    digest, size, whole = hashlib.sha256(), 0, True

    def decrypted(number: int, sealed: bytes) -> bytes:
        chunk = cipher.decrypt(number, sealed)
        digest.update(chunk)
        return chunk

    for place in range(object_count(shard.size)):
        name = object_name(manifest.folder, shard.shard, place)
        content = await storage.get(name)
        if content is None:
            raise BackupDamaged(f"{name} is missing in {storage.name}")
        begin = 0
        while begin < len(content) and wanted:
            chunk = await asyncio.to_thread(decrypted, number, content[begin : begin + wanted])
            begin += wanted
            size += len(chunk)
            yield chunk
            number, wanted = number + 1, next(lengths, 0)
        whole = whole and begin == len(content)
    if not whole or wanted or size != shard.size or digest.hexdigest() != shard.sha256:
        raise BackupDamaged(f"shard {shard.shard} of backup {manifest.backup_id}: the file is not the original one")


async def fetch_shard(
    storage: Storage, manifest: Manifest, shard: SavedShard, target: Path, progress: Callable[[int], None]
) -> None:
    """Store the RDB file of a shard at `target`, durably and readable by its owner only. The file is there whole or not
    at all. Raises as `read_shard`, and OSError.

    :param progress: called with the bytes that are stored.
    """
    partial = target.with_name(f"{target.name}.partial")
    partial.unlink(missing_ok=True)
    done = 0
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY), "wb") as file:
        async with aclosing(read_shard(storage, manifest, shard)) as chunks:
            async for chunk in chunks:
                await asyncio.to_thread(append, file, chunk, target.parent)
                done += len(chunk)
                progress(done)
        await asyncio.to_thread(sync, file)
    partial.replace(target)

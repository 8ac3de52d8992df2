"""Storing the files of a backup. It can be repeated: objects that are there are not stored again."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from cachewright.backups.encryption import (
    CHUNK_BYTES,
    CHUNKS_OF_OBJECT,
    ChunkCipher,
    object_count,
    object_name,
    object_size,
)
from cachewright.backups.manifest import Manifest, SavedShard, encoded, manifest_name, read_manifest
from cachewright.backups.storage import BackupDamaged, Storage
from cachewright.store.encryption import SecretCipher


async def store_shard(
    storage: Storage, folder: str, shard: SavedShard, source: Path, progress: Callable[[int], Awaitable[None]]
) -> None:
    """Encrypt a file and store its objects. Raises StorageFailed, OSError.

    The same file with the same key is always the same objects, so those of an interrupted attempt count.

    :param progress: called with the bytes of the file that are stored.
    """
    cipher = ChunkCipher(shard.key, folder, shard.shard, shard.size)
    for place in range(object_count(shard.size)):
        name = object_name(folder, shard.shard, place)
        first = place * CHUNKS_OF_OBJECT
        if await storage.size(name) != object_size(shard.size, place):
            content = await asyncio.to_thread(_encrypted, cipher, source, first)
            await storage.put(name, content)
        await progress(min((first + CHUNKS_OF_OBJECT) * CHUNK_BYTES, shard.size))


async def store_manifest(storage: Storage, manifest: Manifest, cipher: SecretCipher) -> None:
    """Store the manifest of a backup, which makes it exist. Raises BackupDamaged if an object is missing, or another
    manifest of this backup is there; StorageFailed."""
    for shard in manifest.shards:
        for place in range(object_count(shard.size)):
            name = object_name(manifest.folder, shard.shard, place)
            if await storage.size(name) != object_size(shard.size, place):
                raise BackupDamaged(f"{name} is not in {storage.name} as it was stored")
    if await storage.put(manifest_name(manifest.backup_id), encoded(manifest, cipher), new=True):
        return
    if await read_manifest(storage, cipher, manifest.backup_id) != manifest:
        raise BackupDamaged(f"backup {manifest.backup_id}: {storage.name} has another manifest of it")


def _encrypted(cipher: ChunkCipher, source: Path, first: int) -> bytes:
    """Return the content of the object that begins with the chunk `first`."""
    parts = []
    with source.open("rb") as file:
        file.seek(first * CHUNK_BYTES, os.SEEK_SET)
        for number in range(first, first + CHUNKS_OF_OBJECT):
            chunk = file.read(CHUNK_BYTES)
            if not chunk and number:
                break
            parts.append(cipher.encrypt(number, chunk))
    return b"".join(parts)

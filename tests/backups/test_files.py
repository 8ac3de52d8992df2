"""Files of a backup in a storage: what is read is what was stored, or nothing is."""

import hashlib
import os
import subprocess
from contextlib import aclosing
from pathlib import Path

import msgspec
import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from cachewright.backups import encryption
from cachewright.backups.encryption import CHUNK_BYTES, TAG_BYTES, new_key, object_count, object_name, object_size
from cachewright.backups.manifest import Manifest, SavedAccount, SavedShard, manifest_name, read_manifest
from cachewright.backups.reader import fetch_shard, read_shard
from cachewright.backups.storage import BackupDamaged, Storage, StorageFailed, parse_storage_url
from cachewright.backups.writer import store_manifest, store_shard
from cachewright.store.encryption import SecretCipher
from environment_faults import fill, small_disk
from manifest_fixtures import a_manifest

CIPHER = SecretCipher([Fernet.generate_key()])
CHUNK = CHUNK_BYTES
BACKUP = "8f6a2c1e-6f0e-4d7c-9a41-5e0f3c8f9a10"


def manifest_of(*shards: SavedShard) -> Manifest:
    return a_manifest(
        backup_id=BACKUP,
        folder=f"{BACKUP}/first",
        parameters={"maxmemory-policy": "noeviction"},
        disabled_commands=("keys",),
        accounts=(SavedAccount(name="reader", role="read", password_hash="00"),),
        password="Secret-1",
        shards=shards,
    )


def shard_of(content: bytes, number: int = 0) -> SavedShard:
    return SavedShard(
        shard=number, key=new_key(), size=len(content), sha256=hashlib.sha256(content).hexdigest(), keys={0: 3, 2: 1}
    )


async def ignored(_: int) -> None:
    """Take the progress of `store_shard`."""


async def stored(storage: Storage, folder: Path, content: bytes) -> Manifest:
    source = folder / "source.rdb"
    source.write_bytes(content)
    shard = shard_of(content)
    manifest = manifest_of(shard)
    await store_shard(storage, manifest.folder, shard, source, ignored)
    await store_manifest(storage, manifest, CIPHER)
    return manifest


async def read(storage: Storage, manifest: Manifest) -> bytes:
    async with aclosing(read_shard(storage, manifest, manifest.shards[0])) as chunks:
        return b"".join([chunk async for chunk in chunks])


@pytest.fixture(autouse=True)
def small_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects of two chunks, so that files of some megabytes have several."""
    for module in ("encryption", "writer"):
        monkeypatch.setattr(f"cachewright.backups.{module}.CHUNKS_OF_OBJECT", 2)


@pytest.mark.parametrize("size", [1, CHUNK - 1, CHUNK, 2 * CHUNK, 2 * CHUNK + 1, 5 * CHUNK + 7])
async def test_a_file_is_read_as_it_was_stored(tmp_path: Path, size: int) -> None:
    storage = Storage.open(f"file://{tmp_path}/backups", create=True)
    content = os.urandom(size)
    manifest = await stored(storage, tmp_path, content)
    found = await read_manifest(storage, CIPHER, BACKUP)
    assert found == manifest
    assert (found.size, found.keys) == (size, {0: 3, 2: 1})
    progress: list[int] = []
    await fetch_shard(storage, found, found.shards[0], tmp_path / "fetched.rdb", progress.append)
    assert (tmp_path / "fetched.rdb").read_bytes() == content
    assert progress[-1] == size
    assert (tmp_path / "fetched.rdb").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "backups").stat().st_mode & 0o777 == 0o700


async def test_nothing_secret_or_readable_is_in_the_storage(tmp_path: Path) -> None:
    storage = Storage.open(f"file://{tmp_path}/backups", create=True)
    await stored(storage, tmp_path, b"a value that a client has stored" * 10)
    for path in (tmp_path / "backups").rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for secret in (b"client has stored", b"Secret-1", b"reader", b"password"):
            assert secret not in content


async def test_a_file_that_was_changed_is_not_read(tmp_path: Path) -> None:
    storage = Storage.open(f"file://{tmp_path}/backups", create=True)
    manifest = await stored(storage, tmp_path, os.urandom(5 * CHUNK))
    names = [object_name(manifest.folder, 0, place) for place in range(3)]
    whole = [await storage.get(name) or b"" for name in names]
    sealed = CHUNK + TAG_BYTES
    damaged = {
        "a flipped bit": (whole[0][:-1] + bytes([whole[0][-1] ^ 1]), whole[1], whole[2]),
        "a missing byte": (whole[0], whole[1], whole[2][:-1]),
        "a missing end": (whole[0], whole[1], b""),
        "further bytes": (whole[0], whole[1], whole[2] + b"0"),
        "other order": (whole[0][sealed:] + whole[0][:sealed], whole[1], whole[2]),
        "another object": (whole[1], whole[1], whole[2]),
    }
    for what, contents in damaged.items():
        for name, content in zip(names, contents, strict=True):
            await storage.put(name, content)
        with pytest.raises(BackupDamaged):
            await read(storage, manifest)
        with pytest.raises(BackupDamaged):
            await fetch_shard(storage, manifest, manifest.shards[0], tmp_path / "fetched.rdb", lambda _: None)
        assert not (tmp_path / "fetched.rdb").exists(), what
    await storage.put(names[0], whole[0])
    await storage.remove_object(names[1])
    with pytest.raises(BackupDamaged, match="missing"):
        await read(storage, manifest)


async def test_a_manifest_is_bound_to_its_backup_and_to_the_key_of_the_server(tmp_path: Path) -> None:
    storage = Storage.open(f"file://{tmp_path}/backups", create=True)
    manifest = await stored(storage, tmp_path, b"content")
    content = await storage.get(manifest_name(BACKUP)) or b""
    await storage.put(manifest_name("other"), content)
    with pytest.raises(BackupDamaged, match="belongs to backup"):
        await read_manifest(storage, CIPHER, "other")
    with pytest.raises(BackupDamaged, match="another key"):
        await read_manifest(storage, SecretCipher([Fernet.generate_key()]), BACKUP)
    with pytest.raises(BackupDamaged, match="no manifest"):
        await read_manifest(storage, CIPHER, "absent")
    for broken in (content.replace(b'"sealed":"g', b'"sealed":"h'), b"{}", b"", content.replace(b":1,", b":2,", 1)):
        await storage.put(manifest_name(BACKUP), broken)
        with pytest.raises(BackupDamaged):
            await read_manifest(storage, CIPHER, BACKUP)
    assert manifest.password


async def test_an_interrupted_upload_is_completed_and_a_manifest_is_never_replaced(tmp_path: Path) -> None:
    storage = Storage.open(f"file://{tmp_path}/backups", create=True)
    content = os.urandom(3 * CHUNK)
    source = tmp_path / "source.rdb"
    source.write_bytes(content)
    manifest = manifest_of(shard := shard_of(content))
    await store_shard(storage, manifest.folder, shard, source, ignored)
    first, second = (object_name(manifest.folder, 0, place) for place in range(2))
    unchanged = (tmp_path / "backups" / first).stat().st_mtime_ns
    await storage.put(second, b"a part")
    with pytest.raises(BackupDamaged, match="as it was stored"):
        await store_manifest(storage, manifest, CIPHER)
    assert await storage.get(manifest_name(BACKUP)) is None
    await store_shard(storage, manifest.folder, shard, source, ignored)
    assert (tmp_path / "backups" / first).stat().st_mtime_ns == unchanged
    await store_manifest(storage, manifest, CIPHER)
    await store_manifest(storage, manifest, CIPHER)
    with pytest.raises(BackupDamaged, match="another manifest"):
        await store_manifest(storage, msgspec.structs.replace(manifest, taken_at=2), CIPHER)
    assert await read(storage, manifest) == content


async def test_a_removed_backup_leaves_nothing(tmp_path: Path) -> None:
    storage = Storage.open(f"file://{tmp_path}/backups", create=True)
    await stored(storage, tmp_path, b"content")
    (tmp_path / "backups" / BACKUP / "first" / "shard-0" / "000001#1").write_bytes(b"what a killed process leaves")
    await storage.remove(BACKUP)
    await storage.remove(BACKUP)
    assert list((tmp_path / "backups").iterdir()) == []
    await storage.probe()
    assert list((tmp_path / "backups").iterdir()) == []


def remount(folder: Path, access: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{access}", str(folder)], check=True)


async def test_a_disk_that_is_full_or_read_only_is_an_error_until_it_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    with small_disk(folder, 4):
        storage = Storage.open(folder.as_uri())
        await storage.put("first", b"content")
        filler = fill(folder)
        with pytest.raises(StorageFailed, match="almost full"):
            await storage.put("second", b"content")
        filler.unlink()
        remount(folder, "ro")
        with pytest.raises(StorageFailed, match="Read-only file system"):
            await storage.put("second", b"content")
        with pytest.raises(StorageFailed):
            await storage.remove_object("first")
        assert await storage.get("first") == b"content"
        remount(folder, "rw")
        await storage.put("second", b"content")
        assert sorted(await storage.names("")) == ["first", "second"]


async def test_a_storage_that_is_away_is_an_error_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageFailed, match=f"file://{tmp_path}/file"):
        Storage.open(f"file://{tmp_path}/file")
    with pytest.raises(StorageFailed, match="does not exist"):
        Storage.open(f"file://{tmp_path}/absent")
    assert not (tmp_path / "absent").exists()
    storage = Storage.open(f"file://{tmp_path}/backups", create=True)
    (tmp_path / "backups").rmdir()
    (tmp_path / "backups").write_text("not a folder any more")
    with pytest.raises(StorageFailed):
        await storage.put("name", b"content")
    with pytest.raises(StorageFailed):
        await storage.probe()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/srv",
        "file:srv",
        "file://host/srv",
        "http://host/x",
        "s3://",
        "s3://key:secret@bucket",
        "s3://b?x=1",
        "file:///",
    ],
)
def test_a_url_that_is_no_storage_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not a URL") as refused:
        parse_storage_url(url)
    assert "secret" not in str(refused.value)


async def test_a_storage_without_its_mark_is_not_changed(tmp_path: Path) -> None:
    storage = Storage.open(f"file://{tmp_path}/backups", create=True)
    with pytest.raises(StorageFailed, match="mounted"):
        await storage.require_mark(is_new=False)
    await storage.require_mark(is_new=True)
    await storage.require_mark(is_new=False)


@pytest.mark.parametrize("url", ["file:///srv/backups", "s3://bucket", "s3://bucket/a/b"])
def test_a_url_of_a_storage_is_accepted(url: str) -> None:
    assert parse_storage_url(url + "/") == url


@given(st.integers(1, 300 * CHUNK))
def test_objects_have_all_bytes_of_a_file(size: int) -> None:
    sizes = [object_size(size, place) for place in range(object_count(size))]
    assert sum(sizes) == size + TAG_BYTES * encryption.chunk_count(size)
    assert all(0 < length <= encryption.CHUNKS_OF_OBJECT * (CHUNK + TAG_BYTES) for length in sizes)
    assert sum(encryption.sealed_lengths(size)) == sum(sizes)

"""The same storage in a bucket: a server that speaks the protocol of S3."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from bucket import SECRET, access_to, bucket_service
from cachewright.backups import storage as storages
from cachewright.backups.encryption import CHUNK_BYTES, new_key
from cachewright.backups.manifest import SavedShard, read_manifest
from cachewright.backups.reader import read_shard
from cachewright.backups.storage import Storage, StorageFailed
from cachewright.backups.writer import store_manifest, store_shard
from cachewright.store.encryption import SecretCipher
from manifest_fixtures import a_manifest

pytestmark = pytest.mark.node


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with bucket_service() as url:
        yield url


@pytest.fixture
def storage(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Storage:
    access(monkeypatch, endpoint)
    return Storage.open("s3://bucket/prefix")


def access(patch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Credentials come from the environment."""
    for name, value in access_to(endpoint).items():
        patch.setenv(name, value)


async def test_a_backup_in_a_bucket_is_read_as_it_was_stored(storage: Storage, tmp_path: Path) -> None:
    await storage.probe()
    content = os.urandom(2 * CHUNK_BYTES + 5)
    source = tmp_path / "source.rdb"
    source.write_bytes(content)
    shard = SavedShard(
        shard=0, key=new_key(), size=len(content), sha256=hashlib.sha256(content).hexdigest(), keys={0: 1}
    )
    manifest = a_manifest(backup_id="backup", folder="backup/first", shards=(shard,))
    cipher = SecretCipher([Fernet.generate_key()])
    stored: list[int] = []

    async def progress(done: int) -> None:
        stored.append(done)

    await store_shard(storage, manifest.folder, shard, source, progress)
    await store_manifest(storage, manifest, cipher)
    await store_manifest(storage, manifest, cipher)
    assert stored == [len(content)]
    assert await read_manifest(storage, cipher, "backup") == manifest
    async with aclosing(read_shard(storage, manifest, shard)) as parts:
        assert b"".join([part async for part in parts]) == content
    assert await storage.put("backup/manifest.json", b"another", new=True) is False
    assert sorted(await storage.names("backup")) == ["backup/first/shard-0/000000", "backup/manifest.json"]
    await storage.put("other/kept", b"content")
    await storage.remove("backup")
    assert await storage.names("backup") == []
    assert await storage.size("backup/manifest.json") is None
    assert await storage.get("other/kept") == b"content"


async def test_a_bucket_or_a_service_that_is_missing_is_an_error_with_its_name(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    access(monkeypatch, endpoint)
    with pytest.raises(StorageFailed, match="s3://absent"):
        await Storage.open("s3://absent").put("name", b"content")
    access(monkeypatch, "http://127.0.0.1:1")
    with pytest.raises(StorageFailed, match="s3://bucket") as failed:
        await Storage.open("s3://bucket").get("name")
    assert SECRET not in str(failed.value)


@asynccontextmanager
async def failing_service(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A service that gives every request this answer, or none, and the first lines of the requests."""
    asked: list[bytes] = []
    connections: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            while line := await reader.readline():
                asked.append(line)
                head = await reader.readuntil(b"\r\n\r\n")
                lengths = [row for row in head.lower().split(b"\r\n") if row.startswith(b"content-length:")]
                await reader.readexactly(int(lengths[0].partition(b":")[2]))
                writer.write(answer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()
        for connection in connections:
            connection.close()
        await asyncio.gather(*(connection.wait_closed() for connection in connections), return_exceptions=True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n", "500"),
        (b"HTTP/1.1 503 Slow Down\r\ncontent-length: 0\r\n\r\n", "503"),
        (b"", "s3://bucket"),
    ],
    ids=["error", "busy", "silent"],
)
async def test_a_service_that_fails_is_asked_again_and_is_an_error_then(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, words: str
) -> None:
    monkeypatch.setattr(storages, "_ANSWER_SECONDS", 1)
    async with failing_service(answer) as (endpoint, asked):
        access(monkeypatch, endpoint)
        storage = Storage.open("s3://bucket")
        with pytest.raises(StorageFailed, match=words) as failed:
            await storage.put("name", b"content")
        tries = 1 + storages._RETRIES
        assert [line.split()[0] for line in asked] == [b"PUT"] * tries
        assert SECRET not in str(failed.value)

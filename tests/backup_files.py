"""What is in a backup: its manifest, and a plain server that has loaded one of its files."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from huaweicloudsdkdcs.v2 import (
    BackupInstanceBody,
    CopyInstanceRequest,
    ListBackupRecordsRequest,
)
from valkey import Valkey

from cachewright.backups.manifest import Manifest, read_manifest
from cachewright.backups.reader import fetch_shard
from cachewright.backups.storage import Storage
from cachewright.store.encryption import read_key
from serving import Server, until
from standalone_node import nowhere, started


def requested(client: Any, instance_id: str, remark: str = "") -> str:
    """Start a backup, and return its id."""
    body = BackupInstanceBody(remark=remark, backup_format="rdb")
    return str(client.copy_instance(CopyInstanceRequest(instance_id=instance_id, body=body)).backup_id)


def record(client: Any, instance_id: str, backup_id: str) -> Any:
    """The record of a backup, None if there is none."""
    listed = client.list_backup_records(ListBackupRecordsRequest(instance_id=instance_id))
    return next((one for one in listed.backup_record_response if one.backup_id == backup_id), None)


def finished(client: Any, instance_id: str, backup_id: str) -> Any:
    """Wait for the end of a backup, and return its record."""

    def row() -> Any:
        found = record(client, instance_id, backup_id)
        return found if found and found.status in {"succeed", "failed"} else None

    return until(row, f"backup {backup_id} has not ended")


def epoch(text: str) -> int:
    """The second of a time in an answer."""
    return int(datetime.fromisoformat(text).timestamp())


def moment_text(second: int) -> str:
    """A second as the member `moment` of a request."""
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%SZ}"


def manifest_of(server: Server, backup_id: str) -> Manifest:
    return asyncio.run(_manifest(server, backup_id))


async def _manifest(server: Server, backup_id: str) -> Manifest:
    storage = Storage.open((server.data_dir / "backups").as_uri())
    return await read_manifest(storage, read_key(server.data_dir / "secret.key"), backup_id)


def fetched(server: Server, backup_id: str, folder: Path) -> list[Path]:
    """Store the files of a backup in a folder, in the order of the shards."""

    async def fetch() -> list[Path]:
        manifest = await _manifest(server, backup_id)
        storage = Storage.open((server.data_dir / "backups").as_uri())
        paths = []
        for shard in manifest.shards:
            paths.append(folder / f"shard-{shard.shard}.rdb")
            await fetch_shard(storage, manifest, shard, paths[-1], lambda _: None)
        return paths

    folder.mkdir(exist_ok=True)
    return asyncio.run(fetch())


@asynccontextmanager
async def loaded(path: Path, folder: Path) -> AsyncIterator[Valkey]:
    """A client of a plain server that has loaded a file."""
    pid_file = folder / "nodes" / nowhere().id / "valkey.pid"  # relative to the folder of the file otherwise
    place = (f"dir {path.parent}", f"dbfilename {path.name}", f"pidfile {pid_file}")
    lines = (*place, 'save ""', "databases 256")
    async with started(folder, *lines) as node:
        client = Valkey(host=node.host, port=node.port, decode_responses=True)
        until(lambda: _has_loaded(client), "the file is not loaded")
        try:
            yield client
        finally:
            client.close()


def _has_loaded(client: Valkey) -> bool:
    return not int(client.info("persistence")["loading"])


def contents(paths: list[Path], folder: Path, databases: tuple[int, ...] = (0,)) -> dict[int, dict[str, str]]:
    """All strings in these files, by database."""

    async def read() -> dict[int, dict[str, str]]:
        found: dict[int, dict[str, str]] = {database: {} for database in databases}
        for path in paths:
            async with loaded(path, folder / path.stem) as client:
                for database in databases:
                    client.execute_command("SELECT", database)
                    names = client.keys()
                    values = client.mget(names) if names else []
                    found[database] |= dict(zip(names, values, strict=True))
        return found

    return asyncio.run(read())

"""`cachewright backups verify`: reads a backup back and compares everything. It needs no server and no database."""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from cachewright.backups.manifest import Manifest, SavedShard, read_manifest
from cachewright.backups.reader import fetch_shard
from cachewright.backups.storage import BackupDamaged, Storage, StorageFailed, parse_storage_url
from cachewright.cli.admin.data_dir import AsJson
from cachewright.cli.remote.output import console
from cachewright.cli.settings import BackupStorage, ValkeyBinary, absolute_binary
from cachewright.client.errors import CommandFailed, UsageError
from cachewright.clock import rfc3339
from cachewright.config import Settings
from cachewright.store.encryption import WrongKey, read_key
from cachewright.valkey.rdb_check import DamagedSnapshot, check

_FOLDER = Annotated[Path, Parameter(help="Data directory of the server.", env_var="CACHEWRIGHT_DATA_DIR")]


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of a backup. `keys` is the number of keys by database."""

    backup_id: str
    instance_id: str
    instance_name: str
    spec_code: str
    taken_at: str
    moment: str
    shards: int
    bytes: int
    keys: dict[int, int]


def verify(
    backup: Annotated[str, Parameter(help="Id of a backup.")],
    *,
    data_dir: _FOLDER,
    secret_key_file: Annotated[
        Path | None,
        Parameter(help="Key file of the server, if not in the data directory.", env_var="CACHEWRIGHT_SECRET_KEY_FILE"),
    ] = None,
    backup_storage: BackupStorage = None,
    valkey_binary: ValkeyBinary = None,
    json: AsJson = False,
) -> None:
    """Read a whole backup and check it: decrypt and authenticate each chunk, compare size and SHA-256 of each file, let
    valkey-check-rdb read it, and compare the number of keys. Exits with 1 if anything differs.

    It needs the storage and the key file, but no server, no database and no instance.

    Example: cachewright backups verify 8f6a2c1e-6f0e-4d7c-9a41-5e0f3c8f9a10 --data-dir ./data
    """
    try:
        url = backup_storage and parse_storage_url(backup_storage)
    except ValueError as error:
        raise UsageError(str(error)) from error
    settings = Settings(
        data_dir=data_dir.absolute(),
        secret_key_file=secret_key_file and secret_key_file.absolute(),
        backup_storage=url,
    )
    binary = absolute_binary(valkey_binary) if valkey_binary else settings.valkey_binary
    try:
        manifest = asyncio.run(_verify(settings, backup, binary, quiet=json))
    except (BackupDamaged, DamagedSnapshot, StorageFailed, WrongKey) as error:
        raise CommandFailed(str(error)) from error
    except OSError as error:
        raise CommandFailed(f"cannot verify the backup: {error}") from error
    found = Verified(
        backup_id=manifest.backup_id,
        instance_id=manifest.instance_id,
        instance_name=manifest.instance_name,
        spec_code=manifest.spec_code,
        taken_at=rfc3339(manifest.taken_at),
        moment=manifest.moment,
        shards=len(manifest.shards),
        bytes=manifest.size,
        keys=manifest.keys,
    )
    if json:
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
        return
    keys = sum(found.keys.values())
    print(f"{backup} is whole: {found.shards} files, {found.bytes} bytes, {keys} keys, of {found.taken_at}")


async def _verify(settings: Settings, backup: str, binary: Path, *, quiet: bool) -> Manifest:
    storage = Storage.open(settings.backup_url)
    manifest = await read_manifest(storage, read_key(settings.key_file), backup)
    with tempfile.TemporaryDirectory(prefix="verify-", dir=settings.data_dir) as folder:
        for shard in manifest.shards:
            with console().status(f"shard {shard.shard}") as status:
                path = Path(folder) / f"shard-{shard.shard}.rdb"
                await fetch_shard(storage, manifest, shard, path, _shows(status.update, "read", shard, quiet=quiet))
                content = await check(binary, path, _shows(status.update, "checked", shard, quiet=quiet))
            if content.keys != shard.keys:
                message = f"shard {shard.shard} has keys {content.keys}, the manifest says {shard.keys}"
                raise BackupDamaged(message)
            path.unlink()
    return manifest


def _shows(update: Callable[[str], None], what: str, shard: SavedShard, *, quiet: bool) -> Callable[[int], None]:
    def show(done: int) -> None:
        if not quiet:
            update(f"shard {shard.shard}: {100 * done / shard.size:.0f} % {what}")

    return show

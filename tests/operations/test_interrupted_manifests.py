"""A backup whose server ends before, while and after its manifest is stored: it exists when its manifest does."""

import hashlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cachewright.backups.encryption import new_key
from cachewright.backups.manifest import SavedShard, read_manifest
from cachewright.backups.spool import Spool
from cachewright.backups.storage import Storage
from cachewright.backups.writer import store_shard
from cachewright.config import Settings
from cachewright.hosts.local import LocalHost
from cachewright.operations.actions import backup as actions
from cachewright.operations.actions.backup import BackupParams, spool_of, store_manifest
from cachewright.operations.context import OperationContext
from cachewright.store import backups
from cachewright.valkey.migration.source_state import MigrationState
from database_fixtures import a_backup, new_database
from manifest_fixtures import a_manifest

BACKUP, CONTENT = "8f6a2c1e-6f0e-4d7c-9a41-5e0f3c8f9a10", b"a snapshot"


class Killed(BaseException):
    """The end of the process."""


def kill(*_: object, **__: object) -> None:
    raise Killed


@pytest.fixture
def context(tmp_path: Path) -> Iterator[OperationContext]:
    settings = Settings(data_dir=tmp_path)
    with closing(new_database(tmp_path)) as database:
        with database.write() as connection:
            backups.add(connection, a_backup(id=BACKUP, state="pending", size=0, taken_at=None))
        yield OperationContext(database, settings, LocalHost(settings), MigrationState(1))


async def uploaded(context: OperationContext) -> None:
    """Let the spool and the storage have a snapshot that was checked and uploaded."""

    async def ignored(_: int) -> None:
        pass

    spool = spool_of(context, BACKUP)
    with spool.create(0) as file:
        file.write(CONTENT)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    shard = SavedShard(shard=0, key=new_key(), size=len(CONTENT), sha256=sha256, keys={})
    draft = a_manifest(backup_id=BACKUP, folder=f"{BACKUP}/first", shards=(shard,))
    spool.store_keys(0, {0: 1})
    spool.store_draft(draft)
    await store_shard(await context.backup_storage(), draft.folder, shard, spool.file(0), ignored)


async def perform(context: OperationContext) -> None:
    step: Any = SimpleNamespace(measure=lambda **_: None)
    await store_manifest.body(context, step, BackupParams(BACKUP))


@pytest.mark.parametrize(
    ("place", "name", "exists"),
    [
        pytest.param(Storage, "put", False, id="before the manifest is stored"),
        pytest.param(actions, "_record", True, id="before its size is recorded"),
        pytest.param(Spool, "clear", True, id="before the files are deleted"),
    ],
)
async def test_the_next_attempt_completes_the_backup(
    context: OperationContext, monkeypatch: pytest.MonkeyPatch, place: object, name: str, *, exists: bool
) -> None:
    await uploaded(context)
    with monkeypatch.context() as patch:
        patch.setattr(place, name, kill)
        with pytest.raises(Killed):
            await perform(context)
    storage = await context.backup_storage()
    assert bool(await storage.size(f"{BACKUP}/manifest.json")) is exists
    await perform(context)
    await require_whole(context)


async def test_an_attempt_after_the_end_changes_nothing(context: OperationContext) -> None:
    """The server is killed when the files are deleted, before the end of the sub-step is recorded."""
    await uploaded(context)
    await perform(context)
    await perform(context)
    await require_whole(context)


async def test_files_that_were_deleted_in_part_make_no_other_manifest(context: OperationContext) -> None:
    await uploaded(context)
    spool = spool_of(context, BACKUP)
    await perform(context)
    (context.settings.spool_dir / BACKUP).mkdir()
    spool.store_keys(0, {0: 2})  # files without a draft are no snapshot
    await perform(context)
    await require_whole(context)


async def require_whole(context: OperationContext) -> None:
    manifest = await read_manifest(await context.backup_storage(), context.database.cipher, BACKUP)
    assert manifest.keys == {0: 1}
    with context.database.read() as connection:
        found = backups.find(connection, "p", BACKUP)
    assert found
    assert (found.size, found.taken_at) == (manifest.size, manifest.taken_at)
    assert not list(context.settings.spool_dir.iterdir())

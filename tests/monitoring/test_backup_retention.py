"""Backups by policies begin, and what is no backup any more is removed, on both databases."""

import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cachewright.backups.storage import Storage
from cachewright.config import Settings
from cachewright.errors import ApiError
from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.local import LocalHost
from cachewright.model.backup_policies import ATTRIBUTE, DAY_MS
from cachewright.monitoring.backup_retention import BackupRetention
from cachewright.monitoring.scheduled_backups import ScheduledBackups
from cachewright.operations.context import OperationContext
from cachewright.operations.requests import BackupRequest
from cachewright.store import backups, instances, tasks
from cachewright.store.database import Database
from cachewright.tasks.operation import CANCELLED
from cachewright.valkey.migration.source_state import MigrationState
from database_fixtures import a_backup, a_task, an_instance, migrated
from write_log_fixtures import GIGABYTE

NOW = 1_800_000_000_000


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with closing(migrated(database_url)) as opened:
        yield opened


class Backups:
    """A data directory with records of backups and their objects, and a clock."""

    def __init__(self, database: Database, folder: Path, *, quota_gb: int = 0) -> None:
        self.database = database
        self.folder = folder
        self.now = NOW
        settings = Settings(data_dir=folder, quota_backup_gb=quota_gb)
        context = OperationContext(database, settings, LocalHost(settings), MigrationState(1))
        self.storage = Storage.open(settings.backup_url, create=True)
        self._retention = BackupRetention(context, LoopHeartbeats(), lambda: self.now)

    async def add(self, *, task: dict[str, Any] | None = None, **members: Any) -> str:
        backup_id = str(uuid.uuid4())
        times = {"created_at": NOW - DAY_MS, "taken_at": NOW - DAY_MS}
        made = a_backup(id=backup_id, task_id=f"task of {backup_id}", **times | members)
        with self.database.write() as connection:
            backups.add(connection, made)
            if task is not None:
                tasks.add(connection, a_task(**{"id": f"task of {backup_id}", "kind": "backup"} | task))
        await self.storage.require_mark(is_new=True)
        await self.storage.put(f"{backup_id}/manifest.json", b"{}")
        await self.storage.put(f"{backup_id}/snapshot/shard-0/000000", b"object")
        (self.folder / "spool" / backup_id).mkdir(parents=True)
        return backup_id

    async def sweep(self) -> dict[str, str]:
        """One round. The state of each backup that has a record."""
        await self._retention.sweep()
        with self.database.read() as connection:
            _, page = backups.page(connection, "p", offset=0, limit=100)
        return {backup.id: backup.state for backup in page}

    def left(self) -> set[str]:
        """Backups that have objects or files."""
        found = {path.name for name in ("backups", "spool") for path in (self.folder / name).iterdir()}
        return found - {"cachewright-storage"}


@pytest.fixture
def there(database: Database, tmp_path: Path) -> Backups:
    return Backups(database, tmp_path)


async def test_a_backup_expires_if_there_is_a_newer_one(there: Backups) -> None:
    old = await there.add(expires_at=NOW, taken_at=NOW - 3)
    last = await there.add(expires_at=NOW, taken_at=NOW - 2)
    other = await there.add(expires_at=NOW + 1, taken_at=NOW - 4)
    alone = await there.add(instance_id="another", expires_at=1)
    manual = await there.add(kind="manual", taken_at=1)
    assert await there.sweep() == dict.fromkeys((last, other, alone, manual), "succeed")
    assert there.left() == {last, other, alone, manual}
    there.now += 1
    await there.add(taken_at=NOW, expires_at=NOW + DAY_MS)
    assert (await there.sweep()).keys() & {old, last, other} == set()


async def test_backups_beyond_the_quota_of_their_project_leave_early(database: Database, tmp_path: Path) -> None:
    there = Backups(database, tmp_path, quota_gb=2)
    sizes = {"expires_at": NOW + DAY_MS, "size": GIGABYTE}
    first = await there.add(taken_at=NOW - 3, **sizes)
    second = await there.add(taken_at=NOW - 2, **sizes)
    assert await there.sweep() == dict.fromkeys((first, second), "succeed")
    newest = await there.add(taken_at=NOW - 1, **sizes)
    assert await there.sweep() == dict.fromkeys((second, newest), "succeed")
    others = [await there.add(instance_id="j", kind="manual", **sizes) for _ in range(3)]
    assert await there.sweep() == dict.fromkeys((newest, *others), "succeed")
    assert there.left() == {newest, *others}


async def test_a_backup_that_is_restored_does_not_expire(there: Backups) -> None:
    """Nor is it replaced by the backup of the data before the restore."""
    needed = await there.add(expires_at=1, taken_at=NOW - 3)
    restore = {"status": "EXECUTING", "kind": "restore", "params": {"backup_id": needed}}
    safety = await there.add(kind="manual", taken_at=NOW, task=restore)
    assert await there.sweep() == {needed: "succeed", safety: "succeed"}
    with there.database.write() as connection:
        tasks.change(connection, f"task of {safety}", status="SUCCESS", end_time=NOW)
    assert await there.sweep() == {needed: "succeed", safety: "succeed"}
    newer = await there.add(taken_at=NOW + 1)
    with there.database.write() as connection:
        tasks.change(connection, f"task of {safety}", status="FAILED", end_time=NOW)
    assert (await there.sweep())[needed] == "succeed", "the restore may be retried"
    there.now += DAY_MS + 1
    assert (await there.sweep()).keys() | {needed} == {needed, safety, newer}
    assert needed not in await there.sweep()


async def test_nothing_is_forgotten_while_the_disk_of_the_storage_is_not_mounted(there: Backups) -> None:
    deleted = await there.add(state="deleted")
    await there.add()
    mark = there.folder / "backups" / "cachewright-storage"
    mark.unlink()
    assert (await there.sweep())[deleted] == "deleted"
    mark.write_text("again")
    assert deleted not in await there.sweep()


async def test_what_a_failed_backup_has_left_stays_for_a_day(there: Backups) -> None:
    failed = {"status": "FAILED", "end_time": NOW}
    kept = await there.add(state="pending", task=failed)
    running = await there.add(state="pending", task={"status": "EXECUTING"})
    waiting = await there.add(state="pending", task={"status": "WAITING"})
    cancelled = await there.add(state="pending", task=failed | {"error_code": CANCELLED})
    forgotten = await there.add(state="pending")
    there.now += DAY_MS - 1
    states = await there.sweep()
    assert states == dict.fromkeys((kept, running, waiting), "pending") | dict.fromkeys(
        (cancelled, forgotten), "failed"
    )
    assert there.left() == {kept, running, waiting}
    there.now += 1
    assert (await there.sweep())[kept] == "failed"
    assert there.left() == {running, waiting}
    await there.storage.put(f"{kept}/snapshot/shard-0/000001", b"of a host that was frozen")
    there.now += 30 * DAY_MS
    await there.sweep()
    assert (await there.sweep()).keys() == {running, waiting}
    assert there.left() == {running, waiting}


async def test_what_cannot_be_removed_now_is_removed_later(there: Backups) -> None:
    deleted = await there.add(state="deleted")
    failed = await there.add(state="pending")
    folder = there.folder / "backups"
    folder.rename(there.folder / "away")
    folder.write_text("no folder")
    assert await there.sweep() == {deleted: "deleted", failed: "failed"}
    folder.unlink()
    (there.folder / "away").rename(folder)
    assert await there.sweep() == {failed: "failed"}
    assert there.left() == set()


async def test_the_last_good_backup_of_each_instance_is_measured(there: Backups) -> None:
    plan = {"backup_at": [1], "begin_at": "02:00-03:00"}
    policy = {"id": "x", "backup_type": "auto", "save_days": 3, "plan": plan, "created_at": 0, "updated_at": 7}
    with there.database.write() as connection:
        for name, attributes in (("backed up", {}), ("scheduled", {ATTRIBUTE: policy}), ("without", {"tags": []})):
            instances.add(connection, an_instance(id=name, name=name, attributes=attributes))
    for members in (
        {"taken_at": NOW - 2, "size": 5, "ended_at": NOW},
        {"taken_at": NOW - 2, "size": 6, "ended_at": NOW, "created_at": NOW - 3000},
        {"taken_at": NOW - 9, "size": 7, "ended_at": NOW},
        {"taken_at": NOW - 1, "state": "expired"},
        {"taken_at": None, "state": "failed"},
    ):
        await there.add(instance_id="backed up", **members)
    await there.add(instance_id="deleted before")
    with there.database.read() as connection:
        found = {one.instance_id: one for one in backups.last_good(connection)}
    assert found.keys() == {"backed up", "scheduled"}
    last, first = found["backed up"], found["scheduled"]
    assert (last.taken_at, last.size, last.seconds) == (NOW - 2, 6, 3.0)
    assert (first.taken_at, first.longest_pause_seconds, first.scheduled_at) == (None, 7 * DAY_MS / 1000, 7)


async def test_a_policy_starts_backups_of_running_instances(database: Database) -> None:
    requested: list[tuple[str, BackupRequest]] = []
    refuses = True

    def submit(owner: Any, instance_id: str, request: BackupRequest) -> None:
        assert (owner.project_id, owner.user_name) == ("p", "n")
        if refuses:
            raise ApiError("DCS.4113")
        requested.append((instance_id, request))

    plan = {"backup_at": [1, 2, 3, 4, 5, 6, 7], "begin_at": "02:00-03:00"}
    policy = {"id": "x", "backup_type": "auto", "save_days": 3, "plan": plan, "created_at": 0, "updated_at": 0}
    with database.write() as connection:
        for name, status, attributes in (
            ("backed up", "RUNNING", {ATTRIBUTE: policy}),
            ("resized", "EXTENDING", {ATTRIBUTE: policy}),
            ("without", "RUNNING", {}),
            ("manual", "RUNNING", {ATTRIBUTE: policy | {"backup_type": "manual", "plan": None}}),
        ):
            instances.add(connection, an_instance(id=name, name=name, status=status, attributes=attributes))
    schedule = ScheduledBackups(database, submit, LoopHeartbeats(), lambda: NOW)
    schedule.start_due()
    assert requested == []
    refuses = False
    schedule.start_due()
    ((instance_id, request),) = requested
    assert (instance_id, request.kind, request.expires_at) == ("backed up", "auto", NOW + 3 * DAY_MS)
    later = ScheduledBackups(database, submit, LoopHeartbeats(), lambda: NOW + DAY_MS // 24)
    ended = {"instance_id": "backed up", "kind": "backup", "created_at": NOW, "end_time": NOW}
    with database.write() as connection:
        tasks.add(connection, a_task(id="t", status="FAILED", params={"backup_id": "b", "kind": "auto"}, **ended))
    schedule.start_due()
    assert len(requested) == 1
    later.start_due()
    assert len(requested) == 2
    with database.write() as connection:
        tasks.change(connection, "t", error_code=CANCELLED)
    later.start_due()
    assert len(requested) == 2, "what was cancelled is not repeated"
    with database.write() as connection:
        tasks.change(connection, "t", status="SUCCESS", error_code=None)
    later.start_due()
    assert len(requested) == 2, "nor is one whose backup was deleted"

"""When write logs end, and when they are deleted, on both databases."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cachewright.backups.storage import Storage
from cachewright.config import Settings
from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.host import LINKS
from cachewright.hosts.local import LocalHost
from cachewright.model.incidents import FaultKind
from cachewright.model.write_logs import ATTRIBUTE
from cachewright.monitoring import write_log_storing
from cachewright.monitoring.incidents import Fault, Incidents
from cachewright.monitoring.write_log_archive import WriteLogArchive
from cachewright.monitoring.write_log_retention import WriteLogRetention
from cachewright.monitoring.write_log_rules import Look
from cachewright.monitoring.write_log_space import WriteLogGuard
from cachewright.operations.context import OperationContext
from cachewright.store import backups, instances, tasks, write_logs
from cachewright.store.database import Database
from cachewright.valkey.migration.source_state import MigrationState
from cachewright.valkey.topology import Member, View
from database_fixtures import a_backup, a_task, an_instance, migrated
from write_log_fixtures import GIGABYTE, NOW, a_log, a_node, leave_free

HOUR = 3600


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with closing(migrated(database_url)) as opened:
        yield opened


class Faults(Incidents):
    """Incidents that are not stored.

    :ivar open: details by instance and kind.
    """

    def __init__(self) -> None:
        self.open: dict[Fault, str] = {}

    def report(self, instance_id: str, kind: FaultKind, detail: str) -> None:
        self.open[instance_id, kind] = detail

    def clear(self, instance_id: str, kind: FaultKind) -> None:
        self.open.pop((instance_id, kind), None)

    def of_kind(self, kind: FaultKind) -> set[str]:
        return {instance_id for instance_id, reported in self.open if reported == kind}


class Logs:
    """An instance that keeps its writes for two hours, with a node that does not run."""

    def __init__(self, database: Database, folder: Path, *, quota_gb: int = 0) -> None:
        self.database = database
        settings = Settings(data_dir=folder, quota_backup_gb=quota_gb)
        context = OperationContext(database, settings, LocalHost(settings), MigrationState(1))
        self.storage = Storage.open(settings.backup_url, create=True)
        self._archive = WriteLogArchive(context, LoopHeartbeats(), lambda: NOW * 1000)
        self.faults = Faults()
        self._retention = WriteLogRetention(context, self.faults, LoopHeartbeats(), lambda: NOW * 1000)
        self.guard = WriteLogGuard(context, LoopHeartbeats())
        self.links = folder / "nodes" / "n" / LINKS
        self.links.mkdir(parents=True)
        with database.write() as connection:
            instances.add(connection, an_instance(attributes={ATTRIBUTE: 2}))
            instances.add_nodes(connection, [a_node()])

    async def add(self, name: str, **members: Any) -> None:
        made = a_log(id=name, **members)
        with self.database.write() as connection:
            write_logs.add(connection, made)
        await self.storage.require_mark(is_new=True)
        await self.storage.put(f"{made.folder}/00000000", b"object")

    def back_up(self, size: int) -> None:
        """Add a backup of this size by a user."""
        with self.database.write() as connection:
            backups.add(connection, a_backup(id=str(size), kind="manual", task_id=str(size), size=size))

    def task(self, **members: Any) -> None:
        with self.database.write() as connection:
            tasks.add(connection, a_task(**members))

    async def round(self) -> dict[str, str | None]:
        """One round. Why each log that is left has ended."""
        await self._archive.round()
        await self._retention.sweep()
        found = self.ends()
        assert {name.split("/")[1] for name in await self.storage.names("logs")} == found.keys()
        return found

    def ends(self) -> dict[str, str | None]:
        with self.database.read() as connection:
            found = write_logs.every(connection)
        assert {one.key for one in found} <= {"secret key"}
        return {one.id: one.ended for one in found}


@pytest.fixture
def there(database: Database, tmp_path: Path) -> Logs:
    return Logs(database, tmp_path)


@pytest.mark.parametrize("kind", ["resize", "restore"])
@pytest.mark.parametrize(
    "state",
    [{"status": "EXECUTING", "begin_time": 1}, {"status": "FAILED", "begin_time": 1, "end_time": (NOW - 5) * 1000}],
    ids=["runs", "has ended since"],
)
async def test_a_log_ends_with_a_task_that_moves_keys(there: Logs, kind: str, state: dict[str, Any]) -> None:
    await there.add("open")
    assert await there.round() == {"open": None}
    there.task(kind="waits", status="WAITING", id="w", name="W")
    there.task(kind=kind, name="MOVE", **state)
    assert await there.round() == {"open": "task MOVE t may have moved or replaced keys"}


async def test_a_task_from_before_the_log_does_not_end_it(there: Logs) -> None:
    there.task(kind="resize", status="SUCCESS", begin_time=1, end_time=(NOW - 101) * 1000)
    await there.add("open")
    assert await there.round() == {"open": None}


async def test_an_almost_full_disk_ends_logs_and_deletes_links(there: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    await there.add("open")
    await there.guard.look()
    assert there.links.exists()
    leave_free(monkeypatch, GIGABYTE - 1)
    await there.guard.look()
    assert not there.links.exists()
    assert there.ends() == {"open": f"the disk is almost full, {GIGABYTE - 1} bytes are free"}


async def test_the_oldest_logs_of_the_largest_project_make_room(there: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    await there.add("small", project_id="q", ended="x", created_at=1, size=GIGABYTE)
    await there.add("newer", ended="x", created_at=3, size=GIGABYTE)
    await there.add("oldest", ended="x", created_at=2, size=GIGABYTE)
    await there.add("open", created_at=4, size=GIGABYTE)
    leave_free(monkeypatch, GIGABYTE)
    with there.database.write() as connection:
        instances.change_node(connection, "n", maxmemory=GIGABYTE // 5)  # its rewrite needs a quarter of a gigabyte
    assert await there.round() == {"small": "x", "open": None}
    leave_free(monkeypatch, 2 * GIGABYTE)
    assert await there.round() == {"small": "x", "open": None}


async def test_a_project_keeps_no_more_than_its_quota_and_its_owner_learns_it(
    database: Database, tmp_path: Path
) -> None:
    there = Logs(database, tmp_path, quota_gb=3)
    await there.add("oldest", ended="x", created_at=1, size=GIGABYTE)
    await there.add("newer", ended="x", created_at=2, size=GIGABYTE)
    await there.add("open", created_at=3, size=GIGABYTE)
    assert await there.round() == {"oldest": "x", "newer": "x", "open": None}
    assert not there.faults.open
    there.back_up(1)
    assert await there.round() == {"newer": "x", "open": None}
    (detail,) = there.faults.open.values()
    assert detail == (
        "the write log of shard 0 from 2027-01-15 07:58:20 UTC on is not kept: "
        "the project has more backups and write logs than its quota"
    )
    there.back_up(3 * GIGABYTE)
    assert await there.round() == {"open": "the project has more backups and write logs than its quota"}
    assert await there.round() == {}
    assert there.faults.open.keys() == {("i", "short_write_log")}, "its log is gone"


@pytest.mark.parametrize(("first", "is_short"), [(NOW - 2 * HOUR, False), (NOW - 2 * HOUR + 1, True)])
async def test_a_write_log_is_short_until_it_reaches_back_as_far_as_wanted(
    there: Logs, first: int, *, is_short: bool
) -> None:
    there.faults.report("i", "short_write_log", "of before")
    await there.add("open", first=first)
    await there.round()
    assert bool(there.faults.open) == is_short
    with there.database.write() as connection:
        instances.change(connection, "i", attributes={})
    await there.round()
    assert not there.faults.open, "no log is wanted any more"


async def test_a_view_that_is_not_ok_ends_nothing(there: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that was cut off says that it is the primary, while the primary does not answer."""
    members = {"role": "master", "loading": "0", "aof_enabled": "1", "run_id": "other", "second_repl_offset": "-1"}

    async def views(*_: object, **__: object) -> dict[str, View | None]:
        itself = Member(
            id="n", address="a:1@2", flags=frozenset({"myself", "master"}), primary=None, linked=True, slots=()
        )
        return {"n": View(ok=is_ok, epoch=1, members={"n": itself})}

    async def info(*_: object) -> dict[str, str]:
        return {**members, "aof_current_size": "1", "aof_buffer_length": "0", "valkey_version": "9.1.2"}

    monkeypatch.setattr(OperationContext, "views", views)
    monkeypatch.setattr(write_log_storing, "info", info)
    await there.add("open", ranges=(), last=NOW - 10)
    is_ok = False
    assert await there.round() == {"open": None}
    is_ok = True
    assert await there.round() == {"open": "the node was restarted, or has been a replica"}


async def test_logs_are_deleted_when_no_kept_second_is_in_them(there: Logs) -> None:
    await there.add("kept", ended="x", last=NOW - 2 * HOUR)
    await there.add("old", ended="x", last=NOW - 2 * HOUR - 1)
    await there.add("empty", ended="x", last=None)
    await there.add("open", last=NOW - 9 * HOUR)
    await there.add("of a deleted instance", instance_id="deleted")
    assert await there.round() == {"kept": "x", "open": None}


async def test_a_log_that_a_task_reads_is_not_deleted(there: Logs) -> None:
    await there.add("read", ended="x", last=NOW - 9 * HOUR)
    there.task(kind="backup", status="EXECUTING", params={"backup_id": "b", "moment": NOW - 9 * HOUR})
    assert await there.round() == {"read": "x"}
    with there.database.write() as connection:
        tasks.change(connection, "t", status="SUCCESS", end_time=NOW * 1000)
    assert await there.round() == {}


async def test_without_the_wish_everything_is_deleted(there: Logs) -> None:
    await there.add("open")
    with there.database.write() as connection:
        instances.change(connection, "i", attributes={})
    assert await there.round() == {}
    assert not there.links.exists()


BEFORE = Look(at=1, latest=0, size=100, buffered=20, process="1", version="9", base="b")


@pytest.mark.parametrize(
    ("changed", "proven"),
    [
        ({"size": 120}, True),
        ({"size": 119}, False),
        ({"size": 500, "base": "a newer one"}, False),
        ({"size": 500, "process": "2"}, False),
    ],
)
def test_what_was_acknowledged_is_in_the_files(changed: dict[str, Any], *, proven: bool) -> None:
    later: dict[str, Any] = {
        "at": 2,
        "latest": 0,
        "size": 0,
        "buffered": 0,
        "process": "1",
        "version": "9",
        "base": "b",
    }
    assert Look(**later | changed).proves(BEFORE) is proven

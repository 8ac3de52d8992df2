"""What is stored of the files of a primary, and which seconds are offered. The files, storage and database are real."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from cachewright.backups import log_objects
from cachewright.backups.storage import Storage, StorageFailed
from cachewright.config import Settings
from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.host import LINKS
from cachewright.hosts.local import LocalHost
from cachewright.model.write_logs import WriteLog
from cachewright.monitoring import write_log_files, write_log_storing
from cachewright.monitoring.write_log_rules import Shard
from cachewright.monitoring.write_log_space import LogSpace, WriteLogGuard, given_up
from cachewright.monitoring.write_log_storing import ShardStoring
from cachewright.monitoring.write_log_times import SeenClock
from cachewright.operations.context import OperationContext
from cachewright.store import instances, write_logs
from cachewright.store.database import Database
from cachewright.valkey.append_only_files import MANIFEST, LikelyTimes, Times, manifest_of
from cachewright.valkey.config import DATA_FOLDER
from cachewright.valkey.migration.source_state import MigrationState
from database_fixtures import an_instance, migrated
from write_log_fixtures import GIGABYTE, NOW, a_log, a_node, leave_free

BASE, INCREMENT = "appendonly.aof.1.base.rdb", "appendonly.aof.1.incr.aof"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with closing(migrated(database_url)) as opened:
        yield opened


class Primary:
    """The files of a primary that says that all its writes are in them.

    :ivar now: what the clock shows, epoch seconds.
    """

    def __init__(self, database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.database = database
        self.now, self.process = NOW, "1"
        settings = Settings(data_dir=folder)
        self.context = OperationContext(database, settings, LocalHost(settings), MigrationState(1))
        self.storage = Storage.open(settings.backup_url, create=True)
        self.folder = folder / "nodes" / "n"
        self.files = self.folder / DATA_FOLDER
        self.files.mkdir(parents=True)
        self.rewrite(BASE, INCREMENT)
        monkeypatch.setattr(write_log_storing, "info", self._info)
        monkeypatch.setattr(write_log_storing, "request_once", self._request)
        with database.write() as connection:
            instances.add(connection, an_instance())
            instances.add_nodes(connection, [a_node()])
        self.start_server()

    def start_server(self) -> None:
        self._storing = ShardStoring(self.context, SeenClock(lambda: self.now * 1000))

    def rewrite(self, base: str, increment: str) -> None:
        for path in self.files.iterdir():
            path.unlink()
        (self.files / base).write_bytes(b"base")
        (self.files / increment).write_bytes(b"")
        (self.files / MANIFEST).write_text(manifest_of([base, increment]))
        self.increment = self.files / increment

    def write(self, commands: bytes) -> None:
        with self.increment.open("ab") as file:
            file.write(commands)

    async def _info(self, *_: object) -> dict[str, str]:
        said = {"role": "master", "loading": "0", "aof_enabled": "1", "run_id": self.process, "valkey_version": "9.1.2"}
        size = sum(path.stat().st_size for path in self.files.iterdir())
        return {**said, "second_repl_offset": "-1", "aof_current_size": str(size), "aof_buffer_length": "0"}

    async def _request(self, *_: object) -> list[object]:
        return []

    def logs(self) -> list[WriteLog]:
        with self.database.read() as connection:
            return write_logs.every(connection)

    def ends(self) -> list[str | None]:
        return [log.ended for log in self.logs()]

    async def follow(self, storing: ShardStoring | None = None) -> None:
        """One round."""
        logs = self.logs()
        shard = Shard(
            instance=an_instance(),
            node=a_node(),
            ranges=(),
            logs=[log for log in logs if log.ended is None],
            latest=max((log.last or 0 for log in logs), default=0),
            mover=None,
            may_begin=True,
        )
        await (storing or self._storing).follow(shard)

    async def follow_for(self, seconds: int) -> None:
        """One round in each of these seconds."""
        for _ in range(seconds):
            await self.follow()
            self.now += 1

    async def content(self, folder: Path) -> bytes:
        """The increments of the newest log, as they are in the storage."""
        await asyncio.to_thread(folder.mkdir)
        paths = await log_objects.fetch(self.storage, self.logs()[-1], folder, lambda _: None)
        return b"".join(path.read_bytes() for path in paths if path.name != BASE)


@pytest.fixture
def primary(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Primary:
    return Primary(database, tmp_path, monkeypatch)


class Gate:
    """Holds a `put` of a storage: before it, or after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, before: bool) -> None:
        self.reached, self.opened = asyncio.Event(), asyncio.Event()
        self._is_used = False
        original = Storage.put

        async def put(storage: Storage, name: str, content: bytes, *, new: bool = False) -> bool:
            if self._is_used or not name.startswith("logs/"):
                return await original(storage, name, content, new=new)
            self._is_used = True
            if before:
                await self.wait()
            stored = await original(storage, name, content, new=new)
            if not before:
                await self.wait()
            return stored

        monkeypatch.setattr(Storage, "put", put)

    async def wait(self) -> None:
        self.reached.set()
        await self.opened.wait()


async def test_what_is_stored_is_what_the_node_wrote(primary: Primary, tmp_path: Path) -> None:
    primary.write(b"one")
    await primary.follow_for(3)
    primary.write(b"two")
    await primary.follow_for(6)
    (log,) = primary.logs()
    assert (log.first, log.last) == (NOW + 1, primary.now - 3)
    assert await primary.content(tmp_path / "f") == b"onetwo"


async def test_a_second_is_offered_only_when_everything_is_stored(
    primary: Primary, monkeypatch: pytest.MonkeyPatch
) -> None:
    await primary.follow_for(4)
    (before,) = primary.logs()
    assert before.last is not None
    primary.write(b"one")
    monkeypatch.setattr(write_log_storing, "_PARTS_AT_ONCE", 0)
    await primary.follow_for(8)
    assert primary.logs() == [before]


async def test_two_rounds_at_the_same_time_store_what_can_be_read(
    primary: Primary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await primary.follow()
    primary.write(b"one")
    gate = Gate(monkeypatch, before=False)
    primary.start_server()
    slow = asyncio.create_task(primary.follow())
    await gate.reached.wait()
    primary.write(b"two")
    primary.start_server()
    await primary.follow()
    recorded = primary.logs()
    gate.opened.set()
    await slow
    assert primary.logs() == recorded
    primary.write(b"three")
    primary.start_server()
    await primary.follow()
    assert primary.ends() == [None]
    assert await primary.content(tmp_path / "f") == b"onetwothree"


async def test_a_full_disk_deletes_links_while_the_storage_hangs(
    primary: Primary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    primary.write(b"one")
    gate = Gate(monkeypatch, before=True)
    storing = asyncio.create_task(primary.follow())
    await gate.reached.wait()
    assert (primary.folder / LINKS / INCREMENT).exists()
    leave_free(monkeypatch, GIGABYTE - 1)
    await WriteLogGuard(primary.context, LoopHeartbeats()).look()
    assert not (primary.folder / LINKS).exists()
    (ended,) = primary.logs()
    assert ended.ended == f"the disk is almost full, {GIGABYTE - 1} bytes are free"
    leave_free(monkeypatch, 50 * GIGABYTE)
    gate.opened.set()
    with pytest.raises(FileNotFoundError):  # the next file
        await storing
    assert primary.logs() == [ended]


async def test_a_log_that_was_deleted_meanwhile_leaves_no_objects(
    primary: Primary, monkeypatch: pytest.MonkeyPatch
) -> None:
    await primary.follow()
    (log,) = primary.logs()
    primary.write(b"one")
    gate = Gate(monkeypatch, before=True)
    primary.now += 10
    storing = asyncio.create_task(primary.follow())
    await gate.reached.wait()
    with primary.database.write() as connection:
        write_logs.expire(connection, log.id)
        write_logs.remove(connection, log.id)
    await primary.storage.remove(log.folder)
    gate.opened.set()
    await storing
    assert await primary.storage.names("logs") == []


async def test_a_storage_that_does_not_answer_is_away(primary: Primary, monkeypatch: pytest.MonkeyPatch) -> None:
    Gate(monkeypatch, before=True)
    monkeypatch.setattr(write_log_files, "_PUT_SECONDS", 0.01)
    with pytest.raises(StorageFailed, match="has not answered"):
        await primary.follow()


async def test_no_second_is_offered_before_the_latest_time_in_the_files(primary: Primary) -> None:
    """The clock was set back before the node started again."""
    primary.write(b"#TS:%d\r\n*1\r\n$4\r\nPING\r\n" % (NOW + 10))
    await primary.follow_for(10)
    assert primary.logs() == []
    await primary.follow_for(3)
    (log,) = primary.logs()
    assert log.first == NOW + 11


async def test_a_value_that_looks_like_a_time_is_none(primary: Primary) -> None:
    primary.write(b"*2\r\n$4\r\nECHO\r\n$14\r\n#TS:1999999999\r\n")
    await primary.follow()
    assert [log.first for log in primary.logs()] == [NOW + 1]


@pytest.mark.parametrize("restarted", [False, True], ids=["the server runs", "the server starts again"])
async def test_a_clock_that_is_set_back_ends_the_log(primary: Primary, *, restarted: bool) -> None:
    await primary.follow_for(10)
    latest = primary.now - 1
    (log,) = primary.logs()
    assert log.last is not None
    if restarted:
        latest = log.last  # all that is known then
        primary.start_server()
    primary.now = NOW + 2
    await primary.follow()
    primary.rewrite("appendonly.aof.2.base.rdb", "appendonly.aof.2.incr.aof")
    primary.write(b"without a time")
    await primary.follow()
    assert [(one.last, one.ended) for one in primary.logs()] == [(log.last, "the clock was set back")]
    assert not (primary.folder / LINKS).exists()
    primary.now = latest + 1
    await primary.follow()
    assert [one.first for one in primary.logs()] == [log.first, latest + 2]


async def test_a_log_ends_when_a_file_of_it_is_gone(primary: Primary) -> None:
    await primary.follow()
    primary.rewrite("appendonly.aof.2.base.rdb", "appendonly.aof.2.incr.aof")
    (primary.folder / LINKS / INCREMENT).unlink()
    primary.now += 1
    await primary.follow()
    assert primary.ends() == ["its files were rewritten too fast, or deleted", None]


SPACE = LogSpace(free=10, reserve=5, needed=20, ample=30, is_shared=True)


def test_a_project_does_not_take_the_space_of_others() -> None:
    small = a_log(id="small", project_id="q", ended="x", created_at=1, size=15)
    older = a_log(id="older", ended="x", created_at=2, size=12)
    newest = a_log(id="newest", size=20)
    assert given_up([small, older, newest], SPACE, ()) == ([older], [newest])
    assert given_up([small, older, newest], SPACE, {"i"}) == ([], [])
    going = msgspec.structs.replace(older, ended="it has expired")
    assert given_up([small, going, newest], SPACE, ()) == ([], []), "its bytes are free soon"
    for roomy in ({"free": 20}, {"is_shared": False}):
        assert given_up([small, older], msgspec.structs.replace(SPACE, **roomy), ()) == ([], [])


def test_logs_that_are_too_small_to_help_stay_until_the_reserve_is_short() -> None:
    ended, growing = a_log(id="ended", ended="x", size=2), a_log(id="growing", size=1)
    assert given_up([ended, growing], SPACE, ()) == ([], [growing])
    assert given_up([ended, growing], msgspec.structs.replace(SPACE, free=4), ()) == ([ended], [growing])


def test_times_are_found_wherever_a_part_ends() -> None:
    text = b"#TS:1700000001\r\n*2\r\n$4\r\nECHO\r\n$14\r\n#TS:1999999999\r\n#TS:1700000002\r\n*1\r\n$4\r\nPING\r\n"
    for place in range(len(text)):
        exact, likely = Times(), LikelyTimes()
        for part in (text[:place], text[place:]):
            exact.feed(part)
            likely.feed(part)
        assert (exact.latest, likely.latest) == (1_700_000_002, 1_999_999_999), place

"""Jobs of an agent: how they begin, end and fail. Files and storages are real folders."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cachewright.backups import log_objects
from cachewright.backups.encryption import new_key
from cachewright.backups.manifest import SavedShard
from cachewright.backups.storage import Storage
from cachewright.config import Settings
from cachewright.hosts.calls import Call, perform
from cachewright.hosts.host import LINKS
from cachewright.hosts.jobs import JobState
from cachewright.hosts.local import LocalHost
from cachewright.jobs.migrations.machine import GatewayMachine
from cachewright.jobs.restores import with_keys_of
from cachewright.jobs.results import Linked
from cachewright.jobs.runner import JobRunner
from cachewright.jobs.spec import (
    CheckSnapshot,
    Job,
    LinkLog,
    LogPart,
    MakeData,
    ReadTimes,
    StoreLog,
    StoreSnapshot,
    encoded,
)
from cachewright.jobs.temporary_node import TemporaryNodes
from cachewright.jobs.write_logs import delete_links_when_full
from cachewright.valkey.append_only_files import MANIFEST, manifest_of
from cachewright.valkey.config import DATA_FOLDER
from manifest_fixtures import a_manifest
from write_log_fixtures import GIGABYTE, a_log, leave_free

BASE, INCREMENT = "appendonly.aof.1.base.rdb", "appendonly.aof.1.incr.aof"
FOLDER = "snapshot-b"


class Machine:
    """The jobs of a machine with the node `n`, and a storage in a folder."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(data_dir=folder)
        self.runner = JobRunner(self.settings)
        host = LocalHost(self.settings)
        machine = GatewayMachine(host.gateways, host.gateways_dir, host.own_resources)
        self.runner.start(machine, TemporaryNodes.of(host))
        self.node = self.settings.nodes_dir / "n"
        self.node.mkdir(parents=True)
        self.url = (folder / "storage").as_uri()
        self.storage = Storage.open(self.url, create=True)

    async def perform(self, job: Job, within: float = 30) -> JobState:
        return await self.runner.perform_job("n", "job", encoded(job), within)

    def snapshot(self, content: bytes = b"content") -> StoreSnapshot:
        """A snapshot that was received, and the job that stores it."""
        (self.node / FOLDER).mkdir()
        (self.node / FOLDER / "shard.rdb").write_bytes(content)
        shard = SavedShard(shard=0, key=new_key(), size=len(content), sha256="", keys={})
        return StoreSnapshot(folder=FOLDER, storage=self.url, target="b/first", shard=shard)


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    made = Machine(tmp_path)
    yield made
    await made.runner.stop()


async def test_a_snapshot_is_stored_once_and_deleted(machine: Machine) -> None:
    await machine.storage.require_mark(is_new=True)
    job = machine.snapshot()
    for _ in range(2):  # the attempt after one whose end the server has not seen
        state = await machine.perform(job)
        assert (state.has_ended, state.failure, state.told) == (True, None, {"done": 7})
    assert await machine.storage.names("b") == ["b/first/shard-0/000000"]
    assert not (machine.node / FOLDER).exists()


async def test_a_folder_without_the_mark_of_the_server_is_no_shared_storage(machine: Machine) -> None:
    state = await machine.perform(machine.snapshot())
    assert (state.failure, "is the disk mounted" in state.text) == ("storage", True)
    assert await machine.storage.names("b") == []
    assert (machine.node / FOLDER / "shard.rdb").exists(), "the next attempt has nothing to store"


async def test_a_snapshot_that_is_gone_is_damage(machine: Machine) -> None:
    state = await machine.perform(CheckSnapshot(folder=FOLDER, version="9.0.0"))
    assert state.failure == "damaged"


async def test_an_attempt_finds_the_job_of_the_one_before_and_repeats_a_failure(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await machine.storage.require_mark(is_new=True)
    opened = asyncio.Event()
    put = Storage.put

    async def slow(storage: Storage, name: str, content: bytes, **options: Any) -> bool:
        await opened.wait()
        return await put(storage, name, content, **options)

    monkeypatch.setattr(Storage, "put", slow)
    job = encoded(machine.snapshot())
    assert await machine.runner.job_state("n", "job", "", 0) is None, "the runner knows a job that was never begun"
    for _ in range(2):
        await machine.runner.begin_job("n", "job", job)
    state = await machine.runner.job_state("n", "job", "", 0.01)
    assert state is not None
    assert not state.has_ended
    await machine.runner.end_job("n", "job")
    assert await machine.runner.job_state("n", "job", "", 0) is None
    assert (machine.node / FOLDER / "shard.rdb").exists(), "a job that was ended has stored something"

    too_slow = await machine.runner.perform_job("n", "job", job, 0.01)
    assert too_slow.failure is not None
    opened.set()
    await machine.runner.begin_job("n", "job", job)
    ended = await machine.runner.job_state("n", "job", "", 30)
    assert ended is not None
    assert (ended.has_ended, ended.failure) == (True, None)


async def test_writes_are_linked_and_stored(machine: Machine, tmp_path: Path) -> None:
    await machine.storage.require_mark(is_new=True)
    data = machine.node / DATA_FOLDER
    data.mkdir()
    commands = b"#TS:1800000005\r\n*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$16\r\n#TS:1900000000\r\n\r\n"
    (data / BASE).write_bytes(b"base")
    (data / INCREMENT).write_bytes(commands)
    (data / MANIFEST).write_text(manifest_of([BASE, INCREMENT]))
    state = await machine.perform(LinkLog(folder=LINKS, kept=()))
    linked = msgspec.convert(state.told, Linked)
    assert (linked.files, linked.sizes) == ((BASE, INCREMENT), {BASE: 4, INCREMENT: len(commands)})
    assert (machine.node / LINKS / INCREMENT).samefile(data / INCREMENT)
    (data / BASE).unlink()  # a rewrite does not take what is linked

    state = await machine.perform(ReadTimes(folder=LINKS, sizes=linked.sizes))
    assert state.told == {"latest": 1_800_000_005}, "a value of a client counts as a time"

    log = a_log(key=new_key(), stored=linked.sizes, objects=2, size=4 + len(commands))
    parts = (LogPart(0, BASE, 0, 4), LogPart(1, INCREMENT, 0, len(commands)))
    job = StoreLog(folder=LINKS, storage=machine.url, log=log, parts=parts)
    for _ in range(2):
        assert (await machine.perform(job)).failure is None
    (tmp_path / "fetched").mkdir()
    paths = await log_objects.fetch(machine.storage, log, tmp_path / "fetched", lambda _: None)
    assert [path.read_bytes() for path in sorted(paths)] == [b"base", commands]


async def test_links_do_not_fill_the_disk(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine.node / LINKS).mkdir()
    (machine.node / LINKS / BASE).write_bytes(b"base")
    leave_free(monkeypatch, 3 * GIGABYTE)
    assert delete_links_when_full(machine.settings.nodes_dir) is None
    leave_free(monkeypatch, GIGABYTE // 2)
    assert "almost full" in (delete_links_when_full(machine.settings.nodes_dir) or "")
    assert not (machine.node / LINKS).exists()
    state = await machine.perform(LinkLog(folder=LINKS, kept=()))
    assert msgspec.convert(state.told, Linked).is_full
    assert not (machine.node / LINKS).exists()


async def test_what_no_job_has_used_for_days_is_deleted(machine: Machine) -> None:
    old = time.time() - 4 * 24 * 3600
    for name in ("snapshot-old", "fetched-old", "restored-old", "snapshot-new", ".fetched-x.leaving-old"):
        (machine.node / name).mkdir()
        if name.endswith("old"):
            os.utime(machine.node / name, (old, old))
    (machine.node / "fetched-gone").symlink_to("nowhere")  # as one that a call deletes meanwhile
    await machine.runner.sweep()
    assert sorted(path.name for path in machine.node.iterdir()) == ["fetched-gone", "restored-old", "snapshot-new"]


@pytest.mark.parametrize("folder", ["../other", "..", "a/b"])
async def test_the_folder_of_a_job_is_in_that_of_its_node(machine: Machine, folder: str) -> None:
    job = encoded(CheckSnapshot(folder=folder, version="9.0.0"))
    arguments = {"node_id": "n", "job_id": "job", "job": job}
    call = Call(method="begin_job", arguments=arguments, expires_at=time.time() + 60, epoch=1)
    host = LocalHost(machine.settings, machine.runner)
    answer = await perform(host, call, lambda *_: True, lambda: 1)
    assert (answer.error, answer.text) == ("HostSilent", "a file of a node is not in its folder")


@pytest.mark.parametrize("name", ["../agent.key", "..", "/etc/passwd"])
async def test_the_files_of_a_job_are_in_the_folder_of_its_node(machine: Machine, name: str) -> None:
    log, part = a_log(key=new_key()), LogPart(0, name, 0, 1)
    jobs: tuple[Job, ...] = (
        StoreLog(folder=LINKS, storage=machine.url, log=log, parts=(part,)),
        ReadTimes(folder=LINKS, sizes={name: 1}),
        LinkLog(folder=LINKS, kept=(name,)),
        MakeData(folder="f", storage=machine.url, manifest=a_manifest(), slots=None, target=name, most_bytes=1),
    )
    for job in jobs:
        with pytest.raises(msgspec.ValidationError, match="matching regex"):
            await machine.perform(job)


def test_a_node_needs_the_shards_that_have_keys_of_its_slots() -> None:
    def shard(number: int, *slots: tuple[int, int]) -> SavedShard:
        return SavedShard(shard=number, key="", size=1, sha256="", keys={}, slots=slots)

    shards = (shard(0, (0, 99)), shard(1, (100, 199), (300, 399)), shard(2, (200, 299)))
    assert with_keys_of(shards, ((99, 100),)) == shards[:2]
    assert with_keys_of(shards, ((350, 350),)) == shards[1:2]
    assert with_keys_of(shards, ((400, 500),)) == shards[:1]
    assert with_keys_of(shards, None) == shards
    assert with_keys_of((shard(0),), ((5, 6),)) == (shard(0),)

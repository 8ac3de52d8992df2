"""Which data the nodes have after a restore that failed, in each of its phases: real folders, but no processes."""

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cachewright.config import Settings
from cachewright.hosts.calls import HostSilent
from cachewright.hosts.host import NodeStartFailed
from cachewright.hosts.local import LocalHost
from cachewright.model.hosts import HostRecord
from cachewright.model.instances import Node
from cachewright.model.tasks import Step, SubStep, Task, Work
from cachewright.operations import restore_recovery, restore_sweep
from cachewright.operations.actions.former_data import FormerData
from cachewright.operations.actions.node_status import halt_node
from cachewright.operations.actions.restore import load_data
from cachewright.operations.actions.takeover import clear_replica, take_over
from cachewright.operations.context import OperationContext
from cachewright.operations.former_data import former_data
from cachewright.operations.restore import RESTORE
from cachewright.operations.restore_folders import former_folder, new_folder
from cachewright.store import hosts, instances, tasks
from cachewright.tasks.operation import ActionFailed
from cachewright.tasks.waiting import Postponed
from cachewright.valkey.config import DATA_FOLDER
from cachewright.valkey.migration.source_state import MigrationState
from database_fixtures import a_task, an_instance, new_database

LEADS, REPLICA = ("a" * 40, "b" * 40), "c" * 40
WORK = Work(unit="nodes", total=1, seconds=1, lane="a")


class Nodes(LocalHost):
    """:ivar started: nodes in the order of their starts. :ivar broken: nodes that do not start. :ivar silent: nodes
    whose host does not answer. :ivar frozen: nodes that do not end."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.started: list[str] = []
        self.broken: set[str] = set()
        self.silent: set[str] = set()
        self.frozen: set[str] = set()

    def folder(self, name: str) -> Path:
        if name in self.silent:
            raise HostSilent("its host does not report")
        return super().folder(name)

    async def bring_back_folder(self, node_id: str, folder: str, *, former: str, grace_seconds: float) -> None:
        if node_id in self.frozen:
            raise TimeoutError("process 7 did not end, {not}")
        await super().bring_back_folder(node_id, folder, former=former, grace_seconds=grace_seconds)

    async def start(self, name: str) -> None:
        self.folder(name)
        if name in self.broken:
            raise NodeStartFailed("its port is taken")
        self.started.append(name)


class Restored:
    """Two primaries and a replica in the middle of a restore. :ivar settled: calls of `settle`."""

    def __init__(self, folder: Path, context: OperationContext, host: Nodes) -> None:
        self._folder = folder
        self.context = context
        self.host = host
        self.settled: list[list[str]] = []

    def phase(self, *, halted: bool = False, exchanged: tuple[str, ...] = (), taken_over: bool = False) -> Task:
        """Put the folders of the nodes into the state of a phase, and return the task."""
        with self.context.database.write() as connection:
            for node_id in (*LEADS, REPLICA):
                should_run = not halted or (taken_over and node_id in LEADS)
                instances.change_node(connection, node_id, should_run=should_run)
        for node_id in (*LEADS, REPLICA):
            present, new, former = DATA_FOLDER, new_folder("t"), former_folder("t")
            kept = {former: "former", present: "new"} if node_id in exchanged else {present: "former", new: "new"}
            for name, text in kept.items():
                if node_id in LEADS or text == "former":
                    (self._folder / "nodes" / node_id / name).mkdir(parents=True)
                    (self._folder / "nodes" / node_id / name / "data").write_text(text)
        begun = {"begin_time": 1}
        halts = [_sub(halt_node.name, {"node_id": one}, **begun if halted else {}) for one in (*LEADS, REPLICA)]
        loads = [_sub(load_data.name, {"node_id": one}, **begun if halted else {}) for one in LEADS]
        takeover = _sub(take_over.name, {"node_ids": list(LEADS)}, **begun if taken_over else {})
        clear = _sub(clear_replica.name, {"node_id": REPLICA})
        steps = (
            ("Node stop.", tuple(halts)),
            ("Data load.", tuple(loads)),
            ("Takeover.", (takeover,)),
            ("Replica synchronization.", (clear,)),
        )
        return a_task(kind="restore", steps=[Step(id=name, name=name, sub_steps=parts) for name, parts in steps])

    def data(self) -> dict[str, str | None]:
        """What each node has as its data: `former`, `new`, or None for an empty folder."""
        found = {}
        for node_id in (*LEADS, REPLICA):
            folder = self._folder / "nodes" / node_id
            assert {path.name for path in folder.iterdir() if path.is_dir()} == {DATA_FOLDER}, "folders are left"
            file = folder / DATA_FOLDER / "data"
            found[node_id] = file.read_text() if file.exists() else None
        return found

    async def should_run(self) -> set[str]:
        return {node.id for node in await self.context.nodes("i") if node.should_run}


def _sub(action: str, arguments: dict[str, Any], **members: Any) -> SubStep:
    return SubStep(id=f"{action} {arguments}", name=action, action=action, arguments=arguments, work=WORK, **members)


@pytest.fixture
async def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Restored]:
    settings = Settings(data_dir=tmp_path)
    with closing(new_database(tmp_path)) as database:
        host = Nodes(settings)
        made = Restored(tmp_path, OperationContext(database, settings, host, MigrationState(1)), host)
        with database.write() as connection:
            instances.add(connection, an_instance(spec_code="redis.cluster.xu1.large.r2.s1.2"))
            instances.add_nodes(connection, [_node(LEADS[0], 0), _node(LEADS[1], 1), _node(REPLICA, 1, role="replica")])

        async def settle(context: OperationContext, task: Task, node_ids: list[str], report: object) -> None:
            made.settled.append(node_ids)

        monkeypatch.setattr(restore_recovery, "settle", settle)
        yield made


def _node(node_id: str, shard: int, **members: Any) -> Node:
    port = 10_000 + int(node_id[0], 16)
    place = {"role": "primary", "host": "127.0.0.1", "port": port, "bus_port": port + 10_000} | members
    return Node(id=node_id, instance_id="i", shard=shard, maxmemory=1 << 30, should_run=True, created_at=1, **place)


ALL_FORMER = dict.fromkeys((*LEADS, REPLICA), "former")


async def test_before_the_stop_only_files_are_deleted(there: Restored) -> None:
    await RESTORE.recover(there.context, there.phase())
    assert (there.data(), there.host.started, there.settled) == (ALL_FORMER, [], [])


@pytest.mark.parametrize("exchanged", [(), LEADS[:1], LEADS], ids=["stopped", "half of the shards", "all shards"])
async def test_before_the_takeover_all_nodes_get_their_former_data(there: Restored, exchanged: tuple[str, ...]) -> None:
    task = there.phase(halted=True, exchanged=exchanged)
    await RESTORE.recover(there.context, task)
    await RESTORE.recover(there.context, task)  # a server that was killed while the nodes settled does it again
    everything = sorted((*LEADS, REPLICA))
    assert there.data() == ALL_FORMER
    assert await there.should_run() == set(everything)
    assert there.settled == [everything, everything], "what was interrupted must settle in the second run, too"


async def test_after_the_takeover_primaries_keep_the_new_data_and_replicas_start_empty(there: Restored) -> None:
    task = there.phase(halted=True, exchanged=LEADS, taken_over=True)
    await RESTORE.recover(there.context, task)
    assert there.data() == {LEADS[0]: "new", LEADS[1]: "new", REPLICA: None}
    assert await there.should_run() == {*LEADS, REPLICA}


async def test_a_node_that_does_not_start_keeps_no_other_one_stopped(there: Restored) -> None:
    task = there.phase(halted=True, exchanged=LEADS)
    there.host.broken = {LEADS[0]}
    with pytest.raises(ActionFailed, match=LEADS[0]):
        await RESTORE.recover(there.context, task)
    assert set(there.host.started) == {LEADS[1], REPLICA}
    assert await there.should_run() == {*LEADS, REPLICA}, "the supervisor starts what did not start"
    there.host.broken = set()
    await RESTORE.recover(there.context, task)
    assert there.data() == ALL_FORMER
    assert len(there.settled) == 1


async def test_a_replica_of_a_silent_host_does_not_run_with_former_data_after_the_takeover(there: Restored) -> None:
    task = there.phase(halted=True, exchanged=LEADS, taken_over=True)
    there.host.silent = {REPLICA}
    with pytest.raises(Postponed, match="waiting for host local"):
        await RESTORE.recover(there.context, task)
    assert await there.should_run() == set(LEADS), "it could take over, and lose what clients have written since"
    there.host.silent = set()
    await RESTORE.recover(there.context, task)
    assert there.data() == {LEADS[0]: "new", LEADS[1]: "new", REPLICA: None}
    assert await there.should_run() == {*LEADS, REPLICA}


async def test_a_node_of_a_silent_host_runs_with_its_former_data_before_the_takeover(there: Restored) -> None:
    task = there.phase(halted=True, exchanged=LEADS)
    there.host.silent = {REPLICA}
    await RESTORE.recover(there.context, task)
    assert await there.should_run() == {*LEADS, REPLICA}
    assert there.settled == [list(LEADS)]
    there.host.silent = set()
    assert there.data() == ALL_FORMER


async def test_a_recovery_waits_for_the_host_of_a_node_that_may_have_the_new_data(there: Restored) -> None:
    task = there.phase(halted=True, exchanged=LEADS)
    there.host.silent = {LEADS[0]}
    for _ in range(2):
        with pytest.raises(Postponed, match="waiting for host local") as waiting:
            await RESTORE.recover(there.context, task)
        assert not await waiting.value.is_over()
    assert await there.should_run() == {LEADS[1], REPLICA}, "a node with the new data must not serve"
    assert set(there.host.started) == {LEADS[1], REPLICA}
    await restore_sweep.sweep(there.context)
    there.host.silent = set()
    assert await waiting.value.is_over()
    await RESTORE.recover(there.context, task)
    assert there.data() == ALL_FORMER
    assert await there.should_run() == {*LEADS, REPLICA}
    assert there.settled == [sorted((*LEADS, REPLICA))]


async def test_a_recovery_is_repeated_while_a_node_does_not_end(there: Restored) -> None:
    task = there.phase(halted=True, exchanged=LEADS)
    there.host.frozen = {LEADS[0]}
    with pytest.raises(Postponed, match=r"waiting for the data of node a+: process 7 did not end; \(not\)$"):
        await RESTORE.recover(there.context, task)
    there.host.frozen = set()
    await RESTORE.recover(there.context, task)
    assert there.data() == ALL_FORMER


async def test_a_host_that_was_given_up_is_awaited_if_no_other_one_has_a_copy(there: Restored) -> None:
    with there.context.database.write() as connection:
        hosts.add(connection, HostRecord(name="h2", zone="z", state="lost", address="127.0.0.2", created_at=1))
        for node_id in LEADS:
            instances.change_node(connection, node_id, host_name="h2")
    task = there.phase(halted=True, exchanged=LEADS)
    there.host.silent = set(LEADS)
    with pytest.raises(Postponed, match=r"waiting for host h2 \(start its agent: it has the only copy of a shard\)$"):
        await RESTORE.recover(there.context, task)
    with there.context.database.write() as connection:
        instances.change_node(connection, REPLICA, shard=0)
        instances.change_node(connection, LEADS[1], shard=0)
    await RESTORE.recover(there.context, task)
    assert await there.should_run() == {REPLICA}
    assert (there.host.started[-1], there.settled) == (REPLICA, [])

    there.host.silent = set()  # the host is taken up again before its nodes were made elsewhere
    stored = _stored(there, task)
    nodes = await there.context.nodes("i")
    left = {lead: FormerData(lead, stored.id) for lead in LEADS}
    assert await former_data(there.context, "i", nodes, "node_status") == left
    later = a_task(id="u", kind="node_status", status="SUCCESS", created_at=9, params={"node_ids": LEADS[:1]})
    with there.context.database.write() as connection:
        tasks.add(connection, later)
    assert set(await former_data(there.context, "i", nodes, "node_status")) == {LEADS[1]}, (
        "its owner has used the other"
    )


async def test_a_wait_for_a_host_says_that_it_can_be_given_up_if_another_one_has_a_copy(there: Restored) -> None:
    with there.context.database.write() as connection:
        hosts.add(connection, HostRecord(name="h2", zone="z", state="active", address="127.0.0.2", created_at=1))
        instances.change_node(connection, LEADS[1], host_name="h2")
    task = there.phase(halted=True, exchanged=LEADS)
    there.host.silent = set(LEADS)
    given_up = r"waiting for host h2 \(start its agent or give it up if it is lost: hosts remove h2 --lost\)"
    with pytest.raises(Postponed, match=rf"{given_up} and local \(start its agent: it has the only copy of a shard\)$"):
        await RESTORE.recover(there.context, task)
    there.host.silent = {LEADS[1]}
    with pytest.raises(Postponed, match=f"{given_up}$"):
        await RESTORE.recover(there.context, task)


def _stored(there: Restored, task: Task) -> Task:
    """Store the failed task, and the former data that its recovery has left."""
    failed = msgspec.structs.replace(task, status="FAILED", end_time=5)
    with there.context.database.write() as connection:
        tasks.add(connection, failed)
    return failed


async def test_former_data_of_a_silent_host_is_deleted_when_it_answers(there: Restored) -> None:
    task = there.phase(halted=True, exchanged=LEADS, taken_over=True)
    await RESTORE.recover(there.context, task)
    folder = there.host.folder(LEADS[0]) / former_folder(task.id)
    folder.mkdir()
    there.host.silent = {LEADS[0]}
    await RESTORE.recover(there.context, task)
    await restore_sweep.sweep(there.context)
    assert folder.is_dir()
    there.host.silent = set()
    await restore_sweep.sweep(there.context)
    assert there.data()[LEADS[0]] == "new"

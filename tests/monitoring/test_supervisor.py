"""The supervisor with real processes of its own: nodes that have died start again, and one call finds them all."""

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from cachewright.config import Settings
from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.host import CONFIG, ProcessInfo
from cachewright.hosts.local import LocalHost
from cachewright.hosts.ports import free_ports
from cachewright.monitoring.incidents import Incidents
from cachewright.monitoring.supervisor import Supervisor
from cachewright.operations.context import OperationContext
from cachewright.operations.start_failure import FILES_MISSING
from cachewright.store import instances, tasks
from cachewright.valkey.migration.source_state import MigrationState
from database_fixtures import a_task, an_instance, new_database
from standalone_node import node_at

pytestmark = pytest.mark.node

NODES = ["a" * 40, "b" * 40]
NEVER_STARTED = "c" * 40
repairs: list[Any] = []
"""What the supervisor has asked to repair."""


class CountingHost(LocalHost):
    """Counts the calls of the methods that the supervisor uses."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.calls: Counter[str] = Counter()

    async def processes(self) -> dict[str, ProcessInfo]:
        self.calls["processes"] += 1
        return await super().processes()

    async def process(self, node_id: str) -> ProcessInfo | None:
        self.calls["process"] += 1
        return await super().process(node_id)

    async def with_file(self, name: str) -> frozenset[str]:
        self.calls["with_file"] += 1
        return await super().with_file(name)

    async def start(self, node_id: str) -> None:
        self.calls["start"] += 1
        await super().start(node_id)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[CountingHost]:
    """With the nodes of `NODES`, which run."""
    made = CountingHost(Settings(data_dir=tmp_path))
    ports = free_ports("127.0.0.1", (10240, 30000), set())
    for node_id in NODES:
        lines = (
            "bind 127.0.0.1",
            f"port {next(ports)}",
            "daemonize yes",
            "pidfile valkey.pid",
            "set-proc-title no",
            "appendonly yes",
        )
        await made.write_files(node_id, {CONFIG: "".join(f"{line}\n" for line in lines)})
        await made.start(node_id)
    made.calls.clear()
    yield made
    for node_id in NODES:
        await made.remove(node_id, 5)


@pytest.fixture
async def supervisor(tmp_path: Path, host: CountingHost) -> AsyncIterator[Supervisor]:
    """One that runs, with the nodes of `NODES` and one that a task is about to start on record."""
    settings = Settings(data_dir=tmp_path)
    database = new_database(tmp_path)
    ids = [*NODES, NEVER_STARTED]
    nodes = [msgspec.structs.replace(node_at(place + 1), id=node_id) for place, node_id in enumerate(ids)]
    nodes = [msgspec.structs.replace(node, bus_port=node.port + 100) for node in nodes]
    nodes[-1] = msgspec.structs.replace(nodes[-1], instance_id="j")
    with database.write() as connection:
        instances.add(connection, an_instance())
        instances.add(connection, an_instance(id="j"))
        tasks.add(connection, a_task(instance_id="j"))
        instances.add_nodes(connection, nodes)
    context = OperationContext(database, settings, host, MigrationState(host.cpus))
    repairs.clear()
    made = Supervisor(
        context, Incidents(database, LoopHeartbeats()), LoopHeartbeats(), lambda *broken: repairs.append(broken)
    )
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    database.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


async def test_a_node_that_has_died_is_started_and_others_are_left_alone(
    supervisor: Supervisor, host: CountingHost
) -> None:
    before: Mapping[str, ProcessInfo] = await host.processes()
    killed = psutil.Process(before[NODES[0]].pid)
    killed.kill()
    await until(lambda: supervisor.starts == 1)
    after = await host.processes()
    assert after.keys() == set(NODES)
    assert after[NODES[0]] != before[NODES[0]]
    assert after[NODES[1]] == before[NODES[1]]
    assert host.calls["start"] == 1


async def test_a_node_that_a_task_has_ended_since_the_round_began_is_not_started(
    supervisor: Supervisor, host: CountingHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, asked = supervisor._context.database, asyncio.Event()

    async def end_by_record(node_id: str) -> bool:
        with database.write() as connection:
            instances.change_node(connection, node_id, should_run=False)
        asked.set()
        return False

    monkeypatch.setattr(host, "is_busy", end_by_record)
    psutil.Process((await host.processes())[NODES[0]].pid).kill()
    await asyncio.wait_for(asked.wait(), 60)
    seen = host.calls["processes"]
    await until(lambda: not supervisor._starting and host.calls["processes"] > seen + 1)
    assert (host.calls["start"], supervisor.starts) == (0, 0)


async def test_a_round_asks_the_host_once_for_all_processes(supervisor: Supervisor, host: CountingHost) -> None:
    await until(lambda: host.calls["processes"] >= 3)
    assert set(host.calls) == {"processes", "with_file"}, "nodes were asked for one by one"
    assert abs(host.calls["with_file"] - host.calls["processes"]) <= 1, "for the node that was never started"
    assert supervisor.starts == 0


async def test_a_node_without_its_data_is_not_started_but_repaired(supervisor: Supervisor, host: CountingHost) -> None:
    before = await host.processes()
    shutil.rmtree(host.folder(NODES[0]) / "appendonlydir")
    psutil.Process(before[NODES[0]].pid).kill()
    await until(lambda: bool(repairs))
    assert repairs[0] == ("i", NODES[0], FILES_MISSING)
    assert supervisor.starts == 0
    assert host.calls["start"] == 0, "it would start without keys"


async def test_nodes_of_a_failed_creation_are_ended(supervisor: Supervisor, host: CountingHost) -> None:
    """Their host did not report when the creation failed, and is back."""
    with supervisor._context.database.write() as connection:
        instances.change(connection, "i", status="CREATEFAILED")
        for node_id in NODES:
            instances.change_node(connection, node_id, should_run=False)
    ended: list[str] = []
    async with asyncio.timeout(60):
        while len(ended) < len(NODES):
            ended = [node_id for node_id in NODES if await host.process(node_id) is None]
            await asyncio.sleep(0.02)
    await until(lambda: not supervisor._ending)
    assert host.calls["start"] == 0

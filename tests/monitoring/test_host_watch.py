"""Rounds of the watch of hosts."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from cachewright.config import Settings
from cachewright.heartbeats import LoopHeartbeats
from cachewright.model.hosts import EMBEDDED, HostRecord
from cachewright.monitoring.host_watch import HostWatch
from cachewright.monitoring.incidents import Incidents
from cachewright.monitoring.node_stats import StatsCollector
from cachewright.operations.context import OperationContext
from cachewright.operations.requests import MoveRequest, NodeMove
from cachewright.store import hosts, instances, tasks
from cachewright.store.database import Database
from cachewright.valkey.migration.source_state import MigrationState
from database_fixtures import a_task, an_instance, new_database
from standalone_node import node_at


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(new_database(tmp_path)) as made:
        yield made


async def test_hosts_of_stopped_nodes_are_watched_too(database: Database, tmp_path: Path) -> None:
    """Nothing answers, because no node should run."""
    away = HostRecord(name="h2", zone="z", state="active", address="127.0.0.2", created_at=1)
    stopped = msgspec.structs.replace(node_at(1, 2), host_name="h2", should_run=False)
    with database.write() as connection:
        hosts.add(connection, away)
        instances.add(connection, an_instance())
        instances.add_nodes(connection, [stopped])
    local: Any = SimpleNamespace(measured=lambda: {EMBEDDED: None}, nodes_dir=tmp_path)
    context = OperationContext(database, Settings(data_dir=tmp_path), local, MigrationState(1))
    statistics, incidents = StatsCollector(context, LoopHeartbeats()), Incidents(database, LoopHeartbeats())
    moved: list[MoveRequest] = []
    watch = HostWatch(
        context,
        incidents,
        statistics,
        LoopHeartbeats(),
        move=lambda _, request: moved.append(request),
        end_obsolete=lambda _: None,
    )

    async def kinds() -> set[str]:
        """The faults after a round. A fault ends only after its incident is stored."""
        await watch._round()
        storing = asyncio.create_task(incidents.run())
        async with asyncio.timeout(30):
            while incidents.open_by_kind().keys() != (reported := incidents.kinds_of("i")):
                await asyncio.sleep(0.01)
        storing.cancel()
        return set(reported)

    with database.write() as connection:
        tasks.add(connection, a_task())
    assert await kinds() == set(), "no node was asked yet"
    await statistics.collect()
    assert await kinds() == {"silent_host"}, "a task has stopped the node"
    with database.write() as connection:
        tasks.change(connection, "t", status="SUCCESS")
    assert await kinds() == set(), "its owner has stopped it"
    assert moved == []
    with database.write() as connection:
        hosts.change(connection, "h2", state="lost")
    assert await kinds() == {"silent_host", "lost_data"}
    assert moved == [MoveRequest(cause="lost_host", moves=(NodeMove(stopped.id),))]

"""Instances whose owners have stopped all nodes cost the cluster check nothing."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cachewright.config import Settings
from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.host import CONFIG
from cachewright.hosts.local import LocalHost
from cachewright.monitoring import cluster_check
from cachewright.monitoring.cluster_check import ClusterCheck
from cachewright.monitoring.incidents import Incidents
from cachewright.operations.context import OperationContext
from cachewright.store import instances
from cachewright.store.database import Database
from cachewright.valkey.migration.source_state import MigrationState
from database_fixtures import an_instance, new_database
from standalone_node import nowhere


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(new_database(tmp_path)) as made:
        yield made


async def test_a_stopped_instance_is_asked_until_its_incident_is_reported(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def ask_all(subject: Any) -> list[Any]:
        asked.append(subject.instance_id)
        return []

    monkeypatch.setattr(cluster_check, "_ask_all", ask_all)
    monkeypatch.setattr(cluster_check, "_ROUND_SECONDS", 0.0)
    monkeypatch.setattr(cluster_check, "_PAUSE_PER_READING", 0.0)
    node, settings = nowhere(), Settings(data_dir=tmp_path)
    host = LocalHost(settings)
    await host.write_files(node.id, {CONFIG: ""})
    with database.write() as connection:
        instances.add(connection, an_instance())
        instances.add_nodes(connection, [node])
        instances.change_node(connection, node.id, should_run=False)
    incidents = Incidents(database, LoopHeartbeats())
    check = ClusterCheck(OperationContext(database, settings, host, MigrationState(1)), incidents, LoopHeartbeats())

    async def once() -> list[str]:
        """The instances that are asked in one round."""
        asked.clear()
        await asyncio.sleep(0)  # SQLite tells of changes once in an iteration of the event loop
        await check._refresh()
        for instance_id in check._subjects:
            if check._needs_check(instance_id):
                check._states.setdefault(instance_id, cluster_check._CheckState(0)).next_lists = 0.0
                await check._check_subject(instance_id, check._states[instance_id])
        return list(asked)

    assert await once() == ["i"]
    assert incidents.kinds_of("i") == {"stopped_shards"}
    assert await once() == []
    with database.write() as connection:
        instances.change_node(connection, node.id, should_run=True)
    assert await once() == ["i"]

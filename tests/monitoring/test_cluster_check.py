"""The cluster check, with answers of nodes that change between two questions."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cachewright.config import Settings
from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.local import LocalHost
from cachewright.monitoring import cluster_check
from cachewright.monitoring.cluster_check import ClusterCheck
from cachewright.monitoring.cluster_findings import Answer
from cachewright.monitoring.cluster_records import Subject
from cachewright.monitoring.incidents import Incidents
from cachewright.operations.context import OperationContext
from cachewright.store import instances
from cachewright.store.database import Database
from cachewright.valkey.migration.source_state import MigrationState
from cachewright.valkey.topology import parse_view
from database_fixtures import an_instance, new_database
from standalone_node import nowhere

OTHER = "5" * 40


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(new_database(tmp_path)) as made:
        yield made


@pytest.mark.parametrize(("questions", "faults"), [(1, set()), (2, {"foreign_member"})])
async def test_a_member_that_was_added_and_removed_since_the_last_reading_is_not_foreign(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, questions: int, faults: set[str]
) -> None:
    """`questions` is the number of answers in which the node lists the member; later answers do not list it."""
    node, settings = nowhere(), Settings(data_dir=tmp_path)
    with database.write() as connection:
        instances.add(connection, an_instance())
        instances.add_nodes(connection, [node])
    asked: list[Subject] = []

    async def ask_all(subject: Subject) -> list[Answer]:
        asked.append(subject)
        lines = [f"{node.id} 127.0.0.1:1@2 myself,master - 0 0 1 connected 0-16383"]
        if len(asked) <= questions:
            lines.append(f"{OTHER} 127.0.0.1:3@4 slave {node.id} 0 0 1 connected")
        view = parse_view("\n".join([*lines, ""]), "cluster_state:ok\r\ncluster_current_epoch:5\r\n")
        return [Answer(node=node, my_id=node.id, view=view)]

    async def expel(*_: object) -> int:
        return 0

    monkeypatch.setattr(cluster_check, "_ask_all", ask_all)
    monkeypatch.setattr(cluster_check, "expel", expel)
    monkeypatch.setattr(cluster_check, "_EXPEL_PAUSE_SECONDS", 0.0)
    incidents = Incidents(database, LoopHeartbeats())
    host = LocalHost(settings)
    check = ClusterCheck(OperationContext(database, settings, host, MigrationState(1)), incidents, LoopHeartbeats())
    subject = await check._read_again("i")
    assert subject
    await check._check_subject("i", cluster_check._CheckState(0, next_lists=0.0, first_seen={"cluster_state": 0.0}))
    assert asked
    assert incidents.kinds_of("i") & {"foreign_member"} == faults

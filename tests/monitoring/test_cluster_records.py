"""The record of one instance that is read again is the same as in a reading of all."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cachewright.clock import now_ms
from cachewright.config import Settings
from cachewright.hosts.local import LocalHost
from cachewright.model.instances import Node
from cachewright.monitoring.cluster_records import Records, Subject
from cachewright.operations.context import OperationContext
from cachewright.operations.restart import RESTART
from cachewright.store import instances, tasks
from cachewright.store.database import Database
from cachewright.tasks.plan import build
from cachewright.topologies.topology import start_node
from cachewright.valkey.migration.source_state import MigrationState
from database_fixtures import a_task, an_instance, new_database
from standalone_node import node_at


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = new_database(tmp_path)
    yield made
    made.close()


def records_of(database: Database, folder: Path) -> Records:
    settings = Settings(data_dir=folder)
    return Records(OperationContext(database, settings, LocalHost(settings), MigrationState(1)))


def a_node(number: int, instance_id: str, **members: object) -> Node:
    plain = node_at(2 * number, 2 * number + 1)
    name = hashlib.sha1(str(number).encode(), usedforsecurity=False).hexdigest()
    return msgspec.structs.replace(plain, id=name, instance_id=instance_id, **members)


def read_in_both_ways(records: Records, instance_id: str, started: set[str]) -> Subject | None:
    one = records.read_one(instance_id, started)
    assert records.read(started).get(instance_id) == one
    assert records.read_one(instance_id, started) == one
    return one


def test_an_instance_is_read_alone_as_with_all_others(database: Database, tmp_path: Path) -> None:
    kept, busy, changed, gone = ("kept", "busy", "changed", "gone")
    nodes = [a_node(number, instance_id) for number, instance_id in enumerate((kept, kept, busy, gone), start=1)]
    apart = a_node(9, changed, apart=True, should_run=False)
    with database.write() as connection:
        for instance_id in (kept, busy, changed):
            instances.add(connection, an_instance(id=instance_id))
        instances.add(connection, an_instance(id=gone, status="CREATEFAILED"))
        instances.add_nodes(connection, [*nodes, apart, a_node(10, changed)])
        tasks.add(connection, a_task(instance_id=busy, kind=RESTART.kind))
    records, started = records_of(database, tmp_path), {node.id for node in nodes[1:]}

    subject = read_in_both_ways(records, kept, started)
    assert subject
    assert (subject.record.ids, subject.record.idle) == ({nodes[0].id, nodes[1].id}, True)
    assert subject.record.changing == {nodes[0].id}, "it has never run"
    subject = read_in_both_ways(records, busy, started)
    assert subject
    assert not subject.record.idle
    for instance_id in (changed, gone, "unknown"):
        assert read_in_both_ways(records, instance_id, started) is None


@pytest.mark.parametrize("alone", [True, False])
def test_nodes_that_an_instance_had_are_remembered(database: Database, tmp_path: Path, alone: bool) -> None:
    nodes = [a_node(number, "i") for number in (1, 2)]
    with database.write() as connection:
        instances.add(connection, an_instance())
        instances.add_nodes(connection, nodes)
    records = records_of(database, tmp_path)
    records.read(set())
    with database.write() as connection:
        instances.remove_nodes(connection, [nodes[1].id])
    subject = records.read_one("i", set()) if alone else records.read(set())["i"]
    assert subject
    assert subject.record.former == {nodes[1].id}
    with database.write() as connection:
        instances.add_nodes(connection, [nodes[1]])
    subject = read_in_both_ways(records, "i", set())
    assert subject
    assert subject.record.former == frozenset()


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize(("minutes", "remembered"), [(1, True), (11, False)])
def test_nodes_that_a_task_has_removed_are_known_after_a_restart(
    database: Database, tmp_path: Path, alone: bool, minutes: int, remembered: bool
) -> None:
    """A change that was cancelled right before the server died has removed its new nodes. Others may know them."""
    kept, added = (a_node(number, "i") for number in (1, 2))
    plan = build("run", {"Resource request.": [start_node(node, founding=False) for node in (kept, added)]})
    with database.write() as connection:
        instances.add(connection, an_instance())
        instances.add_nodes(connection, [kept])
        ended = now_ms() - minutes * 60_000
        tasks.add(connection, a_task(instance_id="i", status="FAILED", end_time=ended, steps=plan))
    records = records_of(database, tmp_path)
    subject = records.read_one("i", set()) if alone else records.read(set())["i"]
    assert subject
    assert subject.record.former == ({added.id} if remembered else frozenset())

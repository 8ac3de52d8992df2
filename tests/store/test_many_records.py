"""Readings of many records: in few queries, and the same as one by one."""

import hashlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from cachewright.model.hosts import HostRecord
from cachewright.model.instances import Node
from cachewright.model.tasks import Step, SubStep, Work
from cachewright.store import hosts, instances, instances_with_nodes, tasks
from cachewright.store.database import Database
from database_fixtures import a_report, a_task, an_instance, new_database
from standalone_node import node_at

HA, CLUSTER = "redis.ha.xu1.large.r2.1", "redis.cluster.xu1.large.r1.s1.1"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(new_database(tmp_path)) as made:
        yield made


@contextmanager
def queries(database: Any) -> Iterator[list[str]]:
    """The queries in the `with` block."""
    found: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith("PRAGMA"):
            found.append(statement)

    sa.event.listen(database.engine, "before_cursor_execute", note)
    yield found
    sa.event.remove(database.engine, "before_cursor_execute", note)


def a_node(number: int, instance_id: str, **members: Any) -> Node:
    name = hashlib.sha1(str(number).encode(), usedforsecurity=False).hexdigest()
    plain = node_at(2 * number, 2 * number + 1)
    return msgspec.structs.replace(plain, **({"id": name, "instance_id": instance_id} | members))


def test_instances_of_a_kind_are_read_with_their_nodes_in_three_queries(database: Database) -> None:
    with database.write() as connection:
        for number in range(5):
            instance_id = f"i{number}"
            code = HA if number < 3 else CLUSTER
            instances.add(connection, an_instance(id=instance_id, spec_code=code, seed_port=20 * number))
            made = [
                a_node(10 * number + role, instance_id, role=kind) for role, kind in ((2, "replica"), (1, "primary"))
            ]
            apart = a_node(10 * number + 3, instance_id, apart=True, should_run=False)
            instances.add_nodes(connection, [*made, apart])
    with database.read() as connection:
        one_by_one = {
            name: (instances.find(connection, name), instances.nodes_of(connection, name))
            for name in ("i0", "i1", "i2")
        }
        with queries(database) as asked:
            assert instances_with_nodes.of_spec_codes(connection, lambda code: code == HA) == one_by_one
        assert len(asked) == 3
        assert instances_with_nodes.of_spec_codes(connection, lambda _: False) == {}
        each = {name: nodes for name, (_, nodes) in one_by_one.items()}
        with queries(database) as asked:
            assert instances_with_nodes.nodes_of_each(connection, ["i0", "i1", "i2"]) == each
        assert len(asked) == 1


def test_instances_whose_address_is_not_that_of_a_node_are_read_with_their_nodes(database: Database) -> None:
    with database.write() as connection:
        for number in range(4):
            name, node = f"i{number}", a_node(number + 1, f"i{number}")
            port = node.port if number % 2 else 9999 + number
            instances.add(connection, an_instance(id=name, address="127.0.0.1", seed_port=port))
            instances.add_nodes(connection, [node])
    with database.read() as connection:
        found = instances_with_nodes.at_no_node(connection)
        assert found == {
            name: (instances.find(connection, name), instances.nodes_of(connection, name)) for name in ("i0", "i2")
        }


def test_reports_that_are_known_are_not_read_again(database: Database) -> None:
    with database.write() as connection:
        for name in ("a", "b", "c"):
            record = HostRecord(name=name, address=f"127.0.1.{ord(name)}", zone="z", state="active", created_at=1)
            hosts.add(connection, record)
        for name in ("a", "b"):
            hosts.saw(connection, name, f"127.0.1.{ord(name)}", a_report(cpus=1))
    with database.read() as connection:
        known = {host.name: host for host in hosts.every(connection)}
    with database.write() as connection:
        hosts.change(connection, "b", state="cordoned")
        hosts.change(connection, "a", report=a_report(cpus=2), seen_at=(known["a"].seen_at or 0) + 1)
    with database.read() as connection:
        with queries(database) as asked:
            found = hosts.after(connection, known)
        assert found == hosts.every(connection)
        assert len(asked) == 2
        with queries(database) as asked:
            assert hosts.after(connection, {host.name: host for host in found}) == found
        assert len(asked) == 1
        assert "report" not in asked[0]


def test_tasks_that_run_now(database: Database) -> None:
    sub = SubStep(id="s", name="n", action="a", arguments={}, work=Work(unit="seconds", total=1, seconds=1, lane="l"))
    steps = (Step(id="s", name="n", sub_steps=(sub,)),)
    with database.write() as connection:
        for name, members in {
            "runs": {"status": "EXECUTING", "begin_time": 1},
            "waits": {},
            "scheduled": {"begins_at": 9},
            "begun": {"begins_at": 9, "status": "EXECUTING", "begin_time": 9},
            "ended": {"status": "SUCCESS", "end_time": 9},
        }.items():
            tasks.add(connection, a_task(id=name, instance_id=f"of {name}", steps=steps, **members))
    with database.read() as connection:
        active = {task.instance_id for task in tasks.active(connection)}
        assert tasks.worked_on_now(connection) == active == {"of runs", "of waits", "of begun"}
        found = dict(tasks.steps_now(connection))
        assert found == {"of runs": steps, "of waits": (), "of begun": steps}
        assert tasks.steps_now(connection, "of runs") == [("of runs", steps)]
        assert not tasks.steps_now(connection, "of ended")
        assert {task.id for task in tasks.active_of_kind(connection, "k")} == {"runs", "waits", "begun"}
        assert not tasks.active_of_kind(connection, "other")

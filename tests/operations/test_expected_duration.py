"""What tasks are expected to take before they have a plan, and how finished ones teach it."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cachewright.model.instances import Node
from cachewright.model.tasks import Control, MigrationMode, Step, SubStep, Task, Work
from cachewright.operations import OPERATIONS
from cachewright.operations.expected_duration import estimated, learn, working_seconds
from cachewright.operations.operation import Operation
from cachewright.operations.resize.operation import RESIZE
from cachewright.operations.restart import RESTART
from cachewright.store import task_controls
from cachewright.store.database import Database
from database_fixtures import a_task, new_database

PARAMS = {
    "spec_code": "redis.cluster.xu1.large.r1.s1.5",
    "backup_id": "b",
    "backup_bytes": 1_000_000,
    "cause": "drain",
    "moves": (),
}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(new_database(tmp_path)) as made:
        yield made


def nodes(count: int) -> list[Node]:
    return [
        Node(
            id=str(number),
            instance_id="i",
            shard=number,
            role="primary",
            host="127.0.0.1",
            port=number,
            bus_port=100 + number,
            maxmemory=1,
            should_run=True,
            created_at=1,
        )
        for number in range(count)
    ]


def ended(operation: Operation[Any, Any], seconds: float, *waits: tuple[str, int], **members: Any) -> Task:
    """A task that took so long; `waits` are lanes and milliseconds that sub-steps of them have waited. Sub-steps of a
    lane have taken equal parts of the time."""
    lanes = [lane for lane, _ in waits or (("a", 0),)]

    def sub_step(number: int, lane: str, waited: int) -> SubStep:
        share = seconds * 1000 / lanes.count(lane)
        begin = 1000 + int(lanes[:number].count(lane) * share)
        return SubStep(
            id=str(number),
            name="s",
            action="a",
            arguments={},
            work=Work(unit="nodes", total=1, seconds=1, lane=lane),
            status="FINISH",
            begin_time=begin,
            end_time=begin + int(share),
            waited_ms=waited,
        )

    subs = tuple(sub_step(number, *one) for number, one in enumerate(waits or (("a", 0),)))
    times = {"begin_time": 1000, "end_time": 1000 + int(seconds * 1000)}
    steps = (Step(id="1", name="s", sub_steps=subs),)
    return a_task(kind=operation.kind, status="SUCCESS", params=PARAMS, steps=steps, **times | members)


def expected(database: Database, operation: Operation[Any, Any], count: int = 3, **asked: Any) -> float:
    mode: MigrationMode = asked.pop("mode", "balanced")
    task = a_task(params=PARAMS, **asked)
    with database.read() as connection:
        return estimated(connection, operation, task, nodes(count), mode=mode, dataset=0).remaining_seconds


@pytest.mark.parametrize("kind", OPERATIONS)
def test_each_operation_declares_what_it_takes(database: Database, kind: str) -> None:
    assert 0.1 <= expected(database, OPERATIONS[kind]) < 60


def test_what_finished_tasks_took_is_learned_and_scaled(database: Database) -> None:
    before = expected(database, RESTART, 3)
    with database.write() as connection:
        for _ in range(12):
            learn(connection, RESTART, ended(RESTART, 3 * before), nodes(3))
    assert expected(database, RESTART, 3) == pytest.approx(3 * before, rel=0.02)
    assert expected(database, RESTART, 6) == pytest.approx(6 * before, rel=0.02)
    assert expected(database, RESIZE) == expected(database, RESIZE, count=9), "other kinds have their own"


def test_a_retried_task_has_less_left(database: Database) -> None:
    assert expected(database, RESTART, percent=75) == pytest.approx(expected(database, RESTART) / 4)


def test_more_data_takes_longer_to_move(database: Database) -> None:
    task = a_task(kind="resize", params=PARAMS)
    of_size = [RESIZE.expected_seconds(task, nodes(3), size) for size in (10**6, 10**9)]
    assert of_size[1] > of_size[0] + 10


@pytest.mark.parametrize("mode", ["fastest", "gentle"])
def test_modes_are_kept_apart(database: Database, mode: MigrationMode) -> None:
    usual = expected(database, RESIZE)
    with database.write() as connection:
        task_controls.put(connection, "t", Control(mode=mode))
        learn(connection, RESIZE, ended(RESIZE, 500, ("a", 0)), nodes(3))
    assert expected(database, RESIZE) == usual
    assert expected(database, RESIZE, mode=mode) > 2 * usual


@pytest.mark.parametrize("control", [Control(parallel=1), Control(latency_ceiling_ms=5), Control(state="paused")])
def test_a_limited_task_teaches_nothing(database: Database, control: Control) -> None:
    usual = expected(database, RESTART)
    with database.write() as connection:
        task_controls.put(connection, "t", control)
        learn(connection, RESTART, ended(RESTART, 500), nodes(3))
        task_controls.remove(connection, ["t"])
        learn(connection, RESTART, ended(RESTART, 500, attempt=1), nodes(3))
    assert expected(database, RESTART) == usual


def test_waits_are_no_work() -> None:
    assert working_seconds(ended(RESTART, 60, ("nodes", 20_000), ("nodes", 10_000))) == 30
    assert working_seconds(ended(RESTART, 60, ("a", 20_000), ("b", 10_000))) == 50
    assert working_seconds(ended(RESTART, 1, ("a", 20_000))) == 0
    assert working_seconds(a_task()) == 0

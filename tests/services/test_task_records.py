"""Stored tasks: their owners, their retention, and which may be deleted."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cachewright.errors import ApiError
from cachewright.model.identity import Principal
from cachewright.model.tasks import Task
from cachewright.services.task_records import TaskRecords
from cachewright.store import instances, tasks
from cachewright.store.database import Database
from cachewright.store.read_cache import ReadCache
from database_fixtures import a_task, an_instance, new_database

OWNER = Principal(project_id="p", user_id="u", user_name="n")
STRANGER = Principal(project_id="q", user_id="u", user_name="n")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(new_database(tmp_path)) as made:
        with made.write() as connection:
            instances.add(connection, an_instance())
            tasks.add(connection, a_task())
            tasks.add(connection, a_task(id="gone", instance_id="deleted", status="SUCCESS"))
        yield made


@pytest.fixture
def records(database: Database) -> TaskRecords:
    return TaskRecords(database, ReadCache(database))


def code(act: Callable[[], Any]) -> str:
    with pytest.raises(ApiError) as refused:
        act()
    return refused.value.code


def code_of(wanted: Coroutine[Any, Any, Any]) -> str:
    return code(lambda: asyncio.run(wanted))


def test_another_project_has_neither_the_instance_nor_the_task(records: TaskRecords) -> None:
    assert records.show(OWNER, "i", "t").task.id == "t"
    assert code(lambda: records.show(STRANGER, "i", "t")) == "DCS.3022"
    assert code(lambda: records.find(STRANGER, "t")) == "DCS.4958"
    assert code(lambda: records.current(STRANGER, "i", "t")) == "DCS.3022"
    assert code(lambda: records.delete(STRANGER, "gone")) == "DCS.4958"
    assert code_of(records.cached("q", "i", "t", lambda task: task.id)) == "DCS.3022"


def test_a_task_outlives_its_instance_where_it_is_asked_for_by_its_own_id(records: TaskRecords) -> None:
    assert records.find(OWNER, "gone").task.id == "gone"
    assert records.current(OWNER, "deleted", "gone").id == "gone"
    assert code(lambda: records.show(OWNER, "deleted", "gone")) == "DCS.3022"


def test_a_view_is_rendered_again_only_after_the_database_has_changed(database: Database, records: TaskRecords) -> None:
    rendered: list[int] = []

    def render(task: Task) -> int:
        rendered.append(task.revision)
        return task.revision

    async def read_twice_then_change() -> list[int]:
        seen = [await records.cached("p", "i", "t", render) for _ in range(2)]
        with database.write() as connection:
            tasks.save(connection, a_task())
        await asyncio.sleep(0)
        return [*seen, await records.cached("p", "i", "t", render)]

    assert asyncio.run(read_twice_then_change()) == [0, 0, 1]
    assert rendered == [0, 1]


def test_a_missing_task_is_refused_each_time(records: TaskRecords) -> None:
    async def codes() -> list[str]:
        found = []
        for _ in range(2):
            try:
                await records.cached("p", "i", "none", lambda task: task.id)
            except ApiError as error:
                found.append(error.code)
        return found

    assert asyncio.run(codes()) == ["DCS.4958"] * 2


def test_only_the_record_of_a_task_that_has_ended_is_deleted(records: TaskRecords) -> None:
    assert code(lambda: records.delete(OWNER, "t", "i")) == "DCS.4957"
    records.delete(OWNER, "gone")
    assert code(lambda: records.find(OWNER, "gone")) == "DCS.4958"

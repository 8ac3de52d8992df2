"""What a task's worker writes."""

from collections.abc import Iterator

import msgspec
import pytest
import sqlalchemy as sa

from cachewright.model.tasks import Forecast, Task
from cachewright.store import tasks
from cachewright.store.transactions import SqlDatabase
from cachewright.tasks.plan import SubStepSpec, build, effort
from database_fixtures import a_task, migrated

TASK = a_task(params={"spec_code": "s", "nested": {"shards": [1, 2]}}, details={"old_capacity": 3})


@pytest.fixture
def database(database_url: str) -> Iterator[SqlDatabase]:
    database = migrated(database_url)
    with database.write() as connection:
        tasks.add(connection, TASK)
    yield database
    database.close()


def further(task: Task) -> Task:
    """With another value of all that changes while it runs."""
    draft = SubStepSpec(name="Step.", action="a", work=effort("lane", seconds=1.5, total=10), arguments={"shards": [1]})
    return msgspec.structs.replace(
        task,
        status="EXECUTING",
        begin_time=2,
        end_time=3,
        error_code="DCS.9001",
        message="m",
        percent=50,
        remaining_seconds=1.5,
        remaining_low=1.0,
        remaining_high=2.0,
        estimated_at=4,
        attempt=1,
        forecasts=(Forecast(percent=10, at=5, remaining_seconds=6.0),),
        steps=build(task.id, {"Step.": [draft]}),
    )


def test_what_is_saved_is_what_is_loaded(database: SqlDatabase) -> None:
    with database.write() as connection:
        saved = tasks.save(connection, further(TASK))
    assert saved == msgspec.structs.replace(further(TASK), revision=1)
    with database.read() as connection:
        assert tasks.load(connection, TASK.id) == saved


def test_what_never_changes_is_not_written_again(database: SqlDatabase) -> None:
    """SQLite updates an index entry for each column in a statement, even if its value stays the same."""
    written = []

    def see(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        written.append(statement)

    with database.write() as connection:
        sa.event.listen(database.engine, "before_cursor_execute", see)
        tasks.save(connection, further(TASK))
        sa.event.remove(database.engine, "before_cursor_execute", see)
    changes = next(statement for statement in written if statement.startswith("UPDATE tasks"))
    columns = {
        change.split("=")[0].strip() for change in changes.partition("SET ")[2].partition(" WHERE")[0].split(",")
    }
    assert columns == {
        name for name in Task.__struct_fields__ if getattr(TASK, name) != getattr(further(TASK), name)
    } | {"revision"}


def test_a_task_that_another_has_written_is_not_written_over(database: SqlDatabase) -> None:
    with database.write() as connection:
        tasks.save(connection, TASK)
    with database.write() as connection, pytest.raises(tasks.StaleTask):
        tasks.save(connection, further(TASK))
    with database.read() as connection:
        assert tasks.load(connection, TASK.id).status == "WAITING"

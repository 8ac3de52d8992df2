"""The history of tasks: its order, its count, and that a page costs the same however long it is."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from cachewright.model.tasks import Control, Task, TaskStatus
from cachewright.store import task_controls, tasks
from cachewright.store.database import Database
from database_fixtures import a_task, migrated, new_database
from postgres_server import PostgresServer

PROJECT = "p" * 32


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = migrated(database_url)
    yield opened
    opened.close()


def task(created_at: int, instance_id: str = "i", status: TaskStatus = "SUCCESS") -> Task:
    return a_task(
        id=uuid.uuid4().hex,
        instance_id=instance_id,
        project_id=PROJECT,
        kind="resize",
        name="EXTEND",
        status=status,
        created_at=created_at,
        end_time=created_at + 5 if status == "SUCCESS" else None,
    )


def added(connection: sa.Connection, *wanted: Task) -> list[Task]:
    for one in wanted:
        tasks.add(connection, one)
    return list(wanted)


def test_a_page_is_newest_first_and_counts_what_is_asked_for(database: Database) -> None:
    with database.write() as connection:
        mine = added(connection, *(task(moment) for moment in (10, 20, 30, 40)))
        added(connection, task(45, "other"))
        ids = [one.id for one in mine]
        count, page = tasks.page(connection, instance_id="i", offset=1, limit=2)
        assert (count, [one.id for one in page]) == (4, [ids[2], ids[1]])
        count, page = tasks.page(connection, instance_id="i", offset=0, limit=10, start=20, end=30)
        assert (count, [one.id for one in page]) == (2, [ids[2], ids[1]])
        count, page = tasks.page(connection, project_id=PROJECT, offset=0, limit=2)
        assert (count, [one.created_at for one in page]) == (5, [45, 40])
        assert tasks.page(connection, instance_id="i", offset=9, limit=10) == (4, [])
        assert tasks.page(connection, instance_id="nobody", offset=0, limit=10) == (0, [])


def test_of_tasks_created_at_once_the_last_one_asked_for_is_first(database: Database) -> None:
    with database.write() as connection:
        assert tasks.last_created_at(connection, PROJECT) == 0
        first, second = added(connection, task(20), task(20))
        _, page = tasks.page(connection, instance_id="i", offset=0, limit=2)
        assert [one.id for one in page] == [second.id, first.id]
        assert tasks.last_created_at(connection, PROJECT) == 20


def test_removed_and_purged_tasks_no_longer_count(database: Database) -> None:
    with database.write() as connection:
        first, _, third, last = added(connection, task(10), task(20), task(30), task(40, status="EXECUTING"))
        task_controls.put(connection, third.id, Control(parallel=2))
        tasks.remove(connection, first)
        assert tasks.page(connection, instance_id="i", offset=0, limit=10)[0] == 3
        assert tasks.purge(connection, ended_before=1000, limit=1) == 1
        assert tasks.purge(connection, ended_before=1000, limit=10) == 1
        assert task_controls.get(connection, third.id) == Control()
        count, page = tasks.page(connection, project_id=PROJECT, offset=0, limit=10)
        assert (count, [one.id for one in page]) == (1, [last.id])


def steps_of(database: Database, **wanted: int) -> int:
    """Instructions that SQLite executes for one page: a measure of work that no other load on the machine changes."""
    executed = 0

    def step() -> None:
        nonlocal executed
        executed += 1

    with database.read() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.set_progress_handler(step, 1)
        try:
            _, page = tasks.page(connection, instance_id="i", offset=0, limit=10, **wanted)
        finally:
            driver.set_progress_handler(None, 1)
    assert len(page) == 10
    assert executed, "nothing was counted"
    return executed


def test_a_page_of_a_million_tasks_costs_what_a_page_of_a_thousand_does(tmp_path: Path) -> None:
    database = new_database(tmp_path)
    with database.write() as connection:
        added(connection, *(task(moment) for moment in range(1000)))
    few = steps_of(database)
    recent_of_few = steps_of(database, start=990)
    with database.write() as connection:
        names = [column.name for column in tasks.tasks.c if column.name not in {"sequence", "id", "created_at"}]
        columns = ", ".join(names)
        many = f"""
            WITH RECURSIVE number(n) AS (SELECT 1000 UNION ALL SELECT n + 1 FROM number WHERE n < 999999)
            INSERT INTO tasks (id, created_at, {columns})
            SELECT 'task-' || n, n, {columns} FROM number, (SELECT * FROM tasks LIMIT 1)
        """  # noqa: S608  # column names of our own table
        connection.execute(sa.text(many))
        connection.execute(sa.text("UPDATE task_counts SET tasks = 1000000"))
    assert steps_of(database) <= few * 1.1
    assert steps_of(database, start=999_990) <= recent_of_few * 1.1
    database.close()


def rows_read(database: Database, **within: int) -> int:
    """Rows of the table that PostgreSQL reads for one page."""
    counted = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'tasks'"
    with database.read() as connection:
        before = connection.execute(sa.text(counted)).scalar_one()
        _, page = tasks.page(connection, instance_id="i", offset=0, limit=10, **within)
        after = connection.execute(sa.text(counted)).scalar_one()
    assert len(page) == 10
    return int(after - before)


def test_a_page_of_a_long_history_reads_few_rows_in_postgres(postgres: PostgresServer) -> None:
    database = migrated(postgres.new_database())
    with database.write() as connection:
        added(connection, task(0))
        names = [column.name for column in tasks.tasks.c if column.name not in {"sequence", "id", "created_at"}]
        columns = ", ".join(names)
        many = f"""
            INSERT INTO tasks (id, created_at, {columns})
            SELECT 'task-' || n, n, {columns} FROM generate_series(1, 50000) n, (SELECT * FROM tasks LIMIT 1) one
        """  # noqa: S608  # column names of our own table
        connection.execute(sa.text(many))
        connection.execute(sa.text("UPDATE task_counts SET tasks = 50001"))
        connection.execute(sa.text("ANALYZE tasks"))
    assert rows_read(database) <= 40
    assert rows_read(database, start=49_980) <= 80
    database.close()

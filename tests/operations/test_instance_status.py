"""The status of an instance after its tasks, in a database without nodes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cachewright.model.tasks import Task, TaskStatus
from cachewright.operations.configure import CONFIGURE
from cachewright.operations.instance_status import set_status_after
from cachewright.operations.operation import Operation
from cachewright.operations.resize.check import RESIZE_CHECK
from cachewright.operations.restart import RESTART
from cachewright.store import instances
from cachewright.store.database import Database
from database_fixtures import a_task, an_instance, new_database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = new_database(tmp_path)
    yield opened
    opened.close()


def after(database: Database, task: Task, status: str, error_code: str | None) -> tuple[str, str | None]:
    """Status and error code of an instance that had these when the task ended."""
    with database.write() as connection:
        instances.add(connection, an_instance(status=status, error_code=error_code))
        set_status_after(connection, task)
        found = instances.find(connection, "i")
    assert found is not None
    return found.status, found.error_code


def over(operation: Operation[Any, Any], status: TaskStatus, error_code: str | None = None) -> Task:
    return a_task(kind=operation.kind, status=status, error_code=error_code)


@pytest.mark.parametrize("operation", [RESIZE_CHECK, CONFIGURE])
@pytest.mark.parametrize(("status", "error_code"), [("SUCCESS", None), ("FAILED", "DCS.4066")])
def test_what_changes_no_status_ends_no_error(
    database: Database, operation: Operation[Any, Any], status: TaskStatus, error_code: str | None
) -> None:
    assert after(database, over(operation, status, error_code), "ERROR", "DCS.9009") == ("ERROR", "DCS.9009")


@pytest.mark.parametrize("operation", [RESIZE_CHECK, CONFIGURE])
def test_otherwise_the_instance_is_running(database: Database, operation: Operation[Any, Any]) -> None:
    assert after(database, over(operation, "FAILED", "DCS.4066"), "RUNNING", None) == ("RUNNING", "DCS.4066")


def test_a_task_with_a_status_of_its_own_decides(database: Database) -> None:
    assert after(database, over(RESTART, "SUCCESS"), "RESTARTING", None) == ("RUNNING", None)

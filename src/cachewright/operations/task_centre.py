"""Tasks as the project's owner sees them, whether or not their instance is still there."""

from cachewright.errors import Refusal
from cachewright.store import tasks
from cachewright.store.database import Database
from cachewright.store.records import ENDED, Principal


def forget_task(database: Database, who: Principal, task_id: str) -> None:
    """Forgets a task of the project that has ended. Refusal DCS.4958, or DCS.4957 while it has not ended."""
    with database.write() as connection:
        task = tasks.of_project(connection, who.project_id, task_id)
        if task is None:
            raise Refusal("DCS.4958")
        if task.status not in ENDED:
            raise Refusal("DCS.4957")
        tasks.remove(connection, task)

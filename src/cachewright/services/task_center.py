"""Tasks as the project's owner sees them, whether or not their instance is still there."""

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.model.identity import Principal
from cachewright.model.tasks import ENDED
from cachewright.store import tasks
from cachewright.store.database import Database


def forget_task(database: Database, who: Principal, task_id: str) -> None:
    """Forgets a task of the project that has ended. ApiError DCS.4958, or DCS.4957 while it has not ended."""
    with database.write() as connection:
        task = tasks.of_project(connection, who.project_id, task_id)
        if task is None:
            raise ApiError(errors.TASK_NOT_FOUND)
        if task.status not in ENDED:
            raise ApiError(errors.TASK_STATE_CONFLICT)
        tasks.remove(connection, task)

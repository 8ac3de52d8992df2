"""The status of an instance when one of its tasks has ended."""

import sqlalchemy as sa

from cachewright.clock import now_ms
from cachewright.model.tasks import Task
from cachewright.operations import OPERATIONS
from cachewright.store import instances, tasks


def set_status_after(connection: sa.Connection, task: Task, *, recovered: bool = True) -> None:
    """Write the status and error code of the instance after `task`, which has ended. Remove an instance that was
    deleted. If another task waits, the status is that of the next task. An instance that became ERROR during a task
    which does not change the status (a check, a change of parameters) stays ERROR, because the task is not the reason.

    :param recovered: False if the task and its recovery have failed.
    """
    operation = OPERATIONS[task.kind]
    after_failure = operation.status_after_failure if recovered else "ERROR"
    after = operation.status_after_success if task.status == "SUCCESS" else after_failure
    if after is None:
        instances.remove(connection, task.instance_id)
        return
    status, error_code = after, task.error_code
    if waiting := tasks.active_of(connection, task.instance_id):
        status = OPERATIONS[waiting[0].kind].status_while_running
    elif operation.status_while_running == operation.status_after_success:
        before = instances.find(connection, task.instance_id)
        if before is not None and before.status == "ERROR":
            status, error_code = before.status, before.error_code
    instances.change(connection, task.instance_id, status=status, updated_at=now_ms(), error_code=error_code)

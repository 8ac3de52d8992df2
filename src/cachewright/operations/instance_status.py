"""The status of an instance when one of its tasks has ended."""

import sqlalchemy as sa

from cachewright.clock import now_ms
from cachewright.model.tasks import Task
from cachewright.operations.kinds import KINDS
from cachewright.store import instances, tasks


def set_status_after(connection: sa.Connection, task: Task, *, recovered: bool = True) -> None:
    """Writes the status and error code of the instance after `task`, which has ended. Removes an instance that has been
    deleted. Where another task waits, the status is that of the next in line. An instance that has become ERROR during
    a task which leaves the status as it is (a check, a change of parameters) stays ERROR: the task is not the reason.

    :param recovered: False where the task has failed and what it left could not be put in order.
    """
    kind = KINDS[task.kind]
    failure = kind.failure if recovered else "ERROR"
    after = kind.success if task.status == "SUCCESS" else failure
    if after is None:
        instances.remove(connection, task.instance_id)
        return
    status, error_code = after, task.error_code
    if waiting := tasks.unfinished_of(connection, task.instance_id):
        status = KINDS[waiting[0].kind].during
    elif kind.during == kind.success:
        before = instances.find(connection, task.instance_id)
        if before is not None and before.status == "ERROR":
            status, error_code = before.status, before.error_code
    instances.change(connection, task.instance_id, status=status, updated_at=now_ms(), error_code=error_code)

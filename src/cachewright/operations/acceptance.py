"""Whether an instance can be changed in its present state. Pure."""

from collections.abc import Sequence
from typing import Any

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.model.instances import Instance
from cachewright.model.tasks import Task
from cachewright.operations import OPERATIONS
from cachewright.operations.operation import Operation


def require_acceptable(operation: Operation[Any, Any], instance: Instance, unfinished: Sequence[Task]) -> None:
    """ApiError if the operation may not be requested now. `unfinished` are the tasks of the instance that have not
    ended: the status alone does not show a change of parameters, a deletion that waits, or a task that waits for the
    maintenance window."""
    if instance.status not in operation.accepts:
        raise ApiError(operation.not_accepted or busy_code(instance))
    if operation.cancels_others:
        return
    for task in unfinished:
        other = OPERATIONS[task.kind]
        if task.is_scheduled and other is operation and other.busy:
            raise ApiError(other.busy)  # the second one would not know what the first one leaves
        removes = other.status_after_success is None
        if other.busy and (removes or other.status_while_running == instance.status):
            raise ApiError(other.busy)


def require_retriable(operation: Operation[Any, Any], instance: Instance) -> None:
    """ApiError if a failed task of the operation cannot be retried now."""
    if instance.status != operation.status_after_failure and instance.status not in operation.accepts:
        raise ApiError(busy_code(instance))


def busy_code(instance: Instance) -> str:
    """Error code of the operation in progress, by the status of the instance."""
    for operation in OPERATIONS.values():
        if operation.busy and operation.status_while_running == instance.status:
            return operation.busy
    return errors.INSTANCE_NOT_RUNNING

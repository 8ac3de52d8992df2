"""Whether an instance can be changed in its present state. Pure."""

from collections.abc import Sequence
from typing import Any

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.model.incidents import Incident
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Task
from cachewright.operations import OPERATIONS
from cachewright.operations.operation import Operation


def require_acceptable(
    operation: Operation[Any, Any],
    instance: Instance,
    unfinished: Sequence[Task],
    incidents: Sequence[Incident] = (),
) -> None:
    """ApiError if the operation may not be requested now.

    :param unfinished: tasks of the instance that have not ended: the status alone does not show a change of parameters,
        a deletion that waits, or a task that waits for the maintenance window.
    :param incidents: open incidents of the instance, which are the reason of a refusal.
    """
    if instance.status not in operation.accepts:
        raise ApiError(operation.not_accepted or busy_code(instance), reason=reasons(incidents))
    if operation.cancels_others:
        return
    require_none_scheduled(operation, unfinished)
    for task in unfinished:
        other = OPERATIONS[task.kind]
        removes = other.status_after_success is None
        if other.busy and (removes or other.status_while_running == instance.status):
            raise ApiError(other.busy)
    if operation.needs_every_node and (broken := blocking(incidents)):
        raise ApiError(errors.INSTANCE_RECOVERING, reason=reasons(broken))


def require_none_scheduled(operation: Operation[Any, Any], unfinished: Sequence[Task]) -> None:
    """ApiError if a task of the operation waits for the maintenance window: a second one would not know what the first
    one leaves."""
    if operation.busy and any(task.is_scheduled and task.kind == operation.kind for task in unfinished):
        raise ApiError(operation.busy)


def require_no_stopped_node(operation: Operation[Any, Any], nodes: Sequence[Node]) -> None:
    """ApiError if the operation needs every node, and the owner has stopped one."""
    stopped = [node.id for node in nodes if not node.should_run]
    if operation.needs_every_node and stopped:
        raise ApiError(errors.INSTANCE_NOT_RUNNING, reason=f"Node {stopped[0]} is stopped; start it first.")


def blocking(incidents: Sequence[Incident]) -> list[Incident]:
    """Return the incidents that block operations which need every node, although the instance serves."""
    return [incident for incident in incidents if incident.kind in ("broken_node", "silent_host")]


def reasons(incidents: Sequence[Incident]) -> str:
    """Return what the incidents say, as text for an error."""
    return "; ".join(incident.detail for incident in incidents)


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

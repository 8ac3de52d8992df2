"""Operations as the engine runs them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from cachewright import errors
from cachewright.model.tasks import Step, Task
from cachewright.operations import OPERATIONS
from cachewright.operations.actions import ACTIONS, POLICIES
from cachewright.operations.context import OperationContext
from cachewright.operations.instance_status import set_status_after
from cachewright.operations.operation import Operation
from cachewright.tasks.operation import ActionFailed, Policy, StepContext
from cachewright.valkey.client import NODE_GONE, NodeRefused


def executable_operations(context: OperationContext) -> Mapping[str, "ExecutableOperation"]:
    """Every operation, by kind, on the instances and hosts of this context."""
    return {kind: ExecutableOperation(operation, context) for kind, operation in OPERATIONS.items()}


@contextmanager
def node_errors_as_failures() -> Iterator[None]:
    """Turn errors of nodes into ActionFailed DCS.9004: a node does not respond, or refuses."""
    try:
        yield
    except NODE_GONE as error:
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"a node does not answer: {error}") from error
    except NodeRefused as error:
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"a node refuses: {error}") from error


class ExecutableOperation:
    """An operation in its context; see `tasks.operation.Operation`."""

    def __init__(self, operation: Operation[Any, Any], context: OperationContext) -> None:
        self._operation = operation
        self._context = context

    @property
    def policies(self) -> Mapping[str, Policy]:
        return POLICIES

    async def plan(self, task: Task) -> tuple[Step, ...]:
        with node_errors_as_failures():
            return await self._operation.plan(self._context, task)

    async def perform(self, action: str, step: StepContext) -> None:
        with node_errors_as_failures():
            await ACTIONS[action].perform(self._context, step)

    async def recover(self, task: Task) -> None:
        await self._operation.recover(self._context, task)

    def conclude(self, connection: sa.Connection, task: Task, recovered: bool) -> None:
        set_status_after(connection, task, recovered=recovered)
        if task.status == "SUCCESS" and self._operation.status_after_success is not None:
            self._operation.succeeded(self._context, connection, task)

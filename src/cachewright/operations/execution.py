"""Operations as the engine runs them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from cachewright import errors
from cachewright.hosts.calls import HostSilent
from cachewright.hosts.client_firewall import FirewallFailed
from cachewright.model.tasks import Control, Step, Task
from cachewright.operations import OPERATIONS, expected_duration
from cachewright.operations.actions import ACTIONS, POLICIES
from cachewright.operations.context import OperationContext
from cachewright.operations.instance_status import set_status_after
from cachewright.operations.operation import Operation
from cachewright.store import instances
from cachewright.tasks.operation import ActionFailed, Policy, StepContext
from cachewright.tasks.waiting import Postponed
from cachewright.valkey.client import NODE_GONE, NodeBusy, NodeRefused
from cachewright.valkey.replies import meaning_of
from cachewright.valkey.single_request import request_once

_PING_SECONDS = 1.0


def executable_operations(context: OperationContext) -> Mapping[str, "ExecutableOperation"]:
    """Every operation, by kind, on the instances and hosts of this context."""
    return {kind: ExecutableOperation(operation, context) for kind, operation in OPERATIONS.items()}


@contextmanager
def node_errors_as_failures() -> Iterator[None]:
    """Turn errors of nodes into ActionFailed DCS.9004: a node does not respond, or refuses. It is final if repeating
    the command cannot help."""
    try:
        yield
    except (HostSilent, FirewallFailed) as error:
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, str(error)) from error
    except NODE_GONE as error:
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"a node does not answer: {error}") from error
    except NodeRefused as error:
        is_final = meaning_of(str(error)).meaning == "final"
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"a node refuses: {error}", is_final) from error


class ExecutableOperation:
    """An operation in its context; see `tasks.operation.Operation`."""

    def __init__(self, operation: Operation[Any, Any], context: OperationContext) -> None:
        self._operation = operation
        self._context = context

    @property
    def policies(self) -> Mapping[str, Policy]:
        return POLICIES

    async def plan(self, task: Task) -> tuple[Step, ...]:
        with self._node_errors(task):
            return await self._operation.plan(self._context, task)

    async def perform(self, action: str, step: StepContext) -> None:
        with self._node_errors(step.task):
            await ACTIONS[action].perform(self._context, step)

    async def recover(self, task: Task) -> None:
        with self._node_errors(task):
            await self._operation.recover(self._context, task)

    def is_typical(self, task: Task, control: Control) -> bool:
        return self._operation.is_typical(task, control)

    def learn(self, connection: sa.Connection, task: Task) -> None:
        nodes = instances.nodes_of(connection, task.instance_id)
        expected_duration.learn(connection, self._operation, task, nodes)

    def conclude(self, connection: sa.Connection, task: Task, recovered: bool) -> None:
        set_status_after(connection, task, recovered=recovered)
        if task.status == "SUCCESS" and self._operation.status_after_success is not None:
            self._operation.succeeded(self._context, connection, task)

    @contextmanager
    def _node_errors(self, task: Task) -> Iterator[None]:
        """Turn NodeBusy into Postponed, and other errors of nodes into ActionFailed."""
        with node_errors_as_failures():
            try:
                yield
            except NodeBusy as busy:
                raise self._postponed(task, busy) from busy

    def _postponed(self, task: Task, busy: NodeBusy) -> Postponed:
        """The wait until the node accepts commands again, or until it does not answer at all."""

        async def is_over() -> bool:
            node = await self._context.node(task.instance_id, busy.node_id)
            if node is None:
                return True
            try:
                access = self._context.access(await self._context.instance(task))
            except LookupError:
                return True  # the instance is deleted, which the next attempt finds
            try:
                await request_once(node, access, [("PING",)], _PING_SECONDS)
            except NodeBusy:
                return False
            except (*NODE_GONE, NodeRefused):
                return True
            return True

        return Postponed(busy.status, is_over)

"""What all operations share: performing actions, and what the end of a task means for its instance."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import sqlalchemy as sa

from cachewright import errors
from cachewright.model.tasks import Step, Task
from cachewright.operations.actions import ACTIONS, POLICIES
from cachewright.operations.context import OperationContext
from cachewright.operations.instance_status import set_status_after
from cachewright.operations.kinds import Kind
from cachewright.tasks.operation import ActionFailed, Policy, StepContext
from cachewright.valkey.client import NODE_GONE, NodeRefused


@contextmanager
def answering() -> Iterator[None]:
    """ActionFailed DCS.9004 where a node does not answer, or refuses."""
    try:
        yield
    except NODE_GONE as error:
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"a node does not answer: {error}") from error
    except NodeRefused as error:
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"a node refuses: {error}") from error


class InstanceOperation:
    """Base of the operations; see `tasks.operation.Operation`."""

    kind: Kind

    def __init__(self, site: OperationContext) -> None:
        self.site = site

    @property
    def policies(self) -> Mapping[str, Policy]:
        return POLICIES

    async def plan(self, task: Task) -> tuple[Step, ...]:
        raise NotImplementedError

    async def perform(self, action: str, running: StepContext) -> None:
        with answering():
            await ACTIONS[action].perform(self.site, running)

    async def recover(self, task: Task) -> None:
        """Nothing to put in order."""

    def conclude(self, connection: sa.Connection, task: Task, recovered: bool) -> None:
        set_status_after(connection, task, recovered=recovered)
        if task.status == "SUCCESS" and self.kind.success is not None:
            self.succeeded(connection, task)

    def succeeded(self, connection: sa.Connection, task: Task) -> None:
        """What else of the instance has changed."""

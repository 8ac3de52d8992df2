"""Checking whether a resize could be done now, without doing any of it."""

from cachewright.operations.kinds import CHECK, PRE_CHECK
from cachewright.operations.operation import InstanceOperation
from cachewright.operations.resize import Resize
from cachewright.store.records import Step, Task


class Check(InstanceOperation):
    kind = CHECK

    async def plan(self, task: Task) -> tuple[Step, ...]:
        """The checks that the resize itself would begin with."""
        preview = await Resize(self.site).preview(task)
        return tuple(step for step in preview.steps if step.name == PRE_CHECK)

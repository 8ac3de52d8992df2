"""Checking whether a resize could be done now, without doing any of it."""

from cachewright.model.tasks import Step, Task
from cachewright.operations.kinds import CHECK, PRE_CHECK
from cachewright.operations.operation import InstanceOperation
from cachewright.operations.resize import Resize


class ResizeCheck(InstanceOperation):
    kind = CHECK

    async def plan(self, task: Task) -> tuple[Step, ...]:
        """The checks that the resize itself would begin with."""
        preview = await Resize(self.site).preview(task)
        return tuple(step for step in preview.steps if step.name == PRE_CHECK)

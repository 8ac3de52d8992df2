"""Check whether a resize would succeed now, without changing anything."""

from collections.abc import Sequence

from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Step, Task
from cachewright.operations.context import OperationContext
from cachewright.operations.operation import Accepted, Operation
from cachewright.operations.requests import ResizeRequest
from cachewright.operations.resize import request as resize_request
from cachewright.operations.resize.operation import RESIZE
from cachewright.operations.resize.request import ResizeParams
from cachewright.operations.step_names import PRE_CHECK
from cachewright.placement.capacity import Request as RoomRequest

_EXPECTED_SECONDS = 0.2


class ResizeCheck(Operation[ResizeRequest, ResizeParams]):
    kind = "check"
    name = "ResizeCheck"
    permission = "dcs:instance:scale"
    params = ResizeParams
    outline = (PRE_CHECK,)
    status_while_running = "RUNNING"

    def validate(self, instance: Instance, nodes: Sequence[Node], request: ResizeRequest) -> Accepted[ResizeParams]:
        return resize_request.validate(instance, nodes, request)

    def required_room(self, nodes: Sequence[Node], params: ResizeParams, dataset: int | None) -> RoomRequest:
        return resize_request.required_room(nodes, params, dataset)

    def expected_seconds(self, task: Task, nodes: Sequence[Node], dataset: int) -> float:
        return _EXPECTED_SECONDS

    async def plan(self, context: OperationContext, task: Task) -> tuple[Step, ...]:
        """The checks with which the resize itself would start."""
        return tuple(step for step in await RESIZE.preview_steps(context, task) if step.name == PRE_CHECK)


RESIZE_CHECK = ResizeCheck()

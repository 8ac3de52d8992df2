"""The declaration of an action: the function that performs a sub-step, its typed arguments and its policy."""

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import msgspec

from cachewright.model.tasks import Work
from cachewright.operations.context import OperationContext
from cachewright.tasks.operation import Policy, StepContext
from cachewright.tasks.plan import SubStepSpec

Arguments = TypeVar("Arguments", bound=msgspec.Struct)
Body = Callable[[OperationContext, StepContext, Arguments], Awaitable[None]]
"""Performs the sub-step of the given step context. It ensures its result, because it may run more than once, and raises
ActionFailed if it cannot."""


class NoArguments(msgspec.Struct, frozen=True):
    """Arguments of actions that need none."""


class NodeArguments(msgspec.Struct, frozen=True):
    """Arguments of actions on one node."""

    node_id: str


class Action(msgspec.Struct, Generic[Arguments], frozen=True):
    """:ivar name: name in stored plans. Names and fields of `arguments` never change.
    :ivar arguments: type that the arguments of a stored sub-step are decoded to.
    """

    name: str
    arguments: type[Arguments]
    policy: Policy
    body: Body[Arguments]

    def decode(self, stored: dict[str, Any]) -> Arguments:
        return msgspec.convert(stored, self.arguments, str_keys=True)  # as in JSON

    def sub_step(self, name: str, work: Work, arguments: Arguments, detail: str = "") -> SubStepSpec:
        """A sub-step that performs this action."""
        stored = msgspec.json.decode(msgspec.json.encode(arguments))
        return SubStepSpec(name=name, action=self.name, work=work, arguments=stored, detail=detail)

    async def perform(self, context: OperationContext, step: StepContext) -> None:
        await self.body(context, step, self.decode(step.sub_step.arguments))


def action(
    name: str,
    arguments: type[Arguments],
    *,
    timeout: float,
    attempts: int,
    first_delay: float = 0.5,
    stalled: float = 60.0,
    cancelling: float = 1.0,
) -> Callable[[Body[Arguments]], Action[Arguments]]:
    """Decorator that makes a function an action. For the times, in seconds, see `Policy`."""
    policy = Policy(timeout=timeout, attempts=attempts, first_delay=first_delay, stalled=stalled, cancelling=cancelling)
    return lambda body: Action(name, arguments, policy, body)

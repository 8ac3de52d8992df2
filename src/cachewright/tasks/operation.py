"""What the engine asks of an operation, and how an operation's sub-steps speak to the engine."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.errors import CachewrightError
from cachewright.model.tasks import Control, Step, SubStep, Task
from cachewright.tasks.recorder import TaskRecorder

HELD_SECONDS = 0.1
CANCELLED = errors.TASK_CANCELLED


class ActionFailed(CachewrightError):
    """A sub-step cannot go on.

    :ivar code: row of the error table, shown as the sub-step's `error_code`.
    :ivar final: trying again cannot help.
    """

    def __init__(self, code: str, message: str, final: bool = False) -> None:
        super().__init__(code, message, final)  # the arguments again, so that DBOS can store and restore it
        self.code = code
        self.message = message
        self.final = final


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How long one attempt may take, and how often it is tried. Seconds.

    :ivar stalled: how long the counters may stand still before the attempt is given up, where the action has such.
    """

    timeout: float
    attempts: int = 5
    first_delay: float = 0.5
    backoff: float = 2.0
    stalled: float = 60.0


PLAN, RECOVER = "plan", "recover"
"""What policies call making the plan and putting things in order after a failure."""


class StepContext:
    """One attempt at a sub-step: the sub-step, the control settings of its task, and a way to report progress."""

    def __init__(self, recorder: TaskRecorder, sub_step_id: str, policy: Policy) -> None:
        self._recorder = recorder
        self._id = sub_step_id
        self.policy = policy

    @property
    def task(self) -> Task:
        return self._recorder.task

    @property
    def sub_step(self) -> SubStep:
        return self._recorder.sub_step(self._id)

    async def wait_until_allowed(self, exceeds_ceiling: Callable[[float], Awaitable[bool]] | None = None) -> None:
        """Wait while the task is paused, or while `exceeds_ceiling` of its latency ceiling, in seconds, is true. Call
        it before each part of the work that can be left out. Raises ActionFailed DCS.9005 if the task is cancelled."""
        while True:
            control = self._recorder.control
            if control.state == "cancelled":
                raise ActionFailed(CANCELLED, "cancelled", True)
            ceiling = control.latency_ceiling_ms
            slow = ceiling is not None and exceeds_ceiling is not None and await exceeds_ceiling(ceiling / 1000)
            if control.state == "running" and not slow:
                return
            await asyncio.sleep(HELD_SECONDS)

    def is_cancelled(self) -> bool:
        return self._recorder.control.state == "cancelled"

    def one_batch_at_a_time(self) -> bool:
        """Whether the work must be divided into small parts, with a look at the latency before each."""
        return self._recorder.control.latency_ceiling_ms is not None

    async def is_throttled(self) -> bool:
        """Whether the control settings of this moment hold the task back in any way."""
        await self._recorder.write()  # reads the control settings as well
        control = self._recorder.control
        return Control(priority=control.priority) != control

    def prioritizes_speed(self) -> bool:
        """Whether the task may slow down clients."""
        return self._recorder.control.priority == "speed"

    @property
    def following(self) -> SubStep | None:
        """The next sub-step in the lane of this one."""
        own = self.sub_step
        step = next(step for step in self.task.steps if own in step.sub_steps)
        lane = [sub for sub in step.sub_steps if sub.work.lane == own.work.lane]
        return next(iter(lane[lane.index(own) + 1 :]), None)

    def measure(self, done: float | None = None, detail: str | None = None) -> None:
        """Report progress. `done` comes from a counter of a server, in the unit of the sub-step's work; `detail` is
        shown to clients, in the contract's brace form."""
        self._recorder.measure(self._id, done, detail)


class Operation(Protocol):
    """One kind of background task. Everything it does may be done twice, so everything is an ensure."""

    @property
    def policies(self) -> Mapping[str, Policy]:
        """By action, and for `PLAN` and `RECOVER`."""

    async def plan(self, task: Task) -> tuple[Step, ...]:
        """Looks at the instance as it is now and says what is to be done. ActionFailed where it cannot be."""

    async def perform(self, action: str, running: StepContext) -> None:
        """The body of a sub-step. ActionFailed where it could not be done."""

    async def recover(self, task: Task) -> None:
        """After a failure: leaves the instance usable, whatever the sub-steps left undone."""

    def conclude(self, connection: sa.Connection, task: Task, recovered: bool) -> None:
        """The instance's state after `task`, which has just ended, written in the same transaction as its end.
        `recovered` is False where the task failed and so did `recover`."""

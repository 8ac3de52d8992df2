"""The port between the engine and operations: what the engine runs, and what a running sub-step can use of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.errors import CachewrightError
from cachewright.model.tasks import Control, MigrationMode, Step, SubStep, Task
from cachewright.tasks import waits
from cachewright.tasks.recorder import TaskRecorder

CONTROL_POLL_SECONDS = 0.1
"""Pause between two looks at the control settings of a task that waits for them to change."""

CANCELLED = errors.TASK_CANCELLED


class ActionFailed(CachewrightError):
    """A sub-step, a plan or a recovery failed.

    :ivar code: row of the error table, shown as the sub-step's `error_code`.
    :ivar final: no further attempt can help.
    """

    def __init__(self, code: str, message: str, final: bool = False) -> None:
        super().__init__(code, message, final)  # the arguments again, so that DBOS can store and restore it
        self.code = code
        self.message = message
        self.final = final


def cancellation(control: Control) -> ActionFailed:
    """Failure of a cancelled task."""
    return ActionFailed(CANCELLED, control.cancellation, True)


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Time limits and attempts. Seconds.

    :ivar timeout: duration of one attempt.
    :ivar first_delay: pause before the second attempt; each later one is `backoff` times as long.
    :ivar stalled: time without progress after which an attempt is given up, for actions that count their progress.
    :ivar cancelling: time in which an attempt may end by itself after the task was cancelled, before it is cut short.
    """

    timeout: float
    attempts: int = 5
    first_delay: float = 0.5
    backoff: float = 2.0
    stalled: float = 60.0
    cancelling: float = 1.0


PLAN, RECOVER = "plan", "recover"
"""Names of the policies of `Operation.plan` and `Operation.recover`."""


class StepContext:
    """A running sub-step as its action sees it: its record, its progress, and the control settings of its task.

    It is the `MigrationControl` of an action that moves slots.
    """

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

    @property
    def beside(self) -> tuple[SubStep, ...]:
        """All sub-steps of the same step, with this one."""
        own = self.sub_step
        return next(step.sub_steps for step in self.task.steps if own in step.sub_steps)

    @property
    def following(self) -> SubStep | None:
        """The next sub-step of the same lane."""
        own = self.sub_step
        lane = [sub for sub in self.beside if sub.work.lane == own.work.lane]
        return next(iter(lane[lane.index(own) + 1 :]), None)

    def measure(
        self,
        done: float | None = None,
        detail: str | None = None,
        *,
        uncounted: float = 0.0,
        uncounted_busy: float = 0.0,
        scale: float | None = None,
    ) -> None:
        """Report progress: `done` in the unit of the sub-step's work, from a real counter; `detail` in the contract's
        brace form, without a status; `uncounted` is the work after `done` that passes now without a counter, and
        `uncounted_busy` the last part of it, which uses the processors. `scale` is the whole effort as known now, as a
        multiple of the planned one; None for no change."""
        self._recorder.measure(self._id, done, detail, uncounted=uncounted, uncounted_busy=uncounted_busy, scale=scale)

    def measure_ahead(
        self, sub_step_id: str, done: float, *, uncounted: float, uncounted_busy: float, scale: float | None
    ) -> None:
        """Report progress of another sub-step of the task that has not begun, as `measure` does of this one."""
        self._recorder.measure(sub_step_id, done, uncounted=uncounted, uncounted_busy=uncounted_busy, scale=scale)

    def show(self, status: str) -> None:
        """Show what is a part of the work, such as its turn among others, as the member `status` of the detail. An
        empty text ends the display."""
        self._recorder.show(self._id, status)

    def begin_wait(self, status: str, *, cause: str = "", seconds: float = 0.0) -> None:
        """Record and show that the sub-step has not been able to work for `seconds`. A repeated call changes the
        status; a wait for another cause follows the present one. The time counts in no limit and no estimate.

        :param status: what it waits for, without commas and braces.
        :param cause: the same without the progress of the wait, if `status` shows it.
        """
        self._recorder.begin_wait(self._id, status, cause=cause, seconds=seconds)

    def end_wait(self) -> None:
        """Record that the sub-step works again."""
        self._recorder.end_wait(self._id)

    def warn(self, text: str) -> None:
        """Add a warning to the task's message, once. It stays there when the task ends."""
        self._recorder.warn(text)

    async def wait_until_allowed(self, exceeds_ceiling: Callable[[float], Awaitable[bool]] | None = None) -> None:
        """Wait while the task is paused, or while `exceeds_ceiling` is true of its latency ceiling (seconds). An action
        calls it before each part of its work that can be omitted. ActionFailed DCS.9005 if the task is cancelled."""
        held_since = time.monotonic()
        try:
            while True:
                control = self._recorder.control
                if control.is_cancelled:
                    raise cancellation(control)
                ceiling = control.latency_ceiling_ms
                slow = ceiling is not None and exceeds_ceiling is not None and await exceeds_ceiling(ceiling / 1000)
                if control.state == "running" and not slow:
                    return
                if (held := time.monotonic() - held_since) > waits.SHORTEST_SECONDS:
                    self.begin_wait(waits.CEILING if control.state == "running" else waits.PAUSED, seconds=held)
                await asyncio.sleep(CONTROL_POLL_SECONDS)
        finally:
            self.end_wait()

    def raise_if_cancelled(self) -> None:
        """ActionFailed DCS.9005 if the task is cancelled."""
        if self.is_cancelled():
            raise cancellation(self._recorder.control)

    def is_cancelled(self) -> bool:
        return self._recorder.control.is_cancelled

    def is_paused(self) -> bool:
        return self._recorder.control.state == "paused"

    async def is_throttled(self) -> bool:
        """Whether the task is paused, cancelled or limited in any way. Reads the current settings."""
        await self._recorder.write(waiting=self._id)  # which reads the control settings
        control = self._recorder.control
        return Control(mode=control.mode) != control

    def mode(self) -> MigrationMode:
        """How the next batch of slots moves."""
        return self._recorder.control.mode


class Operation(Protocol):
    """One kind of background task. All of its methods may run twice, so each ensures its result."""

    @property
    def policies(self) -> Mapping[str, Policy]:
        """By action, and for `PLAN` and `RECOVER`."""

    async def plan(self, task: Task) -> tuple[Step, ...]:
        """Read the present state of the instance and return the steps. ActionFailed if that is not possible."""

    async def perform(self, action: str, step: StepContext) -> None:
        """Perform a sub-step. ActionFailed if it fails."""

    async def recover(self, task: Task) -> None:
        """Leave the instance usable after a failure, at whichever sub-step it happened."""

    def is_typical(self, task: Task, control: Control) -> bool:
        """Whether a task that has succeeded shows how fast its rates are. Pure."""

    def learn(self, connection: sa.Connection, task: Task) -> None:
        """Learn from a typical task that has succeeded."""

    def conclude(self, connection: sa.Connection, task: Task, recovered: bool) -> None:
        """Writes the instance's state after `task`, which has just ended, in the same transaction as its end.
        `recovered` is False if the task and `recover` failed."""

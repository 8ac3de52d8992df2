"""Cancellation of a task while it works or waits: for a node, a permit, its next attempt.

An attempt that is cut short leaves what a crash of the server leaves, and every action can run again after a crash.
"""

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

from cachewright.concurrency import end_tasks
from cachewright.tasks.operation import CONTROL_POLL_SECONDS, ActionFailed, Policy, cancellation
from cachewright.tasks.recorder import TaskRecorder
from cachewright.tasks.waiting import ShowWait
from cachewright.tasks.waits import NEXT_ATTEMPT, SHORTEST_SECONDS

_DELETION_SECONDS = 5.0
"""Maximum time that an attempt gets to end by itself if its instance is deleted."""

_CLEANUP_SECONDS = 15.0
"""Time for an attempt that is cut short to reset the settings that it has changed on its nodes."""

Result = TypeVar("Result")


class Interruption:
    """Tells whether the attempts of a running task must end: it is cancelled, or another worker has taken it over."""

    def __init__(self, recorder: TaskRecorder, sub_step_id: str | None = None, *, recovering: bool = False) -> None:
        """:param sub_step_id: the sub-step of the attempts; None for a plan or a recovery.
        :param recovering: the attempts follow a cancellation, so that only a deletion interrupts them."""
        self._recorder = recorder
        self._sub_step_id = sub_step_id
        self._recovering = recovering

    def reason(self) -> Exception | None:
        control = self._recorder.control
        if control.for_deletion or (control.is_cancelled and not self._recovering):
            return cancellation(control)
        return self._recorder.stale

    async def limit(self, policy: Policy, act: Awaitable[Result]) -> Result:
        """Return the result of one attempt. Once it is interrupted, let it end by itself for a while, then cut it short
        and raise the reason. Raises TimeoutError after `policy.timeout` seconds, without the waits of the sub-step."""
        running = asyncio.ensure_future(act)
        started_at = self._working_seconds()
        interrupted_at: float | None = None
        try:
            while not running.done():
                await asyncio.wait({running}, timeout=CONTROL_POLL_SECONDS)
                if not running.done() and self._working_seconds() - started_at > policy.timeout:
                    raise TimeoutError
                reason = self.reason()
                if reason is None or running.done():
                    continue
                interrupted_at = interrupted_at or time.monotonic()
                if time.monotonic() - interrupted_at >= self._grace(policy):
                    raise reason
            return running.result()
        finally:
            await end_tasks(running, cancel_again_seconds=_CLEANUP_SECONDS)

    def _working_seconds(self) -> float:
        """Seconds of a clock that stands still while the sub-step waits."""
        waited = self._recorder.waited_seconds(self._sub_step_id) if self._sub_step_id else 0.0
        return time.monotonic() - waited

    def _grace(self, policy: Policy) -> float:
        if self._recorder.control.for_deletion:
            return min(policy.cancelling, _DELETION_SECONDS)
        return policy.cancelling


class RetryDelay:
    """The pauses between the attempts of one sub-step. After an interruption there is no further attempt."""

    def __init__(self, policy: Policy, interruption: Interruption, show: ShowWait) -> None:
        self._seconds = policy.first_delay
        self._backoff = policy.backoff
        self._left = policy.attempts - 1
        self._interruption = interruption
        self._show = show

    async def is_retried(self, error: BaseException) -> bool:
        """Wait until the next attempt may start, if one is left. False if the error rules out further attempts."""
        if not isinstance(error, ActionFailed) or error.final:
            return False
        end = time.monotonic() + (self._seconds if self._left else 0.0)
        self._seconds *= self._backoff
        self._left -= 1
        if end - time.monotonic() > SHORTEST_SECONDS:
            self._show(NEXT_ATTEMPT, 0.0)
        try:
            while (pause := end - time.monotonic()) > 0 and not self._interruption.reason():
                await asyncio.sleep(min(pause, CONTROL_POLL_SECONDS))
        finally:
            self._show("", 0.0)
        return not self._interruption.reason()

"""Limit on concurrent sub-steps, which also holds sub-steps of a paused or cancelled task."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cachewright.tasks import waits
from cachewright.tasks.operation import CONTROL_POLL_SECONDS, cancellation
from cachewright.tasks.recorder import TaskRecorder


class ConcurrencyLimiter:
    """Limits one step. Reads the control settings before each sub-step, so they can change while the step runs."""

    def __init__(self, recorder: TaskRecorder) -> None:
        self._recorder = recorder
        self._running = 0

    @asynccontextmanager
    async def turn(self, sub_step_id: str) -> AsyncIterator[None]:
        """Wait until the sub-step may start. ActionFailed DCS.9005 if the task is cancelled."""
        while True:
            control = self._recorder.control
            if control.state == "paused":
                self._recorder.begin_wait(sub_step_id, waits.PAUSED)
            else:
                self._recorder.end_wait(sub_step_id)
            if control.is_cancelled:
                raise cancellation(control)
            if control.state == "running" and self._running < (control.parallel or self._running + 1):
                break
            await asyncio.sleep(CONTROL_POLL_SECONDS)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

"""The limit of sub-steps that run side by side, and the hold of a task that is paused or cancelled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cachewright.tasks.operation import CANCELLED, CONTROL_POLL_SECONDS, ActionFailed
from cachewright.tasks.recorder import TaskRecorder


class ConcurrencyLimiter:
    """Limits one step. The settings are read before each turn, so they can change while the step runs."""

    def __init__(self, recorder: TaskRecorder) -> None:
        self._recorder = recorder
        self._running = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits until one more sub-step may start. ActionFailed DCS.9005 where the task is cancelled."""
        while True:
            control = self._recorder.control
            if control.state == "cancelled":
                raise ActionFailed(CANCELLED, "cancelled", True)
            if control.state == "running" and self._running < (control.parallel or self._running + 1):
                break
            await asyncio.sleep(CONTROL_POLL_SECONDS)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

"""Who may start the next sub-step: how many lanes run side by side, and whether the task is paused or cancelled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cachewright.tasks.operation import CANCELLED, HELD_SECONDS, ActionFailed
from cachewright.tasks.recorder import TaskRecorder


class ConcurrencyLimiter:
    """Of one step. The limits are read anew before each turn, so they can change while the step runs."""

    def __init__(self, ledger: TaskRecorder) -> None:
        self._ledger = ledger
        self._running = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits until one more sub-step may start. ActionFailed DCS.9005 where the task is to be cancelled."""
        while True:
            control = self._ledger.control
            if control.state == "cancelled":
                raise ActionFailed(CANCELLED, "cancelled", True)
            if control.state == "running" and self._running < (control.parallel or self._running + 1):
                break
            await asyncio.sleep(HELD_SECONDS)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

"""A permit of the host for a batch, which a batch that waits gives back before its end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

_WAITS = "waiting for a permit of the host"


class Permit:
    """One of the `permits` of a host."""

    def __init__(self, permits: asyncio.Semaphore) -> None:
        self._permits = permits
        self._is_held = False

    @asynccontextmanager
    async def hold(self, show: Callable[[str], None]) -> AsyncIterator[None]:
        """Hold the permit until the end of the `with` block, or until `give_back`. `show` shows the wait for it."""
        if self._permits.locked():
            show(_WAITS)
        try:
            await self._permits.acquire()
        finally:
            show("")
        self._is_held = True
        try:
            yield
        finally:
            self.give_back()

    def give_back(self) -> None:
        if self._is_held:
            self._is_held = False
            self._permits.release()

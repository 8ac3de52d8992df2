"""Starts of processes that are repeated with growing pauses while they fail."""

import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable

import msgspec

from cachewright.hosts.host import NodeStartFailed
from cachewright.logs import RARELY

log = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0


class _Pause(msgspec.Struct):
    """Failed starts in a row, the earliest time of the next one in seconds of the monotonic clock, and the reason of
    the last failure."""

    failed: int = 0
    until: float = 0.0
    failure: str = ""


class RepeatedStarts:
    def __init__(self) -> None:
        self._pauses: dict[str, _Pause] = defaultdict(_Pause)

    async def attempt(self, name: str, start: Callable[[], Awaitable[None]]) -> str | None:
        """Call `start`, unless the last failure was just now. Return why the process does not run, None if it does."""
        pause, now = self._pauses[name], time.monotonic()
        if now < pause.until:
            return pause.failure
        try:
            await start()
        except (NodeStartFailed, OSError, TimeoutError) as failure:
            pause.failed += 1
            pause.until = now + min(_FIRST_PAUSE * 2**pause.failed, _LONGEST_PAUSE)
            pause.failure = str(failure)
            log.error("%s does not start: %s", name, failure, extra=RARELY)
            return pause.failure
        del self._pauses[name]
        return None

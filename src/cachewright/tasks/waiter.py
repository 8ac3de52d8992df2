"""Wait until a temporary state that delays an attempt of a task has passed, and show and log the wait."""

import asyncio
import logging
import time
from collections.abc import Callable

from cachewright.tasks.interruption import Interruption
from cachewright.tasks.waiting import Postponed

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.25
_ANNOUNCED_SECONDS = 0.5
"""Time after which a wait is shown and logged. Nodes load their data for a moment at every start."""


class Waiter:
    """The waits of one attempt and of its repetitions."""

    def __init__(self, about: str, show: Callable[[str], None], interruption: Interruption) -> None:
        """Prepare to wait.

        :param about: the beginning of each line in the log.
        :param show: shows what is waited for; an empty text afterwards.
        :param interruption: ends attempts and waits.
        """
        self._about = about
        self._show = show
        self.interruption = interruption
        self._since: float | None = None
        self._logged = ""

    async def wait(self, postponed: Postponed) -> None:
        """Return when the state has passed. Raises the reason of an interruption."""
        since = self._since = self._since or time.monotonic()
        try:
            while True:
                await asyncio.sleep(_POLL_SECONDS)
                if reason := self.interruption.reason():
                    raise reason
                if await postponed.is_over():
                    break
                if time.monotonic() - since > _ANNOUNCED_SECONDS:
                    self._announce(postponed.status)
        finally:
            self._show("")

    def ended(self) -> None:
        """Log that the attempt goes on after a wait that was logged."""
        if self._logged and self._since is not None:
            log.warning("%s: continued after %.1f s", self._about, time.monotonic() - self._since)
        self._logged, self._since = "", None

    def _announce(self, status: str) -> None:
        self._show(status)
        if status != self._logged:
            self._logged = status
            log.warning("%s: %s", self._about, status)

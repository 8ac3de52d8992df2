"""Wait until a temporary state that delays an attempt of a task has passed, and show and log the wait."""

import asyncio
import logging
import time

from cachewright.errors import DatabaseUnavailable
from cachewright.tasks.interruption import Interruption
from cachewright.tasks.recorder import DATABASE_SECONDS
from cachewright.tasks.waiting import Postponed, ShowWait
from cachewright.tasks.waits import DATABASE

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 5.0
"""Longest pause before an attempt that is postponed again and again. The pause doubles each time."""

_ANNOUNCED_SECONDS = 0.5
"""Time after which a wait is shown and logged. Nodes load their data for a moment at every start."""


class Waiter:
    """The waits of one attempt and of its repetitions."""

    def __init__(self, about: str, show: ShowWait, interruption: Interruption) -> None:
        """Prepare to wait.

        :param about: the beginning of each line in the log.
        :param interruption: ends attempts and waits.
        """
        self._about = about
        self._show = show
        self.interruption = interruption
        self._since: float | None = None
        self._pause = _POLL_SECONDS
        self._logged = ""

    async def wait(self, postponed: Postponed) -> None:
        """Return when the state seems to have passed. Raises the reason of an interruption.

        A node may answer although it still refuses the commands of the attempt. Such a wait is shown and logged by the
        time since the first one, and becomes longer with each repetition.
        """
        now = time.monotonic()
        since = self._since = self._since or now
        repeated_at = now + self._pause
        self._pause = min(self._pause * 2, _LONGEST_PAUSE_SECONDS)
        try:
            while True:
                if time.monotonic() - since > _ANNOUNCED_SECONDS:
                    self._announce(postponed.status, time.monotonic() - now)
                await asyncio.sleep(_POLL_SECONDS)
                if reason := self.interruption.reason():
                    raise reason
                if time.monotonic() >= repeated_at and await self._is_over(postponed):
                    break
        finally:
            self._show("", 0.0)

    async def wait_for_database(self, error: DatabaseUnavailable) -> None:
        """Wait before an attempt is repeated because the database was unavailable."""
        log.warning("%s: database unavailable, retrying: %s", self._about, error)
        self._show(DATABASE, 0.0)
        try:
            await asyncio.sleep(DATABASE_SECONDS)
        finally:
            self._show("", 0.0)

    async def _is_over(self, postponed: Postponed) -> bool:
        """Whether the state seems to have passed. An unavailable database tells nothing."""
        try:
            return await postponed.is_over()
        except DatabaseUnavailable as error:
            log.warning("%s: database unavailable, retrying: %s", self._about, error)
            await asyncio.sleep(DATABASE_SECONDS)
            return False

    def ended(self) -> None:
        """Log that the attempt goes on after a wait that was logged."""
        if self._logged and self._since is not None:
            log.warning("%s: continued after %.1f s", self._about, time.monotonic() - self._since)
        self._logged, self._since, self._pause = "", None, _POLL_SECONDS

    def _announce(self, status: str, seconds: float) -> None:
        self._show(status, seconds)
        if status != self._logged:
            self._logged = status
            log.warning("%s: %s", self._about, status)

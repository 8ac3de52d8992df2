"""Waiting of a task for a state that passes by itself, such as a script on a node. It is no failure of the attempt."""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable

from cachewright.errors import CachewrightError

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.25
_ANNOUNCED_SECONDS = 0.5
"""Time after which a wait is shown and logged. Nodes load their data for a moment at every start."""

_STATUS = re.compile(r",?status:[^,{}]*(?=[,}])")


class Postponed(CachewrightError):
    """The attempt can continue only when a state has passed. The engine waits for that, without a limit, and runs the
    attempt again.

    :ivar status: what the task waits for, without commas and braces: it becomes a member of the `detail`.
    :ivar is_over: returns whether the state has passed.
    """

    def __init__(self, status: str, is_over: Callable[[], Awaitable[bool]]) -> None:
        super().__init__(status)
        self.status = status
        self.is_over = is_over


class Waiter:
    """The waits of one attempt and of its repetitions."""

    def __init__(self, about: str, show: Callable[[str], None], check: Callable[[], Awaitable[None]]) -> None:
        """Prepare to wait.

        :param about: the beginning of each line in the log.
        :param show: shows what is waited for; an empty text afterwards.
        :param check: raises an error if the task must not wait any longer.
        """
        self._about = about
        self._show = show
        self._check = check
        self._since: float | None = None
        self._logged = ""

    async def wait(self, postponed: Postponed) -> None:
        """Return when the state has passed."""
        since = self._since = self._since or time.monotonic()
        try:
            while True:
                await asyncio.sleep(_POLL_SECONDS)
                await self._check()
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


def with_status(detail: str, status: str) -> str:
    """Return a `detail` in the contract's brace form with a last member `status`, or without it if `status` is
    empty."""
    detail = without_status(detail)
    if not status:
        return detail
    members = detail[1:-1] if detail.startswith("{") and detail.endswith("}") else ""
    return f"{{{members},status:{status}}}" if members else f"{{status:{status}}}"


def without_status(detail: str) -> str:
    """Return a `detail` without its member `status`; an empty text if it has no other."""
    rest = _STATUS.sub("", detail).replace("{,", "{")
    return "" if rest == "{}" else rest

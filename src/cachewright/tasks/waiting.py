"""Waits of a task for a temporary state, such as a script on a node, and how a `detail` shows them. Such a wait is no
failure of the attempt."""

import re
from collections.abc import Awaitable, Callable

from cachewright.errors import CachewrightError

_STATUS = re.compile(r",?status:([^,{}]*)(?=[,}])")

ShowWait = Callable[[str, float], None]
"""Records and shows a wait: what is waited for, and for how many seconds already. An empty text ends the wait."""


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


def with_status(detail: str, status: str) -> str:
    """Return a `detail` in the contract's brace form with a last member `status`, or without it if `status` is
    empty."""
    detail = without_status(detail)
    if not status:
        return detail
    members = detail[1:-1] if detail.startswith("{") and detail.endswith("}") else ""
    return f"{{{members},status:{status}}}" if members else f"{{status:{status}}}"


def status_of(detail: str) -> str:
    """Return the member `status` of a `detail`; an empty text if it has none."""
    found = _STATUS.search(detail)
    return found[1] if found else ""


def without_status(detail: str) -> str:
    """Return a `detail` without its member `status`; an empty text if it has no other."""
    rest = _STATUS.sub("", detail).replace("{,", "{")
    return "" if rest == "{}" else rest

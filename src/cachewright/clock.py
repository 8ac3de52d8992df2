"""The time, as it is stored: UTC epoch milliseconds."""

import time
from collections.abc import Callable

Clock = Callable[[], int]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def steady_from(not_before: int) -> Clock:
    """A clock that starts now, or at `not_before` where the system's says less, and then runs evenly: a system clock
    that is set back or forward meanwhile neither turns times around nor makes work look slow."""
    begin, begun = max(now_ms(), not_before), time.monotonic_ns()
    return lambda: begin + (time.monotonic_ns() - begun) // 1_000_000

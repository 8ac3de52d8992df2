"""Time as UTC epoch milliseconds."""

import time
from collections.abc import Callable

Clock = Callable[[], int]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def steady_from(not_before: int) -> Clock:
    """A monotonic clock that starts at the present time, or at `not_before` if that is later. Changes of the system
    clock do not affect it."""
    begin, begun = max(now_ms(), not_before), time.monotonic_ns()
    return lambda: begin + (time.monotonic_ns() - begun) // 1_000_000

"""The time: UTC epoch milliseconds, as it is stored, and as text. Times of a machine that may have slept."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], int]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def boot_time() -> float:
    """Seconds since the machine was started. Unlike the monotonic clock, it also counts while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def rfc3339(milliseconds: int) -> str:
    """`2020-06-17T07:38:42.503Z`."""
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03}Z"


def steady_from(not_before: int) -> Clock:
    """A monotonic clock that starts at the present time, or at `not_before` if that is later. Changes of the system
    clock do not affect it."""
    begin, begun = max(now_ms(), not_before), time.monotonic_ns()
    return lambda: begin + (time.monotonic_ns() - begun) // 1_000_000

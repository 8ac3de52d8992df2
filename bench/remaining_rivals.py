"""Estimates of the remaining time from the percent alone, as other tools compute them. Pure."""

from collections import deque
from collections.abc import Iterable, Sequence

import msgspec

NAIVE = "elapsed / percent"
WINDOWED = "windowed rate"
RIVALS = (NAIVE, WINDOWED)

_MARKS = 10
_MARK_SECONDS = 1.0
"""Linux md keeps ten marks, three seconds apart, for resyncs of hours; the tasks here take seconds to minutes."""


class Shown(msgspec.Struct, frozen=True):
    """A percent that was read at a time, in seconds."""

    at: float
    percent: float


def elapsed_by_percent(begun: float, now: Shown) -> float | None:
    """Elapsed time x (100 - percent) / percent; None at 0 %."""
    return (now.at - begun) * (100 - now.percent) / now.percent if now.percent else None


def windowed_rate(begun: float, shown: Iterable[Shown]) -> float | None:
    """The rest by the rate of the last ten marks, as in md_do_sync and status_resync of the Linux kernel; None if the
    percent has not grown since the oldest mark. `shown`: all percents up to now.

    A mark is set when the percent grows: md counts sectors, and an integer percent is exact only at that moment."""
    first = Shown(begun, 0)
    marks = deque([first] * _MARKS, maxlen=_MARKS)
    oldest, now = first, first
    for now in shown:
        if now.at >= marks[-1].at + _MARK_SECONDS and now.percent > marks[-1].percent:
            oldest = marks[0]
            marks.append(now)
    grown = now.percent - oldest.percent
    return (100 - now.percent) * (now.at - oldest.at) / grown if grown > 0 else None


def remaining_by(rival: str, begun: float, shown: Sequence[Shown]) -> float | None:
    """The rival's estimate at the last of the percents."""
    return elapsed_by_percent(begun, shown[-1]) if rival == NAIVE else windowed_rate(begun, shown)

"""Estimates of the remaining time from the percent alone, as other tools compute them. Pure."""

from collections.abc import Sequence
from itertools import pairwise

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


def windowed_rate(begun: float, shown: Sequence[Shown]) -> float | None:
    """The rest by the rate since the oldest mark, as in md_do_sync and status_resync of the Linux kernel; None if the
    percent has not grown since then. `shown`: all percents up to now."""
    now = shown[-1]
    passed = int((now.at - begun) / _MARK_SECONDS)
    since = begun + max(passed - _MARKS, 0) * _MARK_SECONDS
    grown = now.percent - _percent_at(since, [Shown(begun, 0), *shown])
    return (100 - now.percent) * (now.at - since) / grown if grown > 0 else None


def _percent_at(at: float, shown: Sequence[Shown]) -> float:
    """The percent at a time between readings. It is an integer, so it is exact only when it has just grown."""
    grown = [after for before, after in pairwise([Shown(0, -1), *shown]) if after.percent > before.percent]
    for before, after in pairwise(grown):
        if at < after.at:
            return before.percent + (after.percent - before.percent) * (at - before.at) / (after.at - before.at)
    return grown[-1].percent


def remaining_by(rival: str, begun: float, shown: Sequence[Shown]) -> float | None:
    """The rival's estimate at the last of the percents."""
    return elapsed_by_percent(begun, shown[-1]) if rival == NAIVE else windowed_rate(begun, shown)

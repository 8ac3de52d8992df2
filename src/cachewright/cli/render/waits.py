"""Words for the waits and the remaining time of a task. Pure."""

from datetime import datetime, timedelta

from cachewright.client.progress import Progress, Wait

_PAUSED = "paused"

_TOLD_PERCENT = 10
"""Smallest difference between the effort and the planned one that is shown."""


def wait_text(wait: Wait, now: datetime | None = None) -> str:
    """`paused since 12:03:10 (40 s)`, `waiting since 12:03:10 (40 s): the latency ceiling`; without `now`, no
    duration."""
    if wait.since is None:
        since = ""
    else:
        since = f" since {clock_time(wait.since)}"
        if now is not None:
            since += f" ({_duration(now - wait.since)})"
    return f"{_PAUSED}{since}" if wait.cause == _PAUSED else f"waiting{since}: {wait.cause}"


def clock_time(moment: datetime) -> str:
    """The local time of day."""
    return f"{moment.astimezone():%H:%M:%S}"


def ago(moment: datetime, now: datetime) -> str:
    """`12:03:10, 40 s ago`."""
    return f"{clock_time(moment)}, {_duration(now - moment)} ago"


def left(progress: Progress) -> str:
    """`12 s left`, `12 s left, 9 to 18 s` if the interval is known, and with `; 30 % less work than planned`. Empty
    after the end."""
    if not progress.remaining:
        return ""
    return f"{progress.remaining} s left{_interval(progress.remaining, progress)}{_change(progress.effort)}"


def _interval(seconds: int, progress: Progress) -> str:
    """The interval in whole seconds. It includes the estimate, which is at least 1 s."""
    if not progress.high or progress.low is None:
        return ""
    low, high = min(max(round(progress.low), 1), seconds), max(round(progress.high), seconds)
    return f", {low} to {high} s" if low < high else ""


def _change(effort: float) -> str:
    percent = round(100 * abs(effort - 1))
    return f"; {percent} % {'more' if effort > 1 else 'less'} work than planned" if percent >= _TOLD_PERCENT else ""


def _duration(time: timedelta) -> str:
    """`40 s`, `2 min 05 s`, `3 h 05 min`."""
    minutes, seconds = divmod(max(round(time.total_seconds()), 0), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"

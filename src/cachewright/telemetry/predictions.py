"""Accuracy of the remaining time of a task: errors of its estimates, and whether it ended within their intervals. Pure.

Errors at a percent are in the task's record (`Task.forecasts`). The estimate of the plan, before any work, and all
intervals come from the changes of the task that this server has published.
"""

from collections.abc import Iterator
from typing import Literal

import msgspec

from cachewright.model.tasks import Task

AT_BEGIN = 0
"""The mark of the estimate of the plan."""

Held = Literal["held", "earlier", "later"]
"""Whether a task ended within its interval, earlier or later."""

HELD: tuple[Held, ...] = ("held", "earlier", "later")


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """Estimate at a percent. `at` is in epoch milliseconds, the other times are in seconds from there; `low` and `high`
    are None without an interval."""

    mark: int
    at: int
    remaining: float
    low: float | None = None
    high: float | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """An estimate of a task that has succeeded.

    :ivar error: error of the estimated end as a share of the task's duration, negative if too early.
    :ivar held: None without an interval.
    """

    mark: int
    error: float
    held: Held | None = None


def latest(task: Task, known: tuple[Prediction, ...]) -> tuple[Prediction, ...]:
    """Add the estimate of a running task if it is the first one, or if the percent has reached a new mark."""
    if task.status != "EXECUTING" or task.estimated_at is None:
        return known
    mark = task.forecasts[-1].percent if task.forecasts else AT_BEGIN
    if any(prediction.mark == mark for prediction in known) or (mark == AT_BEGIN and task.percent):
        return known
    if mark != AT_BEGIN and task.forecasts[-1].at != task.estimated_at:
        return known
    interval = (task.remaining_low, task.remaining_high) if task.remaining_high else (None, None)
    low, high = interval
    told = Prediction(mark=mark, at=task.estimated_at, remaining=task.remaining_seconds, low=low, high=high)
    return (*known, told)


def outcomes(task: Task, known: tuple[Prediction, ...]) -> Iterator[Outcome]:
    """The outcome of each estimate of a task that has succeeded: those of the record, and that of the plan if this
    server has seen it."""
    if task.status != "SUCCESS" or task.begin_time is None or task.end_time is None:
        return
    seen = {prediction.mark: prediction for prediction in known}
    errors = {forecast.percent: forecast.error for forecast in task.forecasts if forecast.error is not None}
    if plan := seen.get(AT_BEGIN):
        duration = max(task.end_time - task.begin_time, 1)
        errors[AT_BEGIN] = (plan.at + plan.remaining * 1000 - task.end_time) / duration
    for mark, error in sorted(errors.items()):
        yield Outcome(mark=mark, error=error, held=_held(seen.get(mark), task.end_time))


def _held(told: Prediction | None, end: int) -> Held | None:
    if told is None or told.low is None or told.high is None:
        return None
    seconds = (end - told.at) / 1000
    return "earlier" if seconds < told.low else "later" if seconds > told.high else "held"

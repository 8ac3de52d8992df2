"""Accuracy of a task's estimates. Pure."""

from msgspec.structs import replace

from cachewright.model.tasks import Forecast
from cachewright.tasks.progress import Estimate

MARKS = (10, 25, 50, 75, 90)
"""Percents at which an estimate is stored."""


def with_forecast(forecasts: tuple[Forecast, ...], current: Estimate, now: int) -> tuple[Forecast, ...]:
    """Add the estimate if the percent has reached a new mark. Skipped marks are not added."""
    reached = [mark for mark in MARKS if mark <= current.percent]
    if not reached or any(forecast.percent == reached[-1] for forecast in forecasts):
        return forecasts
    reached_now = Forecast(
        percent=reached[-1],
        at=now,
        remaining_seconds=current.remaining_seconds,
        low=current.low,
        high=current.high,
    )
    return (*forecasts, reached_now)


def with_errors(forecasts: tuple[Forecast, ...], begin: int | None, end: int) -> tuple[Forecast, ...]:
    """Add the errors of estimates after the end of the task."""
    duration = max(end - (begin if begin is not None else end), 1)
    return tuple(
        replace(forecast, error=(forecast.at + forecast.remaining_seconds * 1000 - end) / duration)
        for forecast in forecasts
    )

"""How well a task predicted its own end. Pure."""

from cachewright.model.tasks import Forecast
from cachewright.tasks.progress import Estimate

MARKS = (10, 25, 50, 75, 90)
"""Percents at which a prediction is kept."""


def with_forecast(kept: tuple[Forecast, ...], shown: Estimate, now: int) -> tuple[Forecast, ...]:
    """Keeps what is predicted when the percent first reaches a mark. Marks that are jumped over are kept as one."""
    reached = [mark for mark in MARKS if mark <= shown.percent]
    if not reached or any(forecast.percent == reached[-1] for forecast in kept):
        return kept
    return (*kept, Forecast(percent=reached[-1], at=now, remaining_seconds=shown.remaining_seconds))


def judged(kept: tuple[Forecast, ...], begin: int | None, end: int) -> tuple[Forecast, ...]:
    """The predictions with their errors, once the end is known."""
    duration = max(end - (begin if begin is not None else end), 1)
    return tuple(
        Forecast(
            percent=forecast.percent,
            at=forecast.at,
            remaining_seconds=forecast.remaining_seconds,
            error=(forecast.at + forecast.remaining_seconds * 1000 - end) / duration,
        )
        for forecast in kept
    )

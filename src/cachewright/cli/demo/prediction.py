"""Accuracy of a task's remaining time, beside what its percent alone would say, and decreases of its percent. Pure."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

import msgspec

_FROM_PERCENT = 10


class ProgressSample(msgspec.Struct, frozen=True):
    """Progress that a client read at time `at`, in seconds."""

    at: float
    percent: int
    remaining: int | None


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Estimate that the task's record keeps: when its progress reached `percent`, at time `at`. Seconds."""

    percent: int
    at: float
    remaining: float


class AtMark(msgspec.Struct, frozen=True, kw_only=True):
    """Errors of the estimated end at a percent, as shares of the task's duration; negative if it was too early.

    :ivar error: of the task's own estimate.
    :ivar extrapolated: of elapsed time x (100 - percent) / percent.
    """

    percent: int
    error: float
    extrapolated: float


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """Errors of the estimated end, in seconds and as shares of the task's duration.

    :ivar planned_seconds: duration that was expected before the request; None if it was not asked for.
    :ivar planned_share: its error, negative if too short.
    """

    samples: int
    median_seconds: float
    worst_seconds: float
    median_share: float
    worst_share: float
    planned_seconds: float | None = None
    planned_share: float | None = None
    marks: tuple[AtMark, ...] = ()


def accuracy(
    samples: Sequence[ProgressSample],
    begin: float,
    end: float,
    estimates: Sequence[Estimate] = (),
    planned: float | None = None,
) -> Prediction | None:
    """Errors of the estimates from 10 % to the end of the task; None without an estimate.

    :param samples: what a client has seen, in whole seconds.
    :param estimates: those of the task's record.
    :param planned: expected duration before the request.
    """
    errors = [
        abs(sample.at + sample.remaining - end)
        for sample in samples
        if sample.remaining is not None and _FROM_PERCENT <= sample.percent < 100 and begin <= sample.at < end
    ]
    if not errors or end <= begin:
        return None
    return Prediction(
        samples=len(errors),
        median_seconds=median(errors),
        worst_seconds=max(errors),
        median_share=median(errors) / (end - begin),
        worst_share=max(errors) / (end - begin),
        planned_seconds=planned,
        planned_share=None if planned is None else (planned - (end - begin)) / (end - begin),
        marks=tuple(_at_mark(estimate, begin, end) for estimate in estimates if estimate.percent),
    )


def _at_mark(estimate: Estimate, begin: float, end: float) -> AtMark:
    extrapolated = (estimate.at - begin) * (100 - estimate.percent) / estimate.percent
    return AtMark(
        percent=estimate.percent,
        error=(estimate.at + estimate.remaining - end) / (end - begin),
        extrapolated=(estimate.at + extrapolated - end) / (end - begin),
    )


def descents(samples: Sequence[ProgressSample]) -> list[tuple[int, int]]:
    """Each decrease of the percent, as (from, to)."""
    return [(before.percent, after.percent) for before, after in pairwise(samples) if after.percent < before.percent]

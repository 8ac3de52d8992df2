"""Accuracy of a task's remaining time, and decreases of its percent. Pure."""

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


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """Errors of the estimated end, in seconds and as shares of the task's duration."""

    samples: int
    median_seconds: float
    worst_seconds: float
    median_share: float
    worst_share: float


def accuracy(samples: Sequence[ProgressSample], begin: float, end: float) -> Prediction | None:
    """Errors of the estimates from 10 % to the end of the task; None without an estimate."""
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
    )


def descents(samples: Sequence[ProgressSample]) -> list[tuple[int, int]]:
    """Each decrease of the percent, as (from, to)."""
    return [(before.percent, after.percent) for before, after in pairwise(samples) if after.percent < before.percent]

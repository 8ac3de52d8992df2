"""How well a task's remaining time foretold its end, and whether its percent ever went down. Pure."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

import msgspec

_FROM_PERCENT = 10


class Glimpse(msgspec.Struct, frozen=True):
    """What a client was told at one moment. `at` is in seconds of any one clock."""

    at: float
    percent: int
    remaining: int | None


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """Errors of the foretold end, in seconds and as shares of the task's whole duration."""

    samples: int
    median_seconds: float
    worst_seconds: float
    median_share: float
    worst_share: float


def judge(glimpses: Sequence[Glimpse], begin: float, end: float) -> Prediction | None:
    """Judges what was told from 10 % on and before the end. None where nothing was told then."""
    errors = [
        abs(glimpse.at + glimpse.remaining - end)
        for glimpse in glimpses
        if glimpse.remaining is not None and _FROM_PERCENT <= glimpse.percent < 100 and begin <= glimpse.at < end
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


def descents(glimpses: Sequence[Glimpse]) -> list[tuple[int, int]]:
    """Each time the percent was lower than just before: from which to which."""
    return [(before.percent, after.percent) for before, after in pairwise(glimpses) if after.percent < before.percent]

"""Errors of estimates, of the percent and of the interval of one task that has ended. Pure.

A pause of the task, a kill of the server and a frozen node cannot be foreseen. So an estimate is compared with the
end as it would have been without the part of an interruption that came after the estimate, and the time of
interruptions does not count as duration.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec

from bench.remaining_rivals import RIVALS, Shown, remaining_by
from cachewright.tasks.estimator import RESTATED

MARKS = (10, 25, 50, 75, 90)
"""Percents at which estimates are compared."""

_INTERVAL_FROM_PERCENT = 5
_JUMP = 0.15
_SUCCESSIVE_SECONDS = 1.0
_SETTLING_SECONDS = 2.0
"""Time in which an interruption that has ended still explains a jump."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A task's record, read at time `at`, in epoch seconds.

    :ivar low: seconds after which one of ten such tasks has ended; :ivar high: after which nine have. None if unknown.
    :ivar is_waiting: the record says that a part of the task waits.
    :ivar control: the control settings, to notice a change.
    :ivar effort: effort of the task as known at this time, as a multiple of the planned one.
    """

    at: float
    percent: int
    remaining: float
    low: float | None = None
    high: float | None = None
    is_waiting: bool = False
    control: str = ""
    effort: float = 1.0

    @property
    def end(self) -> float:
        """The end that a reader is shown."""
        return self.at + self.remaining


class Interruption(msgspec.Struct, frozen=True):
    begin: float
    end: float


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """A task that has ended, in epoch seconds, and what was read before its end.

    :ivar planned: duration in seconds that the plan predicted right before the start.
    """

    begun: float
    ended: float
    planned: float
    samples: tuple[Sample, ...]
    interruptions: tuple[Interruption, ...] = ()

    @property
    def active_seconds(self) -> float:
        """Duration without interruptions."""
        return self.ended - self.begun - self._interrupted(self.begun, self.ended)

    def end_after(self, at: float) -> float:
        """The end without what remained of interruptions at this time."""
        return self.ended - self._interrupted(at, self.ended)

    def elapsed_share(self, at: float) -> float:
        return (at - self.begun - self._interrupted(self.begun, at)) / self.active_seconds

    def is_interrupted(self, begin: float, end: float) -> bool:
        """Whether an interruption explains what happened from `begin` to `end`."""
        return any(cut.begin <= end and begin <= cut.end + _SETTLING_SECONDS for cut in self.interruptions)

    def _interrupted(self, begin: float, end: float) -> float:
        return sum(max(min(cut.end, end) - max(cut.begin, begin), 0.0) for cut in self.interruptions)

    def error(self, at: float, remaining: float) -> float:
        """Error of an estimate as a share of the duration; positive if the estimated end was too late."""
        return (at + remaining - self.end_after(at)) / self.active_seconds


def own_values(task: Observed) -> dict[str, float]:
    """The figures of a task. `error_at_*` and `held_at_*` are at the first sample that shows the percent or more."""
    values = {
        "seconds": task.ended - task.begun,
        "active_seconds": task.active_seconds,
        "plan_seconds": task.planned,
        "plan_error": (task.planned - task.active_seconds) / task.active_seconds,
        "jumps": float(len(jumps(task))),
        "samples": float(len(task.samples)),
    }
    if deviations := list(percent_deviations(task)):
        values["percent_mean_deviation"] = sum(deviations) / len(deviations)
        values["percent_largest_deviation"] = max(deviations)
    held = [inside for sample in task.samples if (inside := _held(task, sample)) is not None]
    if held:
        values["interval_coverage"] = sum(held) / len(held)
    for mark in MARKS:
        if (found := reached(task.samples, mark)) is not None:
            sample = task.samples[found]
            values[f"error_at_{mark}"] = task.error(sample.at, sample.remaining)
            if (inside := _held(task, sample)) is not None:
                values[f"held_at_{mark}"] = float(inside)
    return values


def rival_values(task: Observed) -> dict[str, dict[str, float]]:
    """Errors of the rivals at the same moments, by rival."""
    values: dict[str, dict[str, float]] = {rival: {} for rival in RIVALS}
    for mark in MARKS:
        if (found := reached(task.samples, mark)) is None:
            continue
        shown = [Shown(sample.at, sample.percent) for sample in task.samples[: found + 1]]
        for rival in RIVALS:
            if (remaining := remaining_by(rival, task.begun, shown)) is not None:
                values[rival][f"error_at_{mark}"] = task.error(shown[-1].at, remaining)
    return values


def reached(samples: Sequence[Sample], mark: int) -> int | None:
    """Position of the first sample that shows this percent or more."""
    return next((number for number, sample in enumerate(samples) if sample.percent >= mark), None)


def percent_deviations(task: Observed) -> Iterator[float]:
    """Yield how far each percent is from the elapsed share of the duration."""
    for sample in task.samples:
        if not any(cut.begin <= sample.at <= cut.end for cut in task.interruptions):
            yield abs(sample.percent / 100 - task.elapsed_share(sample.at))


def jumps(task: Observed) -> list[Sample]:
    """Samples whose end is far from that of the sample before, though the record has no cause: no wait, no change
    of the control settings, and no effort that turned out larger or smaller."""
    return [
        after
        for before, after in pairwise(task.samples)
        if after.at - before.at <= _SUCCESSIVE_SECONDS
        and abs(after.end - before.end) > _JUMP * task.active_seconds
        and not (before.is_waiting or after.is_waiting or before.control != after.control)
        and abs(after.effort - before.effort) <= RESTATED
        and not task.is_interrupted(before.at, after.at)
    ]


def _held(task: Observed, sample: Sample) -> bool | None:
    """Whether the interval holds the end; None early in the task and without an interval."""
    if sample.percent < _INTERVAL_FROM_PERCENT or sample.low is None or sample.high is None:
        return None
    return sample.low <= task.end_after(sample.at) - sample.at <= sample.high

"""Percent and remaining seconds of a task, from its plan, its counters and the clock.

Pure. The invariants, held by properties in the tests:

- Percent is the work done over all work, both in planned seconds. It never falls below what was shown before, and
  is 100 only for a task that has ended well.
- Remaining seconds are never negative. Steps follow each other; lanes of a step run side by side, so what is left of
  a step is its longest lane. What is left of a lane is planned seconds times how slow that kind of work has shown
  itself to be in this very task. A counter that stands still therefore lets the remaining seconds grow.
- Both depend only on the state given, never on how often they were asked for.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from cachewright.model.tasks import Step, SubStep

_DOUBT = 0.25
"""Share of an action's planned seconds that its plan counts as evidence against what is measured: it keeps the first
moments of a task, when little has been measured, from swinging the estimate."""


class Estimate(msgspec.Struct, frozen=True):
    percent: int
    remaining_seconds: float


def estimate(steps: Sequence[Step], now: int, *, shown: int = 0) -> Estimate:
    """`now` in epoch milliseconds, `shown` the percent that clients have seen already."""
    every = [sub_step for step in steps for sub_step in step.sub_steps]
    total = sum(sub_step.work.seconds for sub_step in every)
    done = sum(done_seconds(sub_step) for sub_step in every)
    percent = int(100 * done / total) if total else 0
    slowness = measured_slowness(every, now)
    remaining = sum(_step_seconds(step, now, slowness) for step in steps)
    return Estimate(min(max(percent, shown), 99), max(remaining, 0.0))


def planned_seconds(steps: Sequence[Step]) -> float:
    """How long a plan takes, from its first step to its last."""
    return sum(_step_seconds(step, 0, defaultdict(lambda: 1.0)) for step in steps)


def done_seconds(sub_step: SubStep) -> float:
    """How many of the planned seconds are behind it."""
    work = sub_step.work
    if sub_step.status == "FINISH":
        return work.seconds
    if sub_step.status == "WAITING" or not work.total:
        return 0.0
    return min(sub_step.done / work.total, 1.0) * (work.seconds - work.fixed)


def measured_slowness(sub_steps: Iterable[SubStep], now: int) -> Mapping[str, float]:
    """By action: how many real seconds one planned second has taken. 1 where nothing has been measured."""
    planned: dict[str, float] = defaultdict(float)
    behind: dict[str, float] = defaultdict(float)
    real: dict[str, float] = defaultdict(float)
    for sub_step in sub_steps:
        planned[sub_step.action] += sub_step.work.seconds
        if sub_step.begin_time is None or sub_step.status == "WAITING":
            continue
        elapsed = _elapsed(sub_step, now)
        passed = done_seconds(sub_step)
        if sub_step.status == "EXECUTING":
            # The part no counter shows may be under way: time spent on it is no sign of slowness.
            passed += min(max(elapsed - passed, 0.0), sub_step.work.fixed)
        behind[sub_step.action] += passed
        real[sub_step.action] += elapsed
    return {action: _slowness(real[action], behind[action], seconds) for action, seconds in planned.items()}


def _slowness(real: float, behind: float, planned: float) -> float:
    """Measured over planned, with the plan as evidence that fades while more is measured."""
    if not planned:
        return 1.0
    doubt = _DOUBT * planned * (1 - min(behind / planned, 1.0)) ** 3
    return (real + doubt) / (behind + doubt) if behind + doubt else 1.0


def _step_seconds(step: Step, now: int, slowness: Mapping[str, float]) -> float:
    lanes: dict[str, float] = defaultdict(float)
    for sub_step in step.sub_steps:
        lanes[sub_step.work.lane] += _left(sub_step, now, slowness)
    return max(lanes.values(), default=0.0)


def _left(sub_step: SubStep, now: int, slowness: Mapping[str, float]) -> float:
    if sub_step.status in {"FINISH", "FAILED"}:
        return 0.0
    passed, fixed = done_seconds(sub_step), sub_step.work.fixed
    counted = sub_step.work.seconds - fixed - passed
    if sub_step.status == "EXECUTING":
        # What is no sign of slowness has gone by: it is not still to come as well.
        fixed -= min(max(_elapsed(sub_step, now) - passed, 0.0), fixed)
    return (max(counted, 0.0) + fixed) * slowness[sub_step.action]


def _elapsed(sub_step: SubStep, now: int) -> float:
    begin = sub_step.begin_time if sub_step.begin_time is not None else now
    end = sub_step.end_time if sub_step.end_time is not None else now
    return max(end - begin, 0) / 1000

"""Percent and remaining seconds of a task, from its plan, its counters and the clock. Pure.

Invariants, which property tests verify:

- Percent is finished work divided by all work, both in planned seconds. It never decreases, and is 100 only for a
  successful task.
- Remaining seconds are never negative. Steps run one after another and the lanes of a step concurrently, so the
  remaining time of a step is that of its longest lane. The remaining time of a lane is its planned seconds times the
  slowness that this task has measured for this action, so it grows while a counter stalls.
- Both depend only on the given state.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from cachewright.model.tasks import Step, SubStep

_DOUBT = 0.25
"""Weight of the plan against measurements, as a share of an action's planned seconds: it stabilizes the estimate while
few measurements exist."""


class Estimate(msgspec.Struct, frozen=True):
    percent: int
    remaining_seconds: float


def estimate(steps: Sequence[Step], now: int, *, shown: int = 0) -> Estimate:
    """Estimate percent and remaining seconds.

    :param now: epoch milliseconds.
    :param shown: percent that clients have already seen.
    """
    sub_steps = [sub_step for step in steps for sub_step in step.sub_steps]
    total = sum(sub_step.work.seconds for sub_step in sub_steps)
    done = sum(done_seconds(sub_step) for sub_step in sub_steps)
    percent = int(100 * done / total) if total else 0
    slowness = measured_slowness(sub_steps, now)
    remaining = sum(_step_seconds(step, now, slowness) for step in steps)
    return Estimate(min(max(percent, shown), 99), max(remaining, 0.0))


def planned_seconds(steps: Sequence[Step]) -> float:
    """Planned duration of all steps."""
    return sum(_step_seconds(step, 0, defaultdict(lambda: 1.0)) for step in steps)


def done_seconds(sub_step: SubStep) -> float:
    """Planned seconds that are finished."""
    work = sub_step.work
    if sub_step.status == "FINISH":
        return work.seconds
    if sub_step.status == "WAITING" or not work.total:
        return 0.0
    return min(sub_step.done / work.total, 1.0) * (work.seconds - work.fixed)


def measured_slowness(sub_steps: Iterable[SubStep], now: int) -> Mapping[str, float]:
    """Real seconds per planned second, by action; 1 without measurements."""
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
            # The part without a counter may be running: time spent on it does not mean slowness.
            passed += min(max(elapsed - passed, 0.0), sub_step.work.fixed)
        behind[sub_step.action] += passed
        real[sub_step.action] += elapsed
    return {action: _slowness(real[action], behind[action], seconds) for action, seconds in planned.items()}


def _slowness(real: float, behind: float, planned: float) -> float:
    """Measured time over planned time. The weight of the plan decreases with more measurements."""
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
        # Time spent on the part without a counter is not remaining time.
        fixed -= min(max(_elapsed(sub_step, now) - passed, 0.0), fixed)
    return (max(counted, 0.0) + fixed) * slowness[sub_step.action]


def _elapsed(sub_step: SubStep, now: int) -> float:
    begin = sub_step.begin_time if sub_step.begin_time is not None else now
    end = sub_step.end_time if sub_step.end_time is not None else now
    return max(end - begin, 0) / 1000

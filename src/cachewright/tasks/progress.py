"""Percent and remaining seconds of a task, from its plan, its counters and the clock. Pure.

Each sub-step has planned seconds. A counter tells which part of them has passed. The measured slowness of a rate
(`Work.rate`) is the real time of its sub-steps over their passed planned seconds; the plan counts like `Work.evidence`
seconds of measurement. Waits are neither work nor slowness.

Invariants, which property tests verify:

- Percent is the share of the task's estimated duration that has passed. It depends on counters and on their times, not
  on the present time, so it stands while they stand. It never decreases, and is 100 only for a successful task.
- Remaining seconds are never negative. Steps run one after another and the lanes of a step concurrently. At most
  `Work.turns` of them use the processors at full speed; more of them share these. The estimate grows while a counter
  stands.
- Both depend only on the given state.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from cachewright.model.tasks import Control, Step
from cachewright.tasks.sub_step_times import busy_seconds, passed_and_left, rate_of, worked_seconds, works_of
from cachewright.tasks.waits import limited_ms

NOISE = 0.1
"""Variance of the measured slowness over one second of work. Over n seconds it is 1/n of that."""

_LARGEST_CHANGE, _ONE_CHANGE_SECONDS = 0.3, 0.25
"""Largest change of the shown end in a second, as a share of the duration, and the time for which one change counts."""

_SHORT_SECONDS = 5.0
"""Shorter tasks change as much in a second as one of this duration, so that an error is corrected before they end."""

_LEAST_SPREAD_SECONDS = 0.15
"""Standard deviation of the end of a task that is almost over."""

END_SECONDS = 0.01
"""Time from the end of the last sub-step to that of the task, in which the results are stored."""

LATE_SHARE = 0.035
"""Share of the remaining time by which the end, the median, is later than the modelled one. A step ends with the last
of its lanes, and much that the model does not know delays work, but little speeds it up."""

_LATE_SECONDS = 3.0
"""Duration of a task for which half of that share is expected: most short tasks meet no delay."""

_Z = 0.72
"""Standard deviations from the estimate to the 10th and to the 90th percentile."""


class Estimate(msgspec.Struct, frozen=True):
    """:ivar low: remaining seconds at the 10th percentile.
    :ivar high: at the 90th percentile.
    """

    percent: int
    remaining_seconds: float
    low: float
    high: float


class Widths(msgspec.Struct, frozen=True):
    """Factors of the lower and of the upper half of an interval; see `tasks.calibration`."""

    low: float = 1.0
    high: float = 1.0


UNLEARNED = Widths()


def estimate(
    steps: Sequence[Step],
    now: int,
    *,
    shown: int = 0,
    control: Control | None = None,
    widths: Widths = UNLEARNED,
) -> Estimate:
    """Estimate percent and remaining seconds.

    :param now: epoch milliseconds.
    :param shown: percent that clients have already seen.
    :param control: control settings of the task; None if it has none. While they have a latency ceiling, waits for it
        count as work.
    :param widths: learned factors of the interval.
    """
    seen = [_Seen(step, now, control) for step in steps]
    remaining, spread = _remaining(seen)
    return Estimate(
        percent=min(max(_percent(steps, control), shown), 99),
        remaining_seconds=remaining,
        low=max(remaining - _Z * widths.low * spread, 0.0),
        high=remaining + _Z * widths.high * spread,
    )


def settled(current: Estimate, before: float, passed: float, elapsed: float, *, worked: bool = True) -> Estimate:
    """Return the estimate to show. Its end differs from the one that was shown before by at most 30 % of the duration a
    second, and by more in tasks of less than 5 s. Counters increase in steps, so a large change may be temporary; a
    lasting one is shown within seconds.

    :param before: remaining seconds that were shown `passed` seconds ago.
    :param worked: whether the task has worked since then, and not waited.
    :param elapsed: seconds since the begin of the task.
    """
    expected = max(before - passed, 0.0) if worked else before
    duration = elapsed + current.remaining_seconds
    change = _LARGEST_CHANGE * min(passed, _ONE_CHANGE_SECONDS) * max(duration, _SHORT_SECONDS)
    shown = min(max(current.remaining_seconds, expected - change), expected + change)
    return replace(current, remaining_seconds=shown, low=min(current.low, shown), high=max(current.high, shown))


def planned_seconds(steps: Sequence[Step]) -> float:
    """Duration of making the plan, and planned duration of all steps."""
    return _planning_seconds(steps) + sum(_Seen(step, 0).planned for step in steps)


def effort(steps: Sequence[Step]) -> float:
    """Effort of the whole plan as known now, as a multiple of the planned one. It changes when work turns out to be
    larger or smaller than planned."""
    seen = [_Seen(step, 0) for step in steps]
    planned = sum(sub.work.seconds for step in steps for sub in step.sub_steps)
    parts = [part for step in seen for part in (step.passed, step.left)]
    known = sum(time.seconds for part in parts for lanes in part.values() for time in lanes.values())
    return known / planned if planned else 1.0


class Measured(msgspec.Struct):
    """Sub-steps of one rate.

    :ivar real: seconds that they have worked.
    :ivar passed: planned seconds that have passed in this time.
    :ivar evidence: seconds of measurement that the plan counts as.
    """

    real: float = 0.0
    passed: float = 0.0
    evidence: float = 0.0

    @property
    def slowness(self) -> float:
        """Real seconds per planned second."""
        return (self.real + self.evidence) / (self.passed + self.evidence) if self.passed + self.evidence else 1.0


def measured(steps: Sequence[Step], now: int) -> Mapping[str, Measured]:
    """Measurements by rate."""
    return _measured([_Seen(step, now) for step in steps])


class _Time(msgspec.Struct):
    """Time of a lane. `busy` are the seconds of it that use the processors."""

    seconds: float = 0.0
    busy: float = 0.0

    def add(self, seconds: float, busy: float) -> None:
        self.seconds += seconds
        self.busy += busy


_Lanes = dict[str, dict[str, _Time]]
"""Times by rate and lane."""


def _no_lanes() -> _Lanes:
    return defaultdict(lambda: defaultdict(_Time))


class _Seen:
    """One step at one time.

    :ivar passed: passed planned seconds of each rate and lane, :ivar left: planned seconds still to come.
    :ivar real: seconds that each lane has worked, by rate.
    """

    def __init__(self, step: Step, now: int, control: Control | None = None, *, begun: float = 0.0) -> None:
        self.step = step
        self._parallel = control.parallel if control else None
        self._turns: int | None = None
        self.evidence: dict[str, float] = {}
        self.passed, self.left, self.real = _no_lanes(), _no_lanes(), _no_lanes()
        works = works_of(step, control)
        for sub_step, work in works:
            rate = rate_of(sub_step, work)
            passed, left = passed_and_left(sub_step, work, works, now, begun)
            busy = busy_seconds(work, passed)
            self.passed[rate][work.lane].add(passed, busy)
            self.left[rate][work.lane].add(left, busy_seconds(work, work.seconds) - busy if left else 0.0)
            limited = limited_ms(sub_step, now) if control and control.latency_ceiling_ms else 0
            real = worked_seconds(sub_step, now) + limited / 1000
            self.real[rate][work.lane].add(real, 0.0)
            self.evidence[rate] = work.evidence
            if work.turns:
                self._turns = min(work.turns, self._turns or work.turns)

    @property
    def planned(self) -> float:
        return self.total(defaultdict(lambda: 1.0))

    def measured(self) -> Mapping[str, tuple[float, float]]:
        """Real seconds of each rate, and planned seconds that have passed. Lanes of different rates make each other
        slower when they share the processors. The real seconds are corrected by one factor, so that the measured
        slowness of the rates together explains how long their lanes have worked. A rate without progress is not part of
        this: it explains nothing yet."""
        of_rates = {
            rate: (self._duration(self.real[rate].values()), self._duration(lanes.values()))
            for rate, lanes in self.passed.items()
        }
        apart = {rate: real / passed for rate, (real, passed) in of_rates.items() if passed}
        together = self._of(apart, {rate: self.passed[rate] for rate in apart})
        worked = self._of(dict.fromkeys(apart, 1.0), {rate: self.real[rate] for rate in apart})
        explained = worked / together if together else 1.0
        return {rate: (real * explained if passed else real, passed) for rate, (real, passed) in of_rates.items()}

    def total(self, slowness: Mapping[str, float]) -> float:
        """Estimated duration of the whole step; of a finished step, the measured one."""
        if self.step.status == "FINISH":
            return sum(self._duration(lanes.values()) for lanes in self.real.values())
        return self._of(slowness, self.passed, self.left)

    def remaining(self, slowness: Mapping[str, float]) -> float:
        return self._of(slowness, self.left)

    def remaining_of(self, rate: str) -> float:
        """Planned seconds of a rate still to come."""
        return self._duration(self.left[rate].values())

    def _of(self, slowness: Mapping[str, float], *parts: _Lanes) -> float:
        lanes: dict[str, _Time] = defaultdict(_Time)
        for part in parts:
            for rate, times in part.items():
                for lane, time in times.items():
                    lanes[lane].add(time.seconds * slowness[rate], time.busy * slowness[rate])
        return self._duration(lanes.values())

    def _duration(self, lanes: Collection[_Time]) -> float:
        """Duration of concurrent lanes. At most `parallel` run at a time, and `turns` at full speed."""
        longest = max((lane.seconds for lane in lanes), default=0.0)
        queued = sum(lane.seconds for lane in lanes) / self._parallel if self._parallel else 0.0
        shared = sum(lane.busy for lane in lanes) / self._turns if self._turns else 0.0
        return max(longest, queued, shared)


def _measured(seen: Sequence[_Seen]) -> dict[str, Measured]:
    found: dict[str, Measured] = defaultdict(Measured)
    for step in seen:
        for rate, (real, passed) in step.measured().items():
            found[rate].real += real
            found[rate].passed += passed
            found[rate].evidence = step.evidence[rate]
    return found


def _remaining(seen: Sequence[_Seen]) -> tuple[float, float]:
    """Remaining seconds, and their standard deviation."""
    measures = _measured(seen)
    slowness = {rate: measure.slowness for rate, measure in measures.items()}
    total = sum(step.total(slowness) for step in seen)
    remaining = _seconds_left(seen, slowness) * (1 + LATE_SHARE * total / (total + _LATE_SECONDS))
    variance = _LEAST_SPREAD_SECONDS**2 + NOISE * remaining
    for rate, measure in measures.items():
        seconds = sum(step.remaining_of(rate) for step in seen) * slowness[rate]
        variance += seconds**2 * NOISE / max(measure.evidence + measure.passed, NOISE)
    return remaining, math.sqrt(variance)


def _seconds_left(seen: Sequence[_Seen], slowness: Mapping[str, float]) -> float:
    """Remaining seconds of all steps and of the end."""
    return sum(step.remaining(slowness) for step in seen) + END_SECONDS


def _percent(steps: Sequence[Step], control: Control | None) -> int:
    """Percent at the time of the last progress. Half of a part without a counter counts when it begins: so the percent,
    which stands meanwhile, is never far from the truth."""
    times = [
        time
        for step in steps
        for sub_step in step.sub_steps
        for time in (sub_step.begin_time, sub_step.progress_at, sub_step.end_time)
        if time is not None
    ]
    if not times:
        return 0  # nothing but the plan is done: its estimate is that before the begin
    seen = [_Seen(step, max(times), control, begun=0.5) for step in steps]
    slowness = {rate: measure.slowness for rate, measure in _measured(seen).items()}
    total = _planning_seconds(steps) + sum(step.total(slowness) for step in seen) + END_SECONDS
    remaining = _seconds_left(seen, slowness)
    return int(100 * (1 - remaining / total)) if total > 0 else 0


def _planning_seconds(steps: Sequence[Step]) -> float:
    return sum(step.planning_ms for step in steps) / 1000

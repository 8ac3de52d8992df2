"""Planned and real seconds of sub-steps, from their counters and the clock. Pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from cachewright.model.tasks import Control, Step, SubStep, Work
from cachewright.tasks.waits import waited_ms

_FIRST_PART = 0.5
"""Share of `Work.fixed`, and of its latency, that passes before any counted work. The rest passes evenly with that."""


def works_of(step: Step, control: Control | None) -> list[tuple[SubStep, Work]]:
    """Return all sub-steps with their effort as known now, in the present mode of the task; as planned without
    `control`."""
    scales = _scales(step, control)
    works = []
    for sub_step in step.sub_steps:
        work = _work_of(sub_step, control)
        scale = sub_step.scale if _has_moved(sub_step) else scales.get(rate_of(sub_step, work), 1.0)
        works.append((sub_step, replace(work, seconds=work.fixed + (work.seconds - work.fixed) * scale)))
    return works


def _scales(step: Step, control: Control | None) -> Mapping[str, float]:
    """Scale of all work of each rate that has moved. Work to come will be like it. A mean of the scales would let a
    range with little work, which clients have made many times as large, speak for all others."""
    planned: dict[str, float] = defaultdict(float)
    known: dict[str, float] = defaultdict(float)
    for sub_step in step.sub_steps:
        if _has_moved(sub_step):
            work = _work_of(sub_step, control)
            planned[rate_of(sub_step, work)] += work.seconds - work.fixed
            known[rate_of(sub_step, work)] += (work.seconds - work.fixed) * sub_step.scale
    return {rate: known[rate] / seconds for rate, seconds in planned.items() if seconds}


def _has_moved(sub_step: SubStep) -> bool:
    """Whether a sub-step has begun, or has made progress ahead of its turn."""
    return sub_step.begin_time is not None or sub_step.done > 0 or sub_step.uncounted > 0


def _work_of(sub_step: SubStep, control: Control | None) -> Work:
    """Return the effort of a sub-step in the present mode of its task."""
    return sub_step.work_in_modes.get(control.mode, sub_step.work) if control else sub_step.work


def rate_of(sub_step: SubStep, work: Work) -> str:
    """Return the name of the rate, which sub-steps of equal work share."""
    return work.rate or sub_step.action


def worked_seconds(sub_step: SubStep, now: int) -> float:
    """Return how long a sub-step has worked, without its waits."""
    if sub_step.begin_time is None or sub_step.status == "WAITING":
        return 0.0
    end = sub_step.end_time if sub_step.end_time is not None else now
    return max(end - sub_step.begin_time - waited_ms(sub_step, end), 0) / 1000


def _counted_seconds(sub_step: SubStep, work: Work) -> float:
    """Planned seconds that counters show as passed."""
    if sub_step.status == "FINISH":
        return work.seconds
    if not work.total:
        return 0.0
    return min(sub_step.done / work.total, 1.0) * (work.seconds - work.fixed)


def passed_and_left(
    sub_step: SubStep, work: Work, works: Sequence[tuple[SubStep, Work]], now: int, begun: float
) -> tuple[float, float]:
    """Return the planned seconds of a sub-step that have passed, and those still to come. Time of an executing one that
    its counter does not explain belongs to the part without a counter: it means no slowness.

    :param works: all sub-steps of the step with their work.
    :param begun: share of the uncounted part that has passed as soon as it begins.
    """
    passed = _counted_seconds(sub_step, work)
    if sub_step.status == "EXECUTING" or (sub_step.status == "WAITING" and _has_moved(sub_step)):
        passed += _uncounted_seconds(sub_step, work, works, now, begun)
        fixed = _fixed_so_far(work, passed)
        is_ahead = sub_step.status == "WAITING"
        passed += fixed if is_ahead else min(max(worked_seconds(sub_step, now) - passed, 0.0), fixed)
    left = 0.0 if sub_step.status in {"FINISH", "FAILED"} else max(work.seconds - passed, 0.0)
    return passed, left


def busy_seconds(work: Work, passed: float) -> float:
    """The part of passed planned seconds that used the processors."""
    return max(passed - _first_latency(work), 0.0) * _busy_share(work)


def _busy_share(work: Work) -> float:
    """The part of each second after the first latency that uses the processors."""
    first = _first_latency(work)
    rest = work.seconds - first
    return max(1 - (work.latency - first) / rest, 0.0) if rest > 0 else 0.0


def _fixed_so_far(work: Work, passed: float) -> float:
    """The largest part of `Work.fixed` that can have passed with these seconds of counted work."""
    counted = work.seconds - work.fixed
    return work.fixed * (_FIRST_PART + (1 - _FIRST_PART) * min(passed / counted, 1.0)) if counted > 0 else work.fixed


def _uncounted_seconds(
    sub_step: SubStep, work: Work, works: Sequence[tuple[SubStep, Work]], now: int, begun: float
) -> float:
    """Planned seconds of the uncounted part that have passed. Its busy part comes last, and passes more slowly while
    other lanes use the processors, too."""
    begin, end = sub_step.uncounted_at, _active_until(sub_step, now)
    if not sub_step.uncounted or not work.total or begin is None:
        return 0.0
    a_unit = (work.seconds - work.fixed) / work.total
    whole = min(sub_step.uncounted, work.total) * a_unit
    busy = min(sub_step.uncounted_busy * a_unit, whole)
    since = max(end - begin, 0) / 1000
    passed = min(since, whole - busy)
    if busy and since > passed:
        passed += min((since - passed) / _sharing(work, works, begin, end), busy)
    return max(passed, begun * whole)


def _sharing(work: Work, works: Sequence[tuple[SubStep, Work]], begin: int, end: int) -> float:
    """Return how many real seconds a busy second took from `begin` to `end`, by the lanes that executed meanwhile."""
    if work.turns is None:
        return 1.0
    busy = sum(_executed_ms(sub_step, begin, end) * _busy_share(its_work) for sub_step, its_work in works)
    return max(busy / (end - begin) / work.turns, 1.0)


def _first_latency(work: Work) -> float:
    return _FIRST_PART * min(work.latency, work.fixed)


def _active_until(sub_step: SubStep, now: int) -> int:
    """When the sub-step last worked, as known at `now`."""
    end = now if sub_step.end_time is None else min(sub_step.end_time, now)
    return min(end, sub_step.waiting.since) if sub_step.waiting else end


def _executed_ms(sub_step: SubStep, begin: int, end: int) -> int:
    """How long a sub-step executed from `begin` to `end`."""
    if sub_step.begin_time is None:
        return 0
    return max(_active_until(sub_step, end) - max(begin, sub_step.begin_time), 0)

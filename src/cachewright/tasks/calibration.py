"""Widths of intervals of the remaining time, learned from what tasks did.

A task ends before the 10th percentile of its interval in one of ten cases, and after the 90th in another one. The
spread that `progress` computes is a model; how far an estimate may really be off depends on the kind of task and on how
far it has come. So each kind and percent has two factors. After each task, a factor grows if the task ended outside,
and shrinks a little if not: it rests where the outside has its share (adaptive conformal inference, Gibbs and Candes
2021).
"""

import math
from collections.abc import Mapping

import msgspec
import sqlalchemy as sa

from cachewright.model.tasks import Forecast, Task
from cachewright.store import throughput
from cachewright.store.throughput import Rate
from cachewright.tasks.forecast import MARKS
from cachewright.tasks.progress import UNLEARNED, Widths

OUTSIDE = 0.1
"""Share of tasks that end beyond each side of the interval."""

_STEP = 0.3
_LEAST, _MOST = 0.3, 5.0


def widths_at(percent: int, widths: Mapping[int, Widths]) -> Widths:
    """Return the factors at a percent: those of the last mark that it has reached. Pure."""
    reached = [mark for mark in widths if mark <= percent]
    return widths[max(reached)] if reached else widths.get(MARKS[0], UNLEARNED)


def updated(before: Widths, forecast: Forecast, end: int) -> Widths:
    """Return the factors after a task that ended at `end`. Pure."""
    seconds = (end - forecast.at) / 1000
    is_early = forecast.low is not None and seconds < forecast.low
    is_late = forecast.high is not None and seconds > forecast.high
    return Widths(_moved(before.low, outside=is_early), _moved(before.high, outside=is_late))


def load(connection: sa.Connection, kind: str) -> Mapping[int, Widths]:
    """Return the factors of a kind of task, by percent."""
    names = {(mark, side): _name(kind, mark, side) for mark in MARKS for side in Widths.__struct_fields__}
    known = throughput.load(connection, list(names.values()))
    factors = {key: known[name].units_per_second for key, name in names.items() if name in known}
    return {mark: Widths(factors.get((mark, "low"), 1.0), factors.get((mark, "high"), 1.0)) for mark in MARKS}


def learn(connection: sa.Connection, task: Task) -> None:
    """Learn from a task that has succeeded. One that has waited ended later for another reason."""
    if task.end_time is None or any(sub.waited_ms for step in task.steps for sub in step.sub_steps):
        return
    before = load(connection, task.kind)
    for forecast in task.forecasts:
        if forecast.high is not None:
            after = msgspec.structs.asdict(updated(before[forecast.percent], forecast, task.end_time))
            for side, factor in after.items():
                throughput.put(connection, _name(task.kind, forecast.percent, side), Rate(factor, None))


def _name(kind: str, mark: int, side: str) -> str:
    return f"interval: {kind} at {mark} %: {side}"


def _moved(factor: float, *, outside: bool) -> float:
    return min(max(factor * math.exp(_STEP * ((1 if outside else 0) - OUTSIDE)), _LEAST), _MOST)

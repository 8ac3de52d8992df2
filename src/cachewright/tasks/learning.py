"""Speeds that are learned from finished tasks, by name of a rate.

Each rate is learned for the installation, and for each instance: instances differ by their data and by their clients.
A plan uses the rate of its instance, or that of the installation for the first task of the kind. Work that was never
measured is expected to have the mean speed of the other kinds of work of its action, because the host is the same.

A plan declares seconds by constants of its operation. A speed is the ratio of declared to real seconds on this
installation. Each finished task is one measurement of each of its rates; a longer measurement has more weight. The
deviation between measurements determines how many seconds of measurement the next plan counts as.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import geometric_mean

import msgspec
import sqlalchemy as sa
from msgspec.structs import replace

from cachewright.model.tasks import Step, SubStep, Task, Work
from cachewright.store import throughput
from cachewright.store.throughput import Rate
from cachewright.tasks.progress import NOISE, measured, rate_of

_FRESH_DEVIATION = 0.3
"""Standard deviation of the logarithm of a speed that was never measured."""

_LEAST_DEVIATION, _MOST_DEVIATION = 0.08, 0.8
_WEIGHT = 0.5
_LARGEST_ERROR = math.log(4)
"""Largest error from which a single task teaches. Jobs that nobody followed, or keys that were gone, are no speed."""

_TELLING_SECONDS = 0.3
"""A rate that has worked for less time in a task teaches half as much or less."""


class Speed(msgspec.Struct, frozen=True):
    """A learned speed.

    :ivar value: declared seconds over real seconds.
    :ivar deviation: standard deviation of its logarithm from task to task.
    """

    value: float = 1.0
    deviation: float = _FRESH_DEVIATION

    @property
    def evidence(self) -> float:
        """Seconds of measurement in a task that are worth as much."""
        return NOISE / self.deviation**2


def load(connection: sa.Connection, steps: Sequence[Step], instance_id: str) -> Mapping[str, Speed]:
    """Return the learned speeds of an instance, by rate, for the rates of these steps."""
    rates = {
        rate_of(sub_step, work)
        for step in steps
        for sub_step in step.sub_steps
        for work in (sub_step.work, *sub_step.work_in_modes.values())
    }
    own = {rate: throughput.of_instance(rate, instance_id) for rate in rates}
    known = throughput.load(connection, [*rates, *own.values()])
    found = {rate: known.get(name) or known.get(rate) for rate, name in own.items()}
    speeds = {rate: _speed(learned) for rate, learned in found.items() if learned}
    return {rate: speed for rate in rates if (speed := speeds.get(rate) or _of_others(connection, rate))}


def _of_others(connection: sa.Connection, rate: str) -> Speed | None:
    """Return the mean speed of the other rates of the same action; None if none was measured."""
    action, colon, _ = rate.partition(":")
    others = throughput.of_action(connection, action) if colon else []
    return Speed(geometric_mean(other.units_per_second for other in others)) if others else None


def with_speeds(steps: Sequence[Step], speeds: Mapping[str, Speed]) -> tuple[Step, ...]:
    """Return the plan with the seconds that this installation is expected to take. Pure."""
    return tuple(replace(step, sub_steps=tuple(_with_speed(sub, speeds) for sub in step.sub_steps)) for step in steps)


def learn(connection: sa.Connection, task: Task) -> None:
    """Learn the rates of a task that has succeeded."""
    planned = {rate_of(sub, sub.work): sub.work.speed for step in task.steps for sub in step.sub_steps}
    for rate, measure in measured(task.steps, task.end_time or 0).items():
        if measure.passed <= 0 or measure.real <= 0:
            continue
        observed = planned[rate] * measure.passed / measure.real
        for name in (rate, throughput.of_instance(rate, task.instance_id)):
            before = throughput.load(connection, [name]).get(name)
            learned = updated(_speed(before) if before else None, observed, measure.real)
            throughput.put(connection, name, Rate(learned.value, learned.deviation))


def updated(before: Speed | None, observed: float, seconds: float) -> Speed:
    """Return what is known after a measurement that took `seconds`. Pure."""
    telling = seconds / (seconds + _TELLING_SECONDS)
    known = before or Speed()
    error = min(max(math.log(observed / known.value), -_LARGEST_ERROR), _LARGEST_ERROR)
    weight = telling * (_WEIGHT if before else 1.0)
    deviation = known.deviation**2 + weight * (error**2 - known.deviation**2) if before else _FRESH_DEVIATION**2 / 4
    return Speed(
        value=known.value * math.exp(weight * error),
        deviation=min(max(math.sqrt(deviation), _LEAST_DEVIATION), _MOST_DEVIATION),
    )


def _speed(learned: Rate) -> Speed:
    return Speed(learned.units_per_second, learned.deviation or _FRESH_DEVIATION)


def _with_speed(sub_step: SubStep, speeds: Mapping[str, Speed]) -> SubStep:
    def expected(work: Work) -> Work:
        speed = speeds.get(rate_of(sub_step, work), Speed())
        return replace(
            work,
            seconds=work.seconds / speed.value,
            fixed=work.fixed / speed.value,
            speed=speed.value,
            evidence=speed.evidence,
        )

    in_modes = {mode: expected(work) for mode, work in sub_step.work_in_modes.items()}
    return replace(sub_step, work=expected(sub_step.work), work_in_modes=in_modes)

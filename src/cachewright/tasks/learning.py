"""Speeds that are learned from finished tasks, by name of a rate.

Each rate is learned for the installation, and for each instance: instances differ by their data and by their clients.
A plan uses the rate of its instance. If that was not measured, it uses the rate of the installation, corrected by how
much the instance differs from the installation in other work of the action. Work that was never measured is expected
to have the mean speed of the other work of its action, because the host is the same.

A plan declares seconds by constants of its operation. A speed is the ratio of declared to real seconds on this
installation. Each finished task is one measurement of each of its rates; a longer measurement has more weight. The
deviation between measurements determines how many seconds of measurement the next plan counts as. That of a rate of the
installation is the deviation between the first measurements of its instances: the error of plans without rates of their
instance.
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
from cachewright.tasks.progress import NOISE, measured
from cachewright.tasks.sub_step_times import rate_of

_FRESH_DEVIATION = 0.2
"""Standard deviation of the logarithm of a speed that was never measured."""

_LEAST_DEVIATION, _MOST_DEVIATION = 0.08, 0.8

_PLAN_DEVIATION = 0.1
"""Standard deviation of the logarithm of the error of a plan at a known speed: the effort that it states is not
exact."""

_OWN_WEIGHT, _SHARED_WEIGHT = 0.5, 0.3
"""Weights of the newest task in the speed of its instance, and in that of the installation, which also stands for
instances with other data."""

_LARGEST_ERROR = math.log(4)
"""Largest error from which a single task teaches. Jobs that nobody followed, or keys that were gone, are no speed."""

_TELLING_SECONDS = 1.0
"""A rate that is expected to work for less time in a task teaches half as much or less: scales of a second differ by a
tenth by chance. The real time would give most weight to the few tasks in which something held up short work."""


class Speed(msgspec.Struct, frozen=True):
    """A learned speed.

    :ivar value: declared seconds over real seconds.
    :ivar deviation: standard deviation of its logarithm from task to task.
    """

    value: float = 1.0
    deviation: float = _FRESH_DEVIATION

    @property
    def evidence(self) -> float:
        """Seconds of measurement in a task that are worth as much as a plan at this speed."""
        return NOISE / (self.deviation**2 + _PLAN_DEVIATION**2)


def load(connection: sa.Connection, steps: Sequence[Step], instance_id: str) -> Mapping[str, Speed]:
    """Return the learned speeds of an instance, by rate, for the rates of these steps."""
    rates = {
        rate_of(sub_step, work)
        for step in steps
        for sub_step in step.sub_steps
        for work in (sub_step.work, *sub_step.work_in_modes.values())
    }
    names = {rate: throughput.of_instance(rate, instance_id) for rate in rates}
    known = throughput.load(connection, [*rates, *names.values()])
    own = {rate: _speed(known[name]) for rate, name in names.items() if name in known}
    shared = {rate: _speed(known[rate]) for rate in rates if rate in known}
    for action in {action for rate in rates - own.keys() if (action := _action(rate))}:
        shared |= {rate: _speed(learned) for rate, learned in throughput.of_action(connection, action).items()}
        of_instance = throughput.of_action(connection, action, instance_id)
        own |= {rate: _speed(learned) for rate, learned in of_instance.items()}
    return {rate: speed for rate in rates if (speed := expected(rate, own, shared))}


def expected(rate: str, own: Mapping[str, Speed], shared: Mapping[str, Speed]) -> Speed | None:
    """Return the speed to expect of a rate; None if nothing is known. Pure.

    A rate that was not measured on the instance has the speed of the installation, times the mean ratio of the
    instance's speeds to those of the installation in related work. A rate that was measured nowhere has the mean speed
    of related work. Related are rates of the same name up to a comma, or, if there are none, of the same action.

    :param own: speeds of the instance, by rate.
    :param shared: those of the installation.
    """
    if rate in own:
        return own[rate]
    ratios = [speed.value / shared[other].value for other, speed in _related(rate, own).items() if other in shared]
    ratio = geometric_mean(ratios) if ratios else 1.0
    if rate in shared:
        return replace(shared[rate], value=shared[rate].value * ratio)
    speeds = [speed.value for speed in _related(rate, shared).values()]
    return Speed(geometric_mean(speeds) * ratio) if speeds else None


def _related(rate: str, speeds: Mapping[str, Speed]) -> Mapping[str, Speed]:
    """Return the speeds of the most similar work; none for a rate without a name of its own."""
    if not _action(rate):
        return {}
    same_work = {other: speed for other, speed in speeds.items() if _work(other) == _work(rate)}
    return same_work or {other: speed for other, speed in speeds.items() if _action(other) == _action(rate)}


def _work(rate: str) -> str:
    return rate.partition(",")[0]


def _action(rate: str) -> str:
    """Return the action of a rate that has a name of its own; empty for others."""
    action, colon, _ = rate.partition(":")
    return action if colon else ""


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
        own = throughput.of_instance(rate, task.instance_id)
        known = throughput.load(connection, [rate, own])
        before, own_before = (_speed(known[name]) if name in known else None for name in (rate, own))
        _put(connection, own, updated(own_before, observed, measure.passed, expected=planned[rate]))
        shared = updated(before, observed, measure.passed, _SHARED_WEIGHT, expected=planned[rate])
        if before is None:
            shared = replace(shared, deviation=_FRESH_DEVIATION)
        elif own_before:
            shared = replace(shared, deviation=before.deviation)
        _put(connection, rate, shared)


def _put(connection: sa.Connection, name: str, speed: Speed) -> None:
    throughput.put(connection, name, Rate(speed.value, speed.deviation))


def updated(
    before: Speed | None, observed: float, seconds: float, weight: float = _OWN_WEIGHT, *, expected: float = 1.0
) -> Speed:
    """Return what is known after a measurement. Pure.

    :param seconds: expected duration of what was measured.
    :param weight: of a long measurement against all earlier ones.
    :param expected: speed that the plan expected. It counts while nothing was measured before.
    """
    telling = seconds / (seconds + _TELLING_SECONDS)
    known = before or Speed(expected)
    error = min(max(math.log(observed / known.value), -_LARGEST_ERROR), _LARGEST_ERROR)
    share = telling * (weight if before else 1.0)
    deviation = known.deviation**2 + share * (error**2 - known.deviation**2) if before else _FRESH_DEVIATION**2 / 4
    return Speed(
        value=known.value * math.exp(share * error),
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
            latency=work.latency / speed.value,
            speed=speed.value,
            evidence=speed.evidence,
        )

    in_modes = {mode: expected(work) for mode, work in sub_step.work_in_modes.items()}
    return replace(sub_step, work=expected(sub_step.work), work_in_modes=in_modes)

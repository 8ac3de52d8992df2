"""Remaining time of a task that waits behind other tasks of its instance. Pure.

A task of an instance begins when the tasks before it have ended, so their remaining seconds add up. They are stored
with each task: the one that runs updates them, so the sum falls while it makes progress and stands while it is paused.
A task that waits for a maintenance window begins then, or when the tasks that wait now have ended, if that is later.
"""

from collections.abc import Collection, Sequence
from itertools import takewhile

import msgspec

from cachewright.model.tasks import Task

_CANCELLED_SECONDS = 2.0
"""A cancelled task ends within seconds, whatever its plan had left."""


def with_queue(task: Task, unfinished: Sequence[Task], cancelled: Collection[str] = (), now: int = 0) -> Task:
    """Return a task that waits with the remaining seconds until it has ended, including those of the tasks before it.

    :param unfinished: the unfinished tasks of its instance, oldest first.
    :param cancelled: ids of those that were cancelled.
    :param now: epoch milliseconds.
    """
    ahead = [_shortened(other) if other.id in cancelled else other for other in before(task, unfinished)]
    closed = max((task.begins_at or 0) - now, 0) / 1000 if task.is_scheduled else 0.0
    low = sum(other.remaining_low or other.remaining_seconds for other in ahead)
    high = sum(other.remaining_high or other.remaining_seconds for other in ahead)
    return msgspec.structs.replace(
        task,
        remaining_seconds=task.remaining_seconds + max(sum(other.remaining_seconds for other in ahead), closed),
        remaining_low=task.remaining_low + max(low, closed),
        remaining_high=task.remaining_high + max(high, closed),
    )


def before(task: Task, unfinished: Sequence[Task]) -> list[Task]:
    """Return the tasks that must end before a task that waits begins: the one that runs, and those that were enqueued
    earlier. A retried task is enqueued again, so its creation does not tell its place. A scheduled task is before none,
    and behind all others."""
    queued = [other for other in unfinished if other.status == "WAITING" and not other.is_scheduled]
    waiting = sorted(queued, key=_enqueued_at)
    running = [other for other in unfinished if other.status == "EXECUTING" and other.id != task.id]
    return [*running, *takewhile(lambda other: other.id != task.id, waiting)]


def _enqueued_at(task: Task) -> int:
    """A task that waits was estimated when it was enqueued; tasks of earlier releases were not."""
    return task.created_at if task.estimated_at is None else task.estimated_at


def _shortened(task: Task) -> Task:
    return msgspec.structs.replace(
        task,
        remaining_seconds=min(task.remaining_seconds, _CANCELLED_SECONDS),
        remaining_low=min(task.remaining_low, _CANCELLED_SECONDS),
        remaining_high=min(task.remaining_high, _CANCELLED_SECONDS),
    )

"""Follows a task through the cloud's SDK until it ends, and records its progress and its estimates."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from cachewright.cli.demo.cloud import TaskRow
from cachewright.cli.demo.prediction import Estimate, Prediction, ProgressSample, accuracy, descents
from cachewright.client.progress import Moved, Progress, moved

_EVERY_SECONDS = 0.25
_APPEARS_WITHIN_SECONDS = 15.0
_ENDS_WITHIN_SECONDS = 3600.0


class TaskLost(Exception):
    """A task does not exist, or does not end."""


class Tasks(Protocol):
    """Calls of `Cloud` that are needed here."""

    def tasks(self, instance_id: str) -> list[TaskRow]: ...
    def progress(self, instance_id: str, task_id: str) -> Progress: ...
    def estimates(self, instance_id: str, task_id: str) -> tuple[Estimate, ...]: ...


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """Record of a task that has ended. Times are epoch seconds.

    :ivar planned: expected seconds before the request; None if they were not asked for.
    """

    row: TaskRow
    begin: float
    end: float
    last: Progress
    samples: tuple[ProgressSample, ...]
    estimates: tuple[Estimate, ...] = ()
    planned: float | None = None

    @property
    def succeeded(self) -> bool:
        return self.row.status == "SUCCESS"

    @property
    def seconds(self) -> float:
        return self.end - self.begin

    @property
    def moved(self) -> Moved:
        return moved(self.last)

    @property
    def prediction(self) -> Prediction | None:
        begins = [step.begin.timestamp() for step in self.last.steps if step.begin]
        return accuracy(self.samples, min(begins, default=self.begin), self.end, self.estimates, self.planned)

    @property
    def descents(self) -> list[tuple[int, int]]:
        return descents(self.samples)


Show = Callable[[Progress], None]


def newest(tasks: Tasks, instance_id: str, known: frozenset[str]) -> TaskRow:
    """Wait for the instance's newest task that is not in `known`. TaskLost if none appears."""
    deadline = time.monotonic() + _APPEARS_WITHIN_SECONDS
    while time.monotonic() < deadline:
        rows = [row for row in tasks.tasks(instance_id) if row.id not in known]
        if rows:
            return rows[0]
        time.sleep(_EVERY_SECONDS)
    raise TaskLost(f"no task has appeared within {_APPEARS_WITHIN_SECONDS:.0f} s")


def follow(tasks: Tasks, instance_id: str, task_id: str, show: Show) -> Watched:
    """Poll a task and show its progress until it has ended, with success or not."""
    samples: list[ProgressSample] = []
    started = time.time()
    while time.time() < started + _ENDS_WITHIN_SECONDS:
        asked = time.time()
        row = next((row for row in tasks.tasks(instance_id) if row.id == task_id), None)
        if row is None:
            raise TaskLost(f"task {task_id} disappeared from the list")
        progress = tasks.progress(instance_id, task_id)
        samples.append(ProgressSample(time.time(), progress.percent, progress.remaining))
        show(progress)
        if row.ended:
            begin = _moment(row.created, started)
            end = _moment(row.updated, asked)
            estimates = tasks.estimates(instance_id, task_id)
            return Watched(row=row, begin=begin, end=end, last=progress, samples=tuple(samples), estimates=estimates)
        time.sleep(max(asked + _EVERY_SECONDS - time.time(), 0))
    raise TaskLost(f"task {task_id} has not ended within {_ENDS_WITHIN_SECONDS:.0f} s")


def _moment(reported: datetime | None, polled: float) -> float:
    """Epoch seconds of the task's own time; without one, of the poll."""
    return reported.astimezone(UTC).timestamp() if reported else polled

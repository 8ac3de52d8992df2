"""Following a task through the cloud's client until it ends, and remembering all it told on the way."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from cachewright.cli.demo.cloud import TaskRow
from cachewright.cli.demo.prediction import Glimpse, Prediction, descents, judge
from cachewright.client.progress import Moved, Progress, moved

_EVERY_SECONDS = 0.25
_APPEARS_WITHIN_SECONDS = 15.0
_ENDS_WITHIN_SECONDS = 3600.0


class TaskLost(Exception):
    """A task that should be there is not, or does not end."""


class Tasks(Protocol):
    """What is asked of the cloud."""

    def tasks(self, instance_id: str) -> list[TaskRow]: ...
    def progress(self, instance_id: str, task_id: str) -> Progress: ...


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """A task from its begin to its end, in epoch seconds."""

    row: TaskRow
    begin: float
    end: float
    last: Progress
    glimpses: tuple[Glimpse, ...]

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
        return judge(self.glimpses, self.begin, self.end)

    @property
    def descents(self) -> list[tuple[int, int]]:
        return descents(self.glimpses)


Show = Callable[[Progress], None]


def newest(tasks: Tasks, instance_id: str, known: frozenset[str]) -> TaskRow:
    """The instance's newest task that is not `known`: a resize is answered without one."""
    deadline = time.monotonic() + _APPEARS_WITHIN_SECONDS
    while time.monotonic() < deadline:
        rows = [row for row in tasks.tasks(instance_id) if row.id not in known]
        if rows:
            return rows[0]
        time.sleep(_EVERY_SECONDS)
    raise TaskLost(f"no task has appeared within {_APPEARS_WITHIN_SECONDS:.0f} s")


def follow(tasks: Tasks, instance_id: str, task_id: str, show: Show) -> Watched:
    """Shows each change of the task's progress, and returns when it has ended, well or not."""
    glimpses: list[Glimpse] = []
    started = time.time()
    while time.time() < started + _ENDS_WITHIN_SECONDS:
        asked = time.time()
        row = next((row for row in tasks.tasks(instance_id) if row.id == task_id), None)
        if row is None:
            raise TaskLost(f"task {task_id} is not listed any more")
        progress = tasks.progress(instance_id, task_id)
        glimpses.append(Glimpse(time.time(), progress.percent, progress.remaining))
        show(progress)
        if row.ended:
            begin = _moment(row.created, started)
            end = _moment(row.updated, asked)
            return Watched(row=row, begin=begin, end=end, last=progress, glimpses=tuple(glimpses))
        time.sleep(max(asked + _EVERY_SECONDS - time.time(), 0))
    raise TaskLost(f"task {task_id} has not ended within {_ENDS_WITHIN_SECONDS:.0f} s")


def _moment(told: datetime | None, seen: float) -> float:
    """The task's own time where it tells one: what is seen is up to a poll later."""
    return told.astimezone(UTC).timestamp() if told else seen

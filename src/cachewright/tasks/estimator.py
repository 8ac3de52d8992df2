"""The estimate that a running task shows. Pure, but for what it remembers of the last one."""

from collections.abc import Mapping

import msgspec

from cachewright.model.tasks import Control, Task
from cachewright.tasks.calibration import widths_at
from cachewright.tasks.estimate_age import is_waiting
from cachewright.tasks.forecast import with_forecast
from cachewright.tasks.progress import Widths, effort, estimate, settled

RESTATED = 0.05
"""Change of the effort of a task that explains a change of its end."""


class Estimator:
    """Estimates one task again and again."""

    def __init__(self, task: Task, widths: Mapping[int, Widths]) -> None:
        """:param widths: of the intervals of this kind of task."""
        self._widths = widths
        self._explained: object = None
        self._effort = effort(task.steps)
        self._counters = _counters(task)

    def estimated(self, task: Task, control: Control, now: int) -> Task:
        """Return a task with its estimate at `now`, in epoch milliseconds."""
        if task.status != "EXECUTING":
            return task
        widths = widths_at(task.percent, self._widths)
        current = estimate(task.steps, now, shown=task.percent, control=control, widths=widths)
        explained = (control, [sub.waiting for step in task.steps for sub in step.sub_steps])
        before, self._effort = self._effort, effort(task.steps)
        is_restated = abs(self._effort - before) > RESTATED
        if (
            self._explained == explained
            and not is_restated
            and task.estimated_at is not None
            and task.begin_time is not None
        ):
            passed, elapsed = (now - task.estimated_at) / 1000, (now - task.begin_time) / 1000
            current = settled(current, task.remaining_seconds, passed, elapsed, worked=not is_waiting(task))
        self._explained = explained
        if (counters := _counters(task)) == self._counters:
            current = msgspec.structs.replace(current, percent=task.percent)  # the end of a wait is no progress
        self._counters = counters
        return msgspec.structs.replace(
            task,
            percent=current.percent,
            remaining_seconds=current.remaining_seconds,
            remaining_low=current.low,
            remaining_high=current.high,
            estimated_at=now,
            forecasts=with_forecast(task.forecasts, current, now),
        )


def _counters(task: Task) -> object:
    return [(sub.status, sub.done, sub.uncounted) for step in task.steps for sub in step.sub_steps]

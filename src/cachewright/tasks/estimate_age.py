"""Age of a stored estimate. Pure.

A running task stores its estimate several times a second. Between two of them its remaining time falls with the clock,
as the next estimate will say unless something happens; at 90 % of a short task a quarter of a second is a large part of
what is left.
"""

import msgspec

from cachewright.model.tasks import Task

_OLDEST_MS = 1000
"""Nothing is known beyond this age: the database or the server may have been absent."""


def at_present(task: Task, now: int) -> Task:
    """Return a task with its remaining time at `now`, in epoch milliseconds."""
    if task.status != "EXECUTING" or task.estimated_at is None or is_waiting(task):
        return task
    passed = min(max(now - task.estimated_at, 0), _OLDEST_MS) / 1000
    return msgspec.structs.replace(
        task,
        remaining_seconds=max(task.remaining_seconds - passed, 0.0),
        remaining_low=max(task.remaining_low - passed, 0.0),
        remaining_high=max(task.remaining_high - passed, 0.0),
    )


def is_waiting(task: Task) -> bool:
    """Whether all sub-steps that have begun and not ended wait."""
    running = [sub for step in task.steps for sub in step.sub_steps if sub.status == "EXECUTING"]
    return bool(running) and all(sub.waiting for sub in running)

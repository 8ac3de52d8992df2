"""Which sub-steps have stood still for how long. Pure; it is told the time."""

from collections.abc import Iterator

from cachewright.store.records import SubStep, Task

FIRST_SECONDS = 10.0
"""Of standing still before it is said the first time; then at twice that, and so on."""


class StallWatch:
    def __init__(self) -> None:
        self._marks: dict[str, tuple[tuple[float, str], int, float]] = {}

    def stalled(self, task: Task, now: int) -> Iterator[tuple[SubStep, int]]:
        """Sub-steps under way whose counter and detail have not changed for long, with the seconds; each is told of
        at 10 s, 20 s, 40 s ... `now` in epoch milliseconds."""
        for sub_step in (sub for step in task.steps for sub in step.sub_steps):
            if sub_step.status != "EXECUTING":
                self._marks.pop(sub_step.id, None)
                continue
            says = (sub_step.done, sub_step.detail)
            said, since, next_seconds = self._marks.get(sub_step.id, (None, now, FIRST_SECONDS))
            if says != said:
                since, next_seconds = now, FIRST_SECONDS
            elif (now - since) / 1000 >= next_seconds:
                next_seconds *= 2
                yield sub_step, (now - since) // 1000
            self._marks[sub_step.id] = (says, since, next_seconds)

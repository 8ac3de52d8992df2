"""Which sub-steps have stood still for how long. Pure; it is told the time."""

from collections.abc import Iterator

from cachewright.model.tasks import SubStep, Task

FIRST_SECONDS = 10.0
"""Of standing still before it is said the first time; then at twice that, and so on."""


_RESOLUTION = 1000
"""Less than a thousandth of the work is not taken for progress: nodes that stand still greet each other on and on, and
what they say is counted."""


class StallDetector:
    def __init__(self) -> None:
        self._marks: dict[str, tuple[int, int, float]] = {}

    def stalled(self, task: Task, now: int) -> Iterator[tuple[SubStep, int]]:
        """Sub-steps under way whose counter has not changed for long, with the seconds; each is told of at 10 s, 20 s,
        40 s ... `now` in epoch milliseconds."""
        for sub_step in (sub for step in task.steps for sub in step.sub_steps):
            if sub_step.status != "EXECUTING":
                self._marks.pop(sub_step.id, None)
                continue
            says = int(_RESOLUTION * sub_step.done / (sub_step.work.total or 1))
            said, since, next_seconds = self._marks.get(sub_step.id, (-1, now, FIRST_SECONDS))
            if says != said:
                since, next_seconds = now, FIRST_SECONDS
            elif (now - since) / 1000 >= next_seconds:
                next_seconds *= 2
                yield sub_step, (now - since) // 1000
            self._marks[sub_step.id] = (says, since, next_seconds)

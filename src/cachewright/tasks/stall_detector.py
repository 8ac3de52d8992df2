"""Detects sub-steps without progress. Pure; the caller passes the time."""

from collections.abc import Iterator

from cachewright.model.tasks import SubStep, Task

FIRST_SECONDS = 10.0
"""Time without progress before the first report; the interval doubles after each report."""

_RESOLUTION = 1000
"""Progress counts in thousandths of the work: protocol traffic between stalled nodes increases counters slightly."""


class StallDetector:
    def __init__(self) -> None:
        self._marks: dict[str, tuple[int, int, float]] = {}

    def stalled(self, task: Task, now: int) -> Iterator[tuple[SubStep, int]]:
        """Executing sub-steps without progress, with the seconds since then: reported after 10 s, 20 s, 40 s, ...

        :param now: epoch milliseconds.
        """
        for sub_step in (sub for step in task.steps for sub in step.sub_steps):
            if sub_step.status != "EXECUTING":
                self._marks.pop(sub_step.id, None)
                continue
            progress = int(_RESOLUTION * sub_step.done / (sub_step.work.total or 1))
            earlier, since, next_seconds = self._marks.get(sub_step.id, (-1, now, FIRST_SECONDS))
            if progress != earlier:
                since, next_seconds = now, FIRST_SECONDS
            elif (now - since) / 1000 >= next_seconds:
                next_seconds *= 2
                yield sub_step, (now - since) // 1000
            self._marks[sub_step.id] = (progress, since, next_seconds)

"""Stalled counters are reported; moving ones, and ended sub-steps, are not."""

from cachewright.model.tasks import Step, StepStatus, SubStep, Task
from cachewright.tasks.plan import effort
from cachewright.tasks.stall_detector import StallDetector
from database_fixtures import a_task


def task(done: float, status: StepStatus = "EXECUTING") -> Task:
    sub_step = SubStep(
        id="s",
        name="move",
        action="a",
        arguments={},
        work=effort("1", seconds=1),
        done=done,
        status=status,
    )
    return a_task(status="EXECUTING", created_at=0, steps=(Step(id="1", name="one", sub_steps=(sub_step,)),))


def told(watch: StallDetector, seen: Task, second: float) -> list[int]:
    return [seconds for _, seconds in watch.stalled(seen, int(second * 1000))]


def test_standing_still_is_told_at_ten_seconds_and_each_doubling() -> None:
    watch = StallDetector()
    said = {second: told(watch, task(0.3), second) for second in range(50)}
    assert {second: seconds for second, seconds in said.items() if seconds} == {10: [10], 20: [20], 40: [40]}


def test_whatever_moves_begins_anew_and_a_trickle_is_no_move() -> None:
    watch = StallDetector()
    assert not any(told(watch, task(second / 100), second) for second in range(30))
    assert [told(watch, task(0.29 + second / 1e6), second) for second in (38, 39, 40)] == [[], [10], []]


def test_a_sub_step_that_is_over_is_no_longer_watched() -> None:
    watch = StallDetector()
    assert told(watch, task(0.3), 0) == []
    assert told(watch, task(1.0, "FINISH"), 5) == []
    assert told(watch, task(0.3), 12) == []

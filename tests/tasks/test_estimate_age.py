"""Remaining time between two stored estimates."""

import msgspec
import pytest

from cachewright.model.tasks import Task, Wait
from cachewright.tasks.estimate_age import at_present
from cachewright.tasks.plan import SubStepSpec, build, effort
from database_fixtures import a_task


def running(*, waits: bool = False) -> Task:
    (step,) = build("t", {"Step.": [SubStepSpec(name="s", action="a", work=effort("a", seconds=1.0))]})
    sub_step = msgspec.structs.replace(
        step.sub_steps[0], status="EXECUTING", waiting=Wait(1, "paused") if waits else None
    )
    return msgspec.structs.replace(
        a_task(status="EXECUTING", begin_time=1, steps=(msgspec.structs.replace(step, sub_steps=(sub_step,)),)),
        estimated_at=10_000,
        remaining_seconds=2.0,
        remaining_low=0.1,
        remaining_high=3.0,
    )


def test_the_remaining_time_falls_with_the_clock() -> None:
    shown = at_present(running(), 10_250)
    assert shown.remaining_seconds == pytest.approx(1.75)
    assert shown.remaining_low == 0.0
    assert shown.remaining_high == pytest.approx(2.75)


def test_the_estimate_of_a_server_that_was_absent_is_not_older_than_a_second() -> None:
    assert at_present(running(), 70_000).remaining_seconds == pytest.approx(1.0)


@pytest.mark.parametrize("task", [running(waits=True), msgspec.structs.replace(running(), status="WAITING")])
def test_it_stands_while_the_task_waits(task: Task) -> None:
    assert at_present(task, 10_500) == task

"""Status of a step when its task ends."""

import pytest

from cachewright.errors import TASK_CANCELLED
from cachewright.model.tasks import Step, StepStatus, SubStep
from cachewright.tasks.plan import effort
from cachewright.tasks.step_status import ended, with_sub_step


def a_step(*statuses: StepStatus) -> Step:
    """A step whose sub-steps have these statuses. Each takes a second."""
    work = effort("1", seconds=1.0)
    sub_steps = tuple(
        SubStep(
            id=str(place),
            name="s",
            action="a",
            arguments={},
            work=work,
            status=status,
            begin_time=None if status == "WAITING" else 1000 * place,
            end_time=1000 * (place + 1) if status in {"FINISH", "FAILED"} else None,
            error_code="DCS.9004" if status == "FAILED" else None,
        )
        for place, status in enumerate(statuses, start=1)
    )
    step = Step(id="p", name="Pre-check.", sub_steps=sub_steps)
    return with_sub_step(step, "1", lambda sub: sub)


@pytest.mark.parametrize(
    ("statuses", "status", "end_time", "error_code"),
    [
        pytest.param(["FINISH", "WAITING"], "FAILED", 9000, TASK_CANCELLED, id="between two sub-steps"),
        pytest.param(["FINISH", "EXECUTING"], "FAILED", 9000, TASK_CANCELLED, id="in a sub-step"),
        pytest.param(["FAILED", "WAITING"], "FAILED", 2000, "DCS.9004", id="after a failure"),
        pytest.param(["FINISH", "FINISH"], "FINISH", 3000, None, id="after the end"),
        pytest.param(["WAITING", "WAITING"], "WAITING", None, None, id="before the begin"),
    ],
)
def test_no_step_of_an_ended_task_executes(
    statuses: list[StepStatus], status: StepStatus, end_time: int | None, error_code: str | None
) -> None:
    step = ended(a_step(*statuses), TASK_CANCELLED, 9000)
    assert (step.status, step.end_time, step.error_code) == (status, end_time, error_code)


def test_a_sub_step_that_has_not_begun_stays_so() -> None:
    assert [sub.status for sub in ended(a_step("FINISH", "WAITING"), TASK_CANCELLED, 9000).sub_steps] == [
        "FINISH",
        "WAITING",
    ]

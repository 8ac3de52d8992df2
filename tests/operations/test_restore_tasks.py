"""What a task of a restore permits in each of its phases."""

from typing import Any

import pytest

from cachewright.model.tasks import Step, SubStep, Task, Work
from cachewright.operations.actions.node_status import halt_node
from cachewright.operations.actions.takeover import take_over
from cachewright.operations.restore import RESTORE
from cachewright.tasks.operation import CANCELLED
from database_fixtures import a_task

WORK = Work(unit="nodes", total=1, seconds=1, lane="a")


def at(*, halted: bool = True, **takeover: Any) -> Task:
    """A task with the members of the sub-step of its takeover."""
    halt = SubStep(
        id="h",
        name="h",
        action=halt_node.name,
        arguments={"node_id": "n"},
        work=WORK,
        begin_time=1 if halted else None,
    )
    begin = SubStep(id="t", name="t", action=take_over.name, arguments={"node_ids": ["n"]}, work=WORK, **takeover)
    steps = (Step(id="1", name="Node stop.", sub_steps=(halt,)), Step(id="2", name="Takeover.", sub_steps=(begin,)))
    return a_task(kind="restore", steps=steps)


@pytest.mark.parametrize(
    ("task", "permitted"),
    [
        (at(halted=False), True),
        (at(), True),
        (at(begin_time=1), False),
        (at(begin_time=1, status="FAILED", error_code="DCS.9006"), False),
        (at(begin_time=1, status="FAILED", error_code=CANCELLED), True),  # cancelled before it did anything
        (at(begin_time=1, status="FINISH"), False),
    ],
)
def test_a_restore_is_neither_interrupted_nor_repeated_once_clients_may_have_written(
    task: Task, *, permitted: bool
) -> None:
    assert RESTORE.can_interrupt(task) is permitted
    assert RESTORE.can_retry(task) is permitted

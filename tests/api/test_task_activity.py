"""Waits, heartbeat and interval of a task in its record and its events; the contract's progress has none of them."""

import msgspec

from cachewright.api.progress import render
from cachewright.api.schemas.control import record
from cachewright.api.schemas.task_activity import TaskWait, activity, progress_event
from cachewright.model.tasks import Control, Step, SubStep, Task, Wait
from cachewright.tasks.plan import effort
from database_fixtures import a_task

EXTENSION = {"heartbeat", "waiting", "remain_seconds", "remain_low", "remain_high", "effort"}


def sub_step(name: str, progress_at: int | None, waiting: Wait | None) -> SubStep:
    return SubStep(
        id=name,
        name=name,
        action="a",
        arguments={},
        work=effort(name, seconds=1.0),
        progress_at=progress_at,
        waiting=waiting,
    )


def moving() -> Task:
    sub_steps = (
        sub_step("a", 3000, None),
        sub_step("b", 2000, Wait(2500, "the latency ceiling")),
        sub_step("c", None, None),
    )
    step = Step(id="1", name="one", sub_steps=sub_steps)
    return a_task(
        kind="resize",
        status="EXECUTING",
        steps=(step,),
        remaining_seconds=12.0,
        remaining_low=9.0,
        remaining_high=18.0,
    )


def test_the_heartbeat_is_the_last_progress_of_any_sub_step() -> None:
    assert activity(moving()).heartbeat == "1970-01-01T00:00:03.000Z"
    assert activity(a_task()).heartbeat is None


def test_waits_name_their_cause_their_begin_and_their_sub_step() -> None:
    expected = TaskWait(since="1970-01-01T00:00:02.500Z", cause="the latency ceiling", sub_step="b")
    assert activity(moving()).waiting == [expected]


def test_an_ended_task_has_nothing_left() -> None:
    ended = activity(msgspec.structs.replace(moving(), status="FAILED"))
    assert (ended.waiting, ended.remain_seconds, ended.remain_low, ended.remain_high) == ([], 0, 0, 0)


def test_record_and_events_have_the_extension_and_the_contract_has_not() -> None:
    stored = msgspec.to_builtins(record(moving(), Control()))
    event = msgspec.to_builtins(progress_event(moving()))
    contract = msgspec.json.decode(render(moving()).body)
    assert contract.keys() == {"progress", "remain_time", "step_details"}
    assert event.keys() == contract.keys() | EXTENSION
    assert {name: event[name] for name in contract} == contract == stored["progress"]
    assert {name: event[name] for name in EXTENSION} == {name: stored[name] for name in EXTENSION}
    assert (event["remain_seconds"], event["remain_low"], event["remain_high"]) == (12.0, 9.0, 18.0)
    assert event["effort"] == 1.0

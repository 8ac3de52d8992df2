"""Concurrent writes of many lanes to the record of one task, in a real database."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from cachewright.model.tasks import SubStep, Task
from cachewright.store import tasks
from cachewright.store.database import Database
from cachewright.tasks import recorder as recorder_module
from cachewright.tasks.plan import SubStepSpec, build, effort
from cachewright.tasks.recorder import TaskRecorder
from database_fixtures import a_task, migrated

LANES = 20


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = migrated(database_url)
    drafts = [
        SubStepSpec(name=f"{lane}", action="a", work=effort(f"{lane}", seconds=1.0, total=10), arguments={})
        for lane in range(LANES)
    ]
    task = a_task(status="EXECUTING", begin_time=1, steps=build("t", {"Step.": drafts}))
    with database.write() as connection:
        tasks.add(connection, task)
    yield database
    database.close()


def stored(database: Database, task_id: str = "t") -> Task:
    with database.read() as connection:
        return tasks.load(connection, task_id)


def sub_steps(task: Task) -> list[SubStep]:
    return [sub_step for step in task.steps for sub_step in step.sub_steps]


async def test_lanes_share_writes_and_each_waits_for_its_own(database: Database) -> None:
    published: list[Task] = []
    recorder = await TaskRecorder.load(database, "t", published.append)

    async def run(sub_step_id: str) -> None:
        for change, status in ((recorder.begin, "EXECUTING"), (recorder.finish, "FINISH")):
            await change(sub_step_id)
            on_record = {sub_step.id: sub_step.status for sub_step in sub_steps(stored(database))}
            assert on_record[sub_step_id] == status

    await asyncio.gather(*(run(sub_step.id) for sub_step in sub_steps(recorder.task)))
    assert {sub_step.status for sub_step in sub_steps(stored(database))} == {"FINISH"}
    assert stored(database).revision == len(published) < LANES
    assert published[-1] == stored(database)


async def test_who_shares_a_write_that_fails_is_told_as_well(database: Database) -> None:
    recorder = await TaskRecorder.load(database, "t", lambda _task: None)
    with database.write() as connection:
        tasks.save(connection, stored(database))  # its worker must take itself for replaced
    begun = (recorder.begin(sub_step.id) for sub_step in sub_steps(recorder.task))
    told = await asyncio.gather(*begun, return_exceptions=True)
    assert [type(error) for error in told] == [tasks.StaleTask] * LANES


async def test_the_end_of_a_wait_is_no_progress(database: Database) -> None:
    recorder = await TaskRecorder.load(database, "t", lambda _task: None)
    first, second, *_ = (sub_step.id for sub_step in sub_steps(recorder.task))
    await recorder.begin(first)
    await recorder.finish(first)
    await recorder.begin(second)
    recorder.measure(second, done=5)
    await recorder.write()
    percent = recorder.task.percent
    recorder.begin_wait(second, "paused", seconds=0.0)
    await asyncio.sleep(0.5)
    recorder.end_wait(second)
    await recorder.write()
    assert recorder.task.percent == percent
    assert recorder.sub_step(second).waited_ms >= 400


async def test_work_that_is_done_is_a_smaller_share_of_a_larger_effort(database: Database) -> None:
    recorder = await TaskRecorder.load(database, "t", lambda _task: None)
    first, *_ = (sub_step.id for sub_step in sub_steps(recorder.task))
    await recorder.begin(first)
    recorder.measure(first, done=6, scale=1.0)
    recorder.measure(first, done=2, scale=3.0)
    assert recorder.sub_step(first).done == pytest.approx(2)
    recorder.measure(first, done=1, scale=3.0)
    assert recorder.sub_step(first).done == pytest.approx(2), "a counter that falls is no step back"


async def test_a_task_begins_with_the_attempt_that_makes_its_plan(database: Database) -> None:
    with database.write() as connection:
        tasks.add(connection, a_task(id="u", instance_id="j"))
    recorder = await TaskRecorder.load(database, "u", lambda _task: None)
    began = time.monotonic()
    recorder.begin_planning()  # first attempt, which fails
    await asyncio.sleep(0.3)
    recorder.begin_planning()
    await asyncio.sleep(0.2)
    draft = SubStepSpec(name="a", action="a", work=effort("lane", seconds=1.0))
    await recorder.start(build("u", {"One.": [draft], "Two.": [draft]}))
    passed = (time.monotonic() - began) * 1000
    one, two = stored(database, "u").steps
    assert 190 <= one.planning_ms <= passed - 290
    assert two.planning_ms == 0


async def test_a_sub_step_begins_when_the_one_before_it_has_ended(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "_STORING_MS", 5000)
    recorder = await TaskRecorder.load(database, "t", lambda _task: None)
    first, second, third, *_ = [sub_step.id for sub_step in sub_steps(recorder.task)]
    await recorder.begin(first)
    await recorder.finish(first)
    await asyncio.sleep(0.02)
    await recorder.begin(second)
    assert recorder.sub_step(second).begin_time == recorder.sub_step(first).end_time
    await recorder.finish(second)
    monkeypatch.setattr(recorder_module, "_STORING_MS", 10)
    await asyncio.sleep(0.02)
    await recorder.begin(third)
    last = recorder.sub_step(second).end_time
    assert last is not None
    assert (recorder.sub_step(third).begin_time or 0) > last, "something else took this time"

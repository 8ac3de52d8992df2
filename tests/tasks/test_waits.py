"""Waits of sub-steps: how they begin, end and add up, survive a restart, and count in no time limit."""

import asyncio
import time
from collections.abc import Callable, Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.errors import DatabaseUnavailable
from cachewright.model.tasks import Control, Step, SubStep, Task, Wait
from cachewright.store import task_controls, tasks
from cachewright.store.database import Database
from cachewright.tasks import recorder as recorders
from cachewright.tasks import waits
from cachewright.tasks.concurrency_limiter import ConcurrencyLimiter
from cachewright.tasks.interruption import Interruption, RetryDelay
from cachewright.tasks.operation import ActionFailed, Policy, StepContext
from cachewright.tasks.plan import SubStepSpec, build, effort
from cachewright.tasks.recorder import TaskRecorder
from database_fixtures import a_task, migrated

BUSY = "waiting for node ab: a script runs (BUSY)"
RANGE = "{node_id:ab,slot_range:[0 5460],keys:0/10,bytes:0}"
POLICY = Policy(timeout=0.5)


def executing(begin: int = 1000) -> SubStep:
    work = effort("1", seconds=1.0, total=10)
    return SubStep(
        id="s", name="s", action="a", arguments={}, work=work, status="EXECUTING", begin_time=begin, detail=RANGE
    )


def test_a_wait_is_recorded_and_shown_until_it_ends() -> None:
    waiting = waits.begin_wait(executing(), BUSY, 5000, since=4000)
    assert waiting.waiting == Wait(4000, "node ab: a script runs (BUSY)")
    assert waiting.detail == f"{RANGE[:-1]},status:{BUSY}}}"
    assert waits.waited_ms(waiting, 6000) == 2000
    ended = waits.end_wait(waiting, 7000)
    assert (ended.waiting, ended.waited_ms, ended.detail) == (None, 3000, RANGE)
    assert waits.end_wait(ended, 9000) == ended


def test_a_wait_for_the_same_cause_goes_on_with_another_status() -> None:
    cause = "a background save of node ab"
    first = waits.begin_wait(executing(), f"waiting for {cause} (1 %)", 5000, since=5000, cause=cause)
    later = waits.begin_wait(first, f"waiting for {cause} (7 %)", 6000, since=6000, cause=cause)
    assert later.waiting == first.waiting == Wait(5000, cause)
    assert later.detail.endswith(f"status:waiting for {cause} (7 %)}}")


def test_a_wait_for_another_cause_follows_without_an_overlap() -> None:
    first = waits.begin_wait(executing(), BUSY, 5000, since=5000)
    second = waits.begin_wait(first, waits.PAUSED, 8000, since=2000)
    assert (second.waiting, second.waited_ms) == (Wait(8000, "paused"), 3000)
    assert waits.end_wait(second, 9000).waited_ms == 4000


def test_a_wait_before_the_begin_of_a_sub_step_is_shown_without_a_length() -> None:
    held = waits.begin_wait(
        msgspec.structs.replace(executing(), begin_time=None, status="WAITING"), waits.PAUSED, 5000, since=5000
    )
    assert held.waiting == Wait(5000, "paused")
    assert waits.end_wait(held, 9000).waited_ms == waits.waited_ms(held, 9000) == 0


CHANGES = st.lists(st.tuples(st.integers(0, 5000), st.sampled_from([BUSY, waits.PAUSED, ""]), st.integers(0, 9000)))


@given(CHANGES)
def test_waits_are_never_longer_than_the_sub_step_takes(changes: list[tuple[int, str, int]]) -> None:
    """Also those that are recorded afterwards, as the recorder does: not before the end of the last one."""
    sub_step, now, last_end = executing(begin=0), 0, 0
    for passed, status, ago in changes:
        now += passed
        before = waits.waited_ms(sub_step, now)
        if status:
            sub_step = waits.begin_wait(sub_step, status, now, since=max(now - ago, last_end))
        elif sub_step.waiting:
            sub_step, last_end = waits.end_wait(sub_step, now), now
        assert before <= waits.waited_ms(sub_step, now) <= now


def test_a_worker_that_ended_leaves_a_wait_in_what_was_executing() -> None:
    paused = msgspec.structs.replace(executing(), waiting=Wait(1500, "paused"))
    done = msgspec.structs.replace(executing(), status="FINISH", end_time=1800)
    step = Step(id="1", name="one", status="EXECUTING", begin_time=1000, sub_steps=(executing(), paused, done))
    (resumed,) = waits.interrupted(a_task(status="EXECUTING", steps=(step,), estimated_at=2000)).steps
    assert [sub.waiting for sub in resumed.sub_steps] == [Wait(2000, waits.SERVER_DOWN), Wait(1500, "paused"), None]
    begun = a_task(status="EXECUTING", steps=(step,), estimated_at=None)
    assert waits.interrupted(begun) == begun


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = migrated(database_url)
    drafts = [SubStepSpec(name=name, action="a", work=effort(name, seconds=1.0, total=10)) for name in "ab"]
    with database.write() as connection:
        tasks.add(connection, a_task(status="EXECUTING", begin_time=1, steps=build("t", {"Step.": drafts})))
    yield database
    database.close()


async def load(database: Database) -> tuple[TaskRecorder, str]:
    """A recorder of the stored task, and the id of its first sub-step."""
    recorder = await TaskRecorder.load(database, "t", lambda _: None)
    return recorder, recorder.task.steps[0].sub_steps[0].id


def put(database: Database, control: Control) -> None:
    with database.write() as connection:
        task_controls.put(connection, "t", control)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def on_record(database: Database) -> Task:
    with database.read() as connection:
        return tasks.load(connection, "t")


def first(database: Database) -> SubStep:
    return on_record(database).steps[0].sub_steps[0]


async def test_progress_has_a_time_and_a_begin_has_none(database: Database) -> None:
    recorder, sub_step = await load(database)
    await recorder.begin(sub_step)
    assert recorder.sub_step(sub_step).progress_at is None
    recorder.measure(sub_step, done=3)
    at = recorder.sub_step(sub_step).progress_at
    assert at is not None
    await asyncio.sleep(0.02)
    recorder.measure(sub_step, done=2, detail="{a:1}")
    assert recorder.sub_step(sub_step).progress_at == at
    await recorder.finish(sub_step)
    assert (first(database).progress_at or 0) > at


@pytest.mark.parametrize("how", ["finish", "fail", "end"])
async def test_an_end_closes_the_wait(database: Database, how: str) -> None:
    recorder, sub_step = await load(database)
    await recorder.begin(sub_step)
    recorder.begin_wait(sub_step, BUSY)
    await asyncio.sleep(0.05)
    if how == "finish":
        await recorder.finish(sub_step)
    elif how == "fail":
        await recorder.fail(sub_step, "DCS.9003", "lost")
    else:
        await recorder.end(error_code="DCS.9003", message="lost", also=lambda *_: None)
    ended = first(database)
    assert (ended.waiting, "status:" in ended.detail) == (None, False)
    assert ended.begin_time is not None
    assert ended.end_time is not None
    assert 50 <= ended.waited_ms <= ended.end_time - ended.begin_time


async def test_a_wait_that_is_noticed_late_begins_with_the_sub_step_or_after_the_last_one(database: Database) -> None:
    recorder, sub_step = await load(database)
    await recorder.begin(sub_step)
    recorder.begin_wait(sub_step, BUSY, seconds=3600)
    waiting = recorder.sub_step(sub_step).waiting
    assert waiting is not None
    assert waiting.since == recorder.sub_step(sub_step).begin_time
    recorder.end_wait(sub_step)
    waited = recorder.sub_step(sub_step).waited_ms
    recorder.begin_wait(sub_step, waits.PAUSED, seconds=3600)
    assert recorder.waited_seconds(sub_step) < waited / 1000 + 3000


async def test_details_keep_the_status_of_a_wait_and_lose_it_with_it(database: Database) -> None:
    recorder, sub_step = await load(database)
    await recorder.begin(sub_step)
    recorder.begin_wait(sub_step, BUSY)
    recorder.measure(sub_step, detail="{keys:3/4}")
    recorder.show(sub_step, "")
    assert recorder.sub_step(sub_step).detail == f"{{keys:3/4,status:{BUSY}}}"
    recorder.end_wait(sub_step)
    assert recorder.sub_step(sub_step).detail == "{keys:3/4}"
    recorder.show(sub_step, "waiting for a permit of the host")
    assert recorder.sub_step(sub_step).waiting is None, "its turn among others is a part of its pace"


async def test_a_pause_of_a_running_sub_step_is_a_wait(database: Database) -> None:
    recorder, sub_step = await load(database)
    await recorder.begin(sub_step)
    put(database, Control(state="paused"))
    keeper = asyncio.create_task(recorder.keep())
    await recorder.write()
    held = asyncio.create_task(StepContext(recorder, sub_step, POLICY).wait_until_allowed())
    await until(lambda: first(database).waiting is not None)
    waiting = first(database)
    await asyncio.sleep(0.2)
    assert waiting.waiting is not None
    assert (waiting.waiting.cause, waiting.detail) == ("paused", "{status:paused}")
    put(database, Control(latency_ceiling_ms=1))
    await held
    await recorder.write()
    keeper.cancel()
    ended = first(database)
    assert (ended.waiting, ended.detail) == (None, "")
    assert ended.waited_ms >= 1000 * waits.SHORTEST_SECONDS + 200


async def test_a_latency_ceiling_that_holds_a_sub_step_back_is_a_wait(database: Database) -> None:
    put(database, Control(latency_ceiling_ms=1))
    recorder, sub_step = await load(database)
    await recorder.begin(sub_step)
    is_slow = True

    async def exceeds(ceiling: float) -> bool:
        return is_slow

    held = asyncio.create_task(StepContext(recorder, sub_step, POLICY).wait_until_allowed(exceeds))
    await until(lambda: recorder.sub_step(sub_step).waiting is not None)
    waiting = recorder.sub_step(sub_step)
    assert waiting.waiting is not None
    assert waiting.waiting.cause == "the latency ceiling"
    await asyncio.sleep(0.2)
    is_slow = False
    await held
    assert recorder.sub_step(sub_step).waited_ms >= 1000 * waits.SHORTEST_SECONDS + 200


async def test_a_paused_task_holds_back_what_has_not_begun(database: Database) -> None:
    put(database, Control(state="paused"))
    recorder, sub_step = await load(database)

    async def run() -> None:
        async with ConcurrencyLimiter(recorder).turn(sub_step):
            await recorder.begin(sub_step)

    running = asyncio.create_task(run())
    await asyncio.sleep(0.2)
    held = recorder.sub_step(sub_step)
    assert held.waiting is not None
    assert (held.waiting.cause, held.status, held.detail) == ("paused", "WAITING", "{status:paused}")
    put(database, Control())
    await recorder.write()
    await running
    begun = recorder.sub_step(sub_step)
    assert (begun.status, begun.waiting, begun.waited_ms, begun.detail) == ("EXECUTING", None, 0, "")


async def test_a_cancelled_task_does_not_stay_paused(database: Database) -> None:
    put(database, Control(state="paused"))
    recorder, sub_step = await load(database)
    running = asyncio.create_task(ConcurrencyLimiter(recorder).turn(sub_step).__aenter__())
    await asyncio.sleep(0.2)
    put(database, Control(state="cancelled"))
    await recorder.write()
    with pytest.raises(ActionFailed, match="cancelled"):
        await running
    assert recorder.sub_step(sub_step).waiting is None


async def test_the_time_in_which_the_server_did_not_run_is_a_wait(database: Database) -> None:
    killed, sub_step = await load(database)
    await killed.begin(sub_step)
    written_at = on_record(database).estimated_at
    await asyncio.sleep(0.4)
    resumed, _ = await load(database)
    assert resumed.sub_step(sub_step).waiting == Wait(written_at or 0, waits.SERVER_DOWN)
    await resumed.begin(sub_step)
    begun = first(database)
    assert begun.waiting is None
    assert begun.waited_ms >= 400
    assert begun.begin_time == killed.sub_step(sub_step).begin_time
    other = on_record(database).steps[0].sub_steps[1]
    assert (other.waiting, other.waited_ms) == (None, 0)


async def test_a_pause_goes_on_when_the_server_was_killed(database: Database) -> None:
    put(database, Control(state="paused"))
    killed, sub_step = await load(database)
    await killed.begin(sub_step)
    killed.begin_wait(sub_step, waits.PAUSED)
    await killed.write()
    since = first(database).waiting
    await asyncio.sleep(0.3)
    resumed, _ = await load(database)
    running = asyncio.create_task(ConcurrencyLimiter(resumed).turn(sub_step).__aenter__())
    await asyncio.sleep(0.2)
    assert resumed.sub_step(sub_step).waiting == since
    put(database, Control())
    await resumed.write()
    await running
    assert resumed.sub_step(sub_step).waited_ms >= 500


async def test_a_begin_that_cannot_be_stored_waits_for_the_database(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorders, "DATABASE_SECONDS", 0.4)
    recorder, sub_step = await load(database)
    causes: list[str] = []
    save = tasks.save

    def refuse(*args: object) -> Task:
        waiting = recorder.sub_step(sub_step).waiting
        causes.append(waiting.cause if waiting else "")
        if len(causes) <= 2:
            raise DatabaseUnavailable("it restarts")
        return save(*args)  # type: ignore[arg-type]  # the arguments of `save`

    monkeypatch.setattr(tasks, "save", refuse)
    await recorder.begin(sub_step)
    assert causes == ["", "the database", "the database"]
    assert recorder.sub_step(sub_step).waiting is None
    assert recorder.sub_step(sub_step).waited_ms >= 400


async def test_the_pause_before_an_attempt_is_a_wait(database: Database) -> None:
    recorder, sub_step = await load(database)
    await recorder.begin(sub_step)

    def show(status: str, seconds: float) -> None:
        recorder.show_wait(sub_step, status, seconds)

    policy = Policy(timeout=1, attempts=3, first_delay=0.5)
    delay = RetryDelay(policy, Interruption(recorder, sub_step), show)
    retried = asyncio.create_task(delay.is_retried(ActionFailed("DCS.9003", "lost")))
    await asyncio.sleep(0.2)
    waiting = recorder.sub_step(sub_step).waiting
    assert waiting is not None
    assert waiting.cause == "the next attempt"
    assert await retried
    assert recorder.sub_step(sub_step).waited_ms >= 500


async def test_a_time_limit_excludes_waits(database: Database) -> None:
    recorder, sub_step = await load(database)
    await recorder.begin(sub_step)

    async def act() -> str:
        recorder.begin_wait(sub_step, waits.PAUSED)
        await asyncio.sleep(1)
        recorder.end_wait(sub_step)
        return "done"

    assert await Interruption(recorder, sub_step).limit(POLICY, act()) == "done"


async def test_a_time_limit_counts_work_before_and_after_a_wait(database: Database) -> None:
    recorder, sub_step = await load(database)
    await recorder.begin(sub_step)

    async def act() -> None:
        recorder.begin_wait(sub_step, waits.PAUSED)
        await asyncio.sleep(0.7)
        recorder.end_wait(sub_step)
        await asyncio.sleep(60)

    started = time.monotonic()
    with pytest.raises(TimeoutError):
        await Interruption(recorder, sub_step).limit(POLICY, act())
    assert time.monotonic() - started >= 1.2

"""The engine with a real database and a real DBOS, and an operation whose sub-steps do what a test tells them."""

import asyncio
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping

import pytest
import sqlalchemy as sa
from dbos import DBOS

from cachewright.errors import DatabaseUnavailable
from cachewright.model.tasks import ENDED, Control, Step, Task
from cachewright.store import tasks
from cachewright.store.database import Database
from cachewright.tasks.engine import Engine, keep_seconds
from cachewright.tasks.feed import TaskFeed
from cachewright.tasks.operation import PLAN, RECOVER, ActionFailed, Policy, StepContext
from cachewright.tasks.plan import SubStepSpec, build, effort
from cachewright.tasks.recorder import KEEP_SECONDS, TaskRecorder
from cachewright.tasks.waiting import Postponed
from database_fixtures import migrated

PATIENCE_SECONDS = 60


class Scripted:
    """An operation that takes its plan from the task's params: {step name: [[sub-step name, lane, action], ...]}."""

    policies: Mapping[str, Policy] = {
        PLAN: Policy(timeout=5, attempts=2, first_delay=0.01),
        RECOVER: Policy(timeout=5, attempts=2, first_delay=0.01),
        "note": Policy(timeout=5, attempts=1),
        "hold": Policy(timeout=60, attempts=1),
        "fail": Policy(timeout=5, attempts=1),
        "fail once": Policy(timeout=5, attempts=3, first_delay=0.01),
        "fail for good": Policy(timeout=5, attempts=3, first_delay=0.01),
        "crash": Policy(timeout=5, attempts=2, first_delay=0.01),
        "hang": Policy(timeout=0.2, attempts=2, first_delay=0.01),
    }

    def __init__(self) -> None:
        self.did: list[str] = []
        self.at_once = 0
        self.release = threading.Event()
        self.recovered: list[str] = []
        self.recovery_fails = False
        self.host_is_away = threading.Event()
        self.concluded: list[tuple[str, str, bool]] = []

    async def plan(self, task: Task) -> tuple[Step, ...]:
        if "refuse" in task.params:
            raise ActionFailed("DCS.9004", "no node answers")
        drafts = {
            name: [
                SubStepSpec(
                    name=sub, action=action, work=effort(lane, unit="bytes", seconds=1.0, total=10), arguments={}
                )
                for sub, lane, action in subs
            ]
            for name, subs in task.params["steps"].items()
        }
        return build(task.id, drafts)

    async def perform(self, action: str, step: StepContext) -> None:
        name = step.sub_step.name
        self.did.append(name)
        self.at_once += 1
        try:
            await self._act(action, step, self.did.count(name))
        finally:
            self.at_once -= 1

    async def _act(self, action: str, step: StepContext, attempt: int) -> None:
        step.measure(done=5, detail=f"{{attempt:{attempt}}}")
        if action == "hold":
            while not self.release.is_set():
                await asyncio.sleep(0.01)
        if action == "fail" or (action == "fail once" and attempt == 1):
            raise ActionFailed("DCS.9003", "lost")
        if action == "fail for good":
            raise ActionFailed("DCS.9007", "disk full", True)
        if action == "crash":
            raise ZeroDivisionError("a bug")
        if action == "hang":
            await asyncio.sleep(60)
        await asyncio.sleep(0.02)

    async def recover(self, task: Task) -> None:
        self.recovered.append(task.id)
        if self.recovery_fails:
            raise ActionFailed("DCS.9004", "no node answers", True)
        if self.host_is_away.is_set():
            raise Postponed("waiting for host h2", self._is_back)

    async def _is_back(self) -> bool:
        return not self.host_is_away.is_set()

    def learn(self, connection: sa.Connection, task: Task) -> None:
        """It has no expected duration."""

    def is_typical(self, task: Task, control: Control) -> bool:
        return True

    def conclude(self, connection: sa.Connection, task: Task, recovered: bool) -> None:
        self.concluded.append((task.id, task.status, recovered))


class Bench:
    def __init__(self, database: Database, engine: Engine, operation: Scripted) -> None:
        self.database = database
        self.engine = engine
        self.operation = operation

    def submit(self, instance_id: str | None = None, **params: object) -> str:
        task_id = uuid.uuid4().hex
        task = Task(
            id=task_id,
            instance_id=instance_id or str(uuid.uuid4()),
            project_id="p",
            kind="scripted",
            name="SCRIPTED",
            status="WAITING",
            params=params,
            details={},
            user_id="u",
            user_name="n",
            created_at=1,
        )
        with self.database.write() as connection:
            tasks.add(connection, task)
        self.engine.enqueue(task)
        return task_id

    def task(self, task_id: str) -> Task:
        with self.database.read() as connection:
            return tasks.load(connection, task_id)

    def until(self, task_id: str, condition: Callable[[Task], bool]) -> Task:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            task = self.task(task_id)
            if condition(task):
                return task
            time.sleep(0.02)
        pytest.fail(f"not within {PATIENCE_SECONDS} s; the task is {self.task(task_id)}")

    def taken_up_when(self, task_id: str, workflow: set[str]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (found := DBOS.get_workflow_status(task_id)) is None or found.status not in workflow:
            assert time.monotonic() < deadline, f"the workflow is {found}"
            time.sleep(0.02)
        self.engine.resume_orphans()

    def end(self, task_id: str) -> Task:
        return self.until(task_id, lambda task: task.status in ENDED)


@pytest.fixture
def bench(database_url: str) -> Iterator[Bench]:
    database = migrated(database_url)
    operation = Scripted()
    engine = Engine(database, {"scripted": operation}, TaskFeed())
    engine.start()
    yield Bench(database, engine, operation)
    operation.release.set()
    engine.stop()
    database.close()


def statuses(task: Task) -> list[list[str]]:
    return [[sub.status for sub in step.sub_steps] for step in task.steps]


def test_steps_run_in_order_and_lanes_side_by_side(bench: Bench) -> None:
    steps = {"one": [["a", "1", "hold"], ["b", "2", "hold"], ["c", "1", "note"]], "two": [["d", "1", "note"]]}
    task_id = bench.submit(steps=steps)
    bench.until(task_id, lambda _: bench.operation.at_once == 2)
    assert sorted(bench.operation.did) == ["a", "b"]
    bench.operation.release.set()
    task = bench.end(task_id)
    assert task.status == "SUCCESS"
    assert (task.percent, task.remaining_seconds) == (100, 0)
    assert bench.operation.did[2:] == ["c", "d"]
    assert all(step.status == "FINISH" and step.begin_time and step.end_time for step in task.steps)
    assert task.steps[0].end_time <= task.steps[1].begin_time
    assert bench.operation.concluded == [(task.id, "SUCCESS", True)]


def test_two_tasks_of_one_instance_run_one_after_the_other(bench: Bench) -> None:
    instance = str(uuid.uuid4())
    first = bench.submit(instance, steps={"one": [["first", "1", "hold"]]})
    bench.until(first, lambda task: task.status == "EXECUTING")
    second = bench.submit(instance, steps={"one": [["second", "1", "note"]]})
    elsewhere = bench.submit(steps={"one": [["elsewhere", "1", "note"]]})
    assert bench.end(elsewhere).status == "SUCCESS"
    assert bench.task(second).status == "WAITING"
    bench.operation.release.set()
    assert bench.end(first).status == bench.end(second).status == "SUCCESS"
    assert bench.operation.did.index("second") > bench.operation.did.index("first")


def test_counters_show_while_a_sub_step_runs(bench: Bench) -> None:
    task_id = bench.submit(steps={"one": [["a", "1", "hold"]]})
    running = bench.until(task_id, lambda task: task.percent >= 49)  # plan and end count, too
    (sub_step,) = running.steps[0].sub_steps
    assert (sub_step.done, sub_step.work.total) == (5, 10)
    assert running.percent < 100
    assert sub_step.detail == "{attempt:1}"
    assert running.steps[0].status == "EXECUTING"
    assert running.steps[0].end_time is None


def test_a_sub_step_that_fails_is_tried_again(bench: Bench) -> None:
    task = bench.end(bench.submit(steps={"one": [["a", "1", "fail once"]]}))
    assert task.status == "SUCCESS"
    assert bench.operation.did == ["a", "a"]
    assert not bench.operation.recovered


@pytest.mark.parametrize(
    ("action", "attempts", "code"),
    [
        ("fail", 1, "DCS.9003"),
        ("fail for good", 1, "DCS.9007"),
        ("crash", 2, "DCS.4842"),
        ("hang", 2, "DCS.9006"),
    ],
)
def test_a_failure_ends_the_task_with_its_code(bench: Bench, action: str, attempts: int, code: str) -> None:
    steps = {"one": [["before", "1", "note"]], "two": [["a", "1", action], ["after", "1", "note"]], "three": []}
    task = bench.end(bench.submit(steps=steps))
    assert (task.status, task.error_code) == ("FAILED", code)
    assert bench.operation.did == ["before", *["a"] * attempts]
    assert statuses(task) == [["FINISH"], ["FAILED", "WAITING"]]
    assert task.steps[1].status == "FAILED"
    assert task.steps[1].sub_steps[0].error_code == code
    assert task.percent < 100
    assert bench.operation.recovered == [task.id]
    assert bench.operation.concluded == [(task.id, "FAILED", True)]


def test_other_lanes_end_what_they_do_and_start_nothing_more(bench: Bench) -> None:
    steps = {"one": [["a", "1", "fail"], ["b", "2", "note"], ["c", "2", "note"], ["d", "2", "note"]]}
    task = bench.end(bench.submit(steps=steps))
    assert task.status == "FAILED"
    assert statuses(task)[0][:2] == ["FAILED", "FINISH"]
    assert "WAITING" in statuses(task)[0]
    assert "EXECUTING" not in statuses(task)[0]


def test_a_recovery_that_fails_is_told_to_the_operation(bench: Bench) -> None:
    bench.operation.recovery_fails = True
    task = bench.end(bench.submit(steps={"one": [["a", "1", "fail"]]}))
    assert bench.operation.concluded == [(task.id, "FAILED", False)]


def test_a_plan_that_cannot_be_made_fails_the_task(bench: Bench) -> None:
    task = bench.end(bench.submit(refuse=True))
    assert (task.status, task.error_code, task.message) == ("FAILED", "DCS.9004", "no node answers")


def test_a_task_that_was_stored_but_never_enqueued_is_taken_up_at_the_next_start(database_url: str) -> None:
    database = migrated(database_url)
    stored = Bench(database, Engine(database, {}, TaskFeed()), Scripted())
    stored.engine.enqueue = lambda _task: None  # type: ignore[method-assign]  # the server dies here
    task_id = stored.submit(steps={"one": [["a", "1", "note"]]})
    engine = Engine(database, {"scripted": stored.operation}, TaskFeed())
    engine.start()
    try:
        assert stored.end(task_id).status == "SUCCESS"
    finally:
        engine.stop()
        database.close()


def test_a_task_that_cannot_be_enqueued_now_is_enqueued_later(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise DatabaseUnavailable("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(bench.engine._queue, "enqueue", full)
        task_id = bench.submit(steps={"one": [["a", "1", "note"]]})
        assert bench.task(task_id).status == "WAITING"
    bench.engine.resume_orphans()
    assert bench.end(task_id).status == "SUCCESS"


async def test_a_worker_that_slept_through_its_replacement_is_told(bench: Bench) -> None:
    task_id = bench.submit(steps={"one": [["a", "1", "hold"]]})
    bench.until(task_id, lambda task: task.status == "EXECUTING" and bool(task.steps))
    sleeper = await TaskRecorder.load(bench.database, task_id, lambda _task: None)
    bench.until(task_id, lambda task: task.revision > sleeper.task.revision)  # the worker has written its counters
    with pytest.raises(tasks.StaleTask):
        await sleeper.write()


@pytest.mark.parametrize("noticed_first_by_its_counters", [0, 2 * KEEP_SECONDS])
def test_a_run_that_has_broken_off_is_taken_up_again(bench: Bench, noticed_first_by_its_counters: float) -> None:
    task_id = bench.submit(steps={"one": [["a", "1", "note"], ["b", "1", "hold"]]})
    before = bench.until(task_id, lambda task: statuses(task) == [["FINISH", "EXECUTING"]])
    with bench.database.write() as connection:
        tasks.change(connection, task_id, revision=1000)  # its worker must take itself for replaced
    time.sleep(noticed_first_by_its_counters)
    bench.operation.release.set()
    bench.taken_up_when(task_id, {"ERROR"})
    task = bench.end(task_id)
    assert task.status == "SUCCESS"
    assert bench.operation.did == ["a", "b", "b"]
    assert task.steps[0].begin_time == before.steps[0].begin_time


def test_a_recovery_that_waits_shows_it_and_outlasts_its_worker(bench: Bench) -> None:
    bench.operation.host_is_away.set()
    task_id = bench.submit(steps={"one": [["a", "1", "fail"], ["b", "1", "note"]]})

    def waits(task: Task) -> bool:
        return any(sub.name == "Recovery." and "waiting for host h2" in sub.detail for sub in task.steps[0].sub_steps)

    bench.until(task_id, lambda task: bool(task.steps) and waits(task))
    with bench.database.write() as connection:
        tasks.change(connection, task_id, revision=1000)  # its worker must take itself for replaced
    bench.taken_up_when(task_id, {"ERROR"})
    bench.operation.host_is_away.clear()
    task = bench.end(task_id)
    assert (task.status, task.error_code) == ("FAILED", "DCS.9003")
    assert statuses(task) == [["FAILED", "WAITING"]]
    assert bench.operation.did == ["a"], "what has failed must not be performed beside its recovery"
    assert bench.operation.concluded == [(task_id, "FAILED", True)]


def test_a_run_that_nobody_works_on_is_taken_up_again(bench: Bench) -> None:
    instance = str(uuid.uuid4())
    first = bench.submit(instance, steps={"one": [["first", "1", "hold"]]})
    bench.until(first, lambda task: task.status == "EXECUTING")
    second = bench.submit(instance, steps={"one": [["second", "1", "note"]]})
    with bench.database.write() as connection:  # as a worker leaves it that could not record its own failure
        schema = "" if connection.dialect.name == "sqlite" else "dbos."
        pending = f"UPDATE {schema}workflow_status SET status='PENDING', owner_xid='gone' WHERE workflow_uuid=:id"  # noqa: S608  # constants
        connection.execute(sa.text(pending), {"id": second})
    bench.operation.release.set()
    assert bench.end(first).status == "SUCCESS"
    bench.engine.resume_orphans()
    assert bench.task(second).status == "WAITING", "it may be about to begin"
    bench.engine.resume_orphans()
    assert bench.end(second).status == "SUCCESS"


def test_what_is_older_than_the_retention_is_forgotten(bench: Bench) -> None:
    over = bench.submit(steps={"one": [["a", "1", "note"]]})
    running = bench.submit(steps={"one": [["b", "1", "hold"]]})
    bench.end(over)
    bench.engine.forget(ended_before=0)
    assert bench.task(over).status == "SUCCESS"
    bench.engine.forget(ended_before=2**50)
    with pytest.raises(sa.exc.NoResultFound):
        bench.task(over)
    assert bench.task(running).status in {"WAITING", "EXECUTING"}


def test_counters_of_many_tasks_are_stored_less_often() -> None:
    assert keep_seconds(1) == keep_seconds(20) == KEEP_SECONDS
    assert [count / keep_seconds(count) for count in (21, 500, 10_000)] == [pytest.approx(200)] * 3

"""One contestant of the engine's benchmark, in a separate process, because DBOS has one registry per process.

`python -m bench.engine_worker CONTESTANT URL`, a `Load` as JSON on standard input, figures on standard output.
"""

import sqlite3
import statistics
import sys
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Protocol

import msgspec
import sqlalchemy as sa
from cryptography.fernet import Fernet
from dbos import DBOS, SetEnqueueOptions, SetWorkflowID

from cachewright.clock import now_ms
from cachewright.model.tasks import Control, Step, Task
from cachewright.store import tasks
from cachewright.store.encryption import SecretCipher
from cachewright.store.opening import open_at
from cachewright.tasks.engine import Engine
from cachewright.tasks.feed import TaskFeed
from cachewright.tasks.operation import PLAN, RECOVER, Policy, StepContext
from cachewright.tasks.plan import SubStepSpec, build, effort

OURS, BARE = "Cachewright", "bare DBOS"
_QUEUE = "bare"
_POLL_SECONDS = 0.05
_WITHIN_SECONDS = 120.0


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """`singles` tasks of one step in turn, one task of `steps` steps, and `many` concurrent tasks of one step."""

    singles: int
    steps: int
    many: int


class Times:
    """Times of the steps and the end of each task, seconds of `perf_counter`."""

    def __init__(self) -> None:
        self.steps: defaultdict[str, list[float]] = defaultdict(list)
        self.over = 0
        self._changed = threading.Condition()

    def step(self, task_id: str) -> None:
        self.steps[task_id].append(time.perf_counter())

    def end(self) -> None:
        with self._changed:
            self.over += 1
            self._changed.notify_all()

    def wait(self, over: int) -> float:
        with self._changed:
            if not self._changed.wait_for(lambda: self.over >= over, _WITHIN_SECONDS):
                raise TimeoutError(f"{self.over} of {over} tasks have ended")
        return time.perf_counter()


class Nothing:
    """An operation whose sub-steps do nothing. Its task names their number."""

    policies: Mapping[str, Policy] = {name: Policy(timeout=60) for name in (PLAN, RECOVER, "nothing")}

    def __init__(self, times: Times) -> None:
        self._times = times

    async def plan(self, task: Task) -> tuple[Step, ...]:
        drafts = [
            SubStepSpec(name="Nothing.", action="nothing", work=effort("lane", seconds=1.0))
            for _ in range(task.params["steps"])
        ]
        return build(task.id, {"Nothing.": drafts})

    async def perform(self, action: str, step: StepContext) -> None:
        self._times.step(step.task.id)

    def learn(self, connection: sa.Connection, task: Task) -> None:
        """It has no expected duration."""

    def is_typical(self, task: Task, control: Control) -> bool:
        return False

    async def recover(self, task: Task) -> None:
        raise AssertionError("nothing cannot fail")

    def conclude(self, connection: sa.Connection, task: Task, recovered: bool) -> None:
        self._times.end()


class Contestant(Protocol):
    def submit(self, steps: int) -> str:
        """Enqueue a task of this number of steps in a partition of its own, and return its id."""

    def stop(self) -> None: ...


class Ours:
    def __init__(self, url: str, times: Times) -> None:
        self._database = open_at(url, SecretCipher([Fernet.generate_key()]))
        self._database.migrate()
        self._engine = Engine(self._database, {"nothing": Nothing(times)}, TaskFeed())
        self._engine.start()

    def submit(self, steps: int) -> str:
        task = Task(
            id=uuid.uuid4().hex,
            instance_id=str(uuid.uuid4()),
            project_id="bench",
            kind="nothing",
            name="NOTHING",
            status="WAITING",
            params={"steps": steps},
            details={},
            user_id="bench",
            user_name="bench",
            created_at=now_ms(),
        )
        with self._database.write() as connection:
            tasks.add(connection, task)
        self._engine.enqueue(task)
        return task.id

    def stop(self) -> None:
        self._engine.stop()
        self._database.close()


class Bare:
    def __init__(self, url: str, times: Times) -> None:
        async def step(task_id: str) -> None:
            times.step(task_id)

        async def nothing() -> None:
            pass

        @DBOS.workflow(name="bare")
        async def bare(task_id: str, steps: int) -> None:
            await DBOS.run_step_async({"name": "plan"}, nothing)
            for number in range(steps):
                await DBOS.run_step_async({"name": f"nothing:{number}"}, step, task_id)
            await DBOS.run_step_async({"name": "end"}, nothing)
            times.end()

        self._workflow = bare
        if url.startswith("sqlite"):
            with closing(sqlite3.connect(sa.make_url(url).database or "")) as file:
                file.execute("PRAGMA journal_mode=WAL")  # stays with the file
        DBOS(
            config={
                "name": "bare",
                "system_database_url": url,
                "application_version": "1",
                "executor_id": "local",
                "console_log_level": "CRITICAL",
                "notification_listener_polling_interval_sec": 0.25,
            }
        )
        DBOS.launch()
        DBOS.register_queue(_QUEUE, partition_concurrency=1, polling_interval_sec=_POLL_SECONDS)

    def submit(self, steps: int) -> str:
        task_id = uuid.uuid4().hex
        with SetWorkflowID(task_id), SetEnqueueOptions(queue_partition_key=str(uuid.uuid4())):
            DBOS.enqueue_workflow(_QUEUE, self._workflow, task_id, steps)
        return task_id

    def stop(self) -> None:
        DBOS.destroy(workflow_completion_timeout_sec=0)


def measured(contestant: Contestant, times: Times, load: Load) -> dict[str, float]:
    contestant.submit(1)
    times.wait(1)
    first = [_until_first(contestant, times, over=2 + number) for number in range(load.singles)]
    before = times.over
    long = contestant.submit(load.steps)
    times.wait(before + 1)
    ran = times.steps[long]
    before = times.over
    begun = time.perf_counter()
    for _ in range(load.many):
        contestant.submit(1)
    submitted = time.perf_counter() - begun
    whole = times.wait(before + load.many) - begun
    return {
        "first_step_ms": 1000 * statistics.median(first),
        "step_ms": 1000 * (ran[-1] - ran[0]) / (len(ran) - 1),
        "submit_ms": 1000 * submitted / load.many,
        "tasks_per_second": load.many / whole,
    }


def _until_first(contestant: Contestant, times: Times, *, over: int) -> float:
    begun = time.perf_counter()
    task_id = contestant.submit(1)
    times.wait(over)
    return times.steps[task_id][0] - begun


CONTESTANTS: Mapping[str, Callable[[str, Times], Contestant]] = {OURS: Ours, BARE: Bare}


def main() -> None:
    name, url = sys.argv[1:]
    load = msgspec.json.decode(sys.stdin.buffer.read(), type=Load)
    times = Times()
    contestant = CONTESTANTS[name](url, times)
    figures = measured(contestant, times, load)
    contestant.stop()
    print(msgspec.json.encode(figures).decode())


if __name__ == "__main__":
    main()

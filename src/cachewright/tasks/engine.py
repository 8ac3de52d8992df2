"""Runs plans durably, on DBOS.

One workflow runs any task: make the plan, perform its steps in order and the lanes of each step side by side, record
the end. Each sub-step is one DBOS step, so after a crash what was finished is not done again. The queue is
partitioned by instance, one workflow at a time in each partition: two tasks never touch one instance at once.

DBOS keeps its functions in a process-wide registry, so there is one engine in a process, and the workflow finds it
in `_engine`.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import sqlalchemy as sa
from dbos import DBOS, DBOSConfig, StepOptions, StepReservation
from dbos import error as dbos_error

from cachewright import errors
from cachewright.errors import DatabaseUnavailable
from cachewright.logs import about
from cachewright.model.tasks import ENDED, Step, SubStep, Task
from cachewright.store import tasks as stored
from cachewright.store.database import Database
from cachewright.tasks.concurrency_limiter import ConcurrencyLimiter
from cachewright.tasks.feed import TaskFeed
from cachewright.tasks.operation import PLAN, RECOVER, ActionFailed, Operation, Policy, StepContext
from cachewright.tasks.queue import WakeableQueue
from cachewright.tasks.recorder import DATABASE_SECONDS, TaskRecorder

log = logging.getLogger(__name__)

QUEUE = "instances"
WORKFLOW_VERSION = "1"
"""Of the workflow below. DBOS resumes only workflows of its own version, so this stays while old ones can be run."""

_RECOVERIES = 1_000_000
_TASK_FAILED = errors.UNEXPECTED_TASK_ERROR
_TIMED_OUT = errors.SUB_STEP_TIMEOUT
_FORGOTTEN_AT_ONCE = 500
_OVER = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
_NOTES_KEPT = timedelta(hours=1)
_engine: "Engine | None" = None

Result = TypeVar("Result")


class Engine:
    def __init__(
        self,
        database: Database,
        operations: Mapping[str, Operation],
        feed: TaskFeed,
        *,
        queue_polling: bool = False,
    ) -> None:
        """`operations` by kind. Every change of a task that runs is published to `feed`. `queue_polling`: DBOS polls
        all queues itself."""
        self.database = database
        self.feed = feed
        self.operations = operations
        self._ledgers: dict[str, TaskRecorder] = {}
        self._orphaned: set[str] = set()
        self._queue = WakeableQueue(QUEUE, polling=queue_polling)

    def start(self) -> DBOS:
        """Takes up every task that has not ended. Returns when new ones can be enqueued."""
        global _engine  # noqa: PLW0603  # see the module's docstring
        _engine = self
        config: DBOSConfig = {
            "name": "cachewright",
            "system_database_url": self.database.workflow_url,
            "application_version": WORKFLOW_VERSION,
            "executor_id": "local",
            "console_log_level": "CRITICAL",  # what fails is logged here, with the task it belongs to,
            "notification_listener_polling_interval_sec": 0.25,
        }
        dbos = DBOS(config=config)
        if not self._queue.polling:
            DBOS.listen_queues([])
        DBOS.launch()
        self._queue.start(dbos)
        self.take_up()
        return dbos

    def take_up(self) -> None:
        """Enqueue unfinished tasks that have no workflow: it was never enqueued, or ended because the database was
        unavailable. Called every few seconds."""
        with self.database.read() as connection:
            unfinished = [task for task in stored.unfinished(connection) if task.id not in self._ledgers]
        if not unfinished:
            self._orphaned = set()
            return
        runs = DBOS.list_workflows(
            workflow_ids=[task.run_id for task in unfinished], load_input=False, load_output=False
        )
        statuses = {run.workflow_id: run.status for run in runs}
        orphaned = set()
        for task in unfinished:
            status = statuses.get(task.run_id)
            if status is None:
                self.enqueue(task)
            elif status in _OVER:
                log.warning("task %s of instance %s: run was interrupted; resuming", task.id, task.instance_id)
                DBOS.rewind_workflow(task.run_id, queue_name=QUEUE, queue_partition_key=task.instance_id)
                self._queue.wake()
            elif status == "PENDING" and task.id in self._orphaned:
                log.warning("task %s of instance %s: orphaned run; resuming", task.id, task.instance_id)
                DBOS.resume_workflow(task.run_id, queue_name=QUEUE)
                self._queue.wake()
            elif status == "PENDING":
                orphaned.add(task.id)
        self._orphaned = orphaned

    def forget(self, ended_before: int) -> None:
        """Deletes tasks that ended before that time (epoch milliseconds), and what the engine noted of runs that have
        been over for a while, both in small batches."""
        while True:
            with self.database.write() as connection:
                if stored.purge(connection, ended_before, _FORGOTTEN_AT_ONCE) < _FORGOTTEN_AT_ONCE:
                    break
        over = (datetime.now(UTC) - _NOTES_KEPT).isoformat()
        while True:
            runs = DBOS.list_workflows(
                status=_OVER, completed_before=over, limit=_FORGOTTEN_AT_ONCE, load_input=False, load_output=False
            )
            DBOS.delete_workflows([run.workflow_id for run in runs])
            if len(runs) < _FORGOTTEN_AT_ONCE:
                break

    def enqueue(self, task: Task) -> None:
        """Puts a stored task in line behind the others of its instance; does nothing where it is in line."""
        self._queue.enqueue(task.run_id, task.instance_id, run_task, task.id)

    def stop(self) -> None:
        """Stop the engine. Running tasks resume at the next start."""
        self._queue.stop()
        DBOS.destroy(workflow_completion_timeout_sec=0)

    async def run(self, task_id: str) -> None:
        with self._queue.running():
            await self._run_unless_over(task_id)

    async def _run_unless_over(self, task_id: str) -> None:
        ledger = await TaskRecorder.load(self.database, task_id, self.feed.publish)
        if ledger.task.status in ENDED:
            return
        with about(task_id=task_id, instance_id=ledger.task.instance_id):
            await self._run(ledger)

    async def _run(self, ledger: TaskRecorder) -> None:
        task_id = ledger.task.id
        self._ledgers[task_id] = ledger
        keeping = asyncio.create_task(ledger.keep())
        try:
            failure = await self._perform_plan(ledger)
            recovered = failure is None or await self._recovered(ledger)
            await DBOS.run_step_async({"name": "end"}, self._end, task_id, failure, recovered)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)  # what it found wrong the run finds as well
            del self._ledgers[task_id]

    async def _perform_plan(self, ledger: TaskRecorder) -> tuple[str, str] | None:
        """None, or the error code and message that the task ends with."""
        try:
            policy = self.operations[ledger.task.kind].policies[PLAN]
            await DBOS.run_step_async(_options(PLAN, policy), self._plan, ledger.task.id)
            for step in ledger.task.steps:
                await self._perform_step(ledger, step)
        except (ActionFailed, dbos_error.DBOSMaxStepRetriesExceeded) as error:
            failure = _root(error)
            log.warning("task %s of instance %s: %s", ledger.task.id, ledger.task.instance_id, failure.message)
            return failure.code, failure.message
        return None

    async def _plan(self, task_id: str) -> None:
        ledger = self._ledgers[task_id]
        if ledger.task.status == "WAITING":
            operation = self.operations[ledger.task.kind]
            await ledger.start(await _tried(operation.policies[PLAN], lambda: operation.plan(ledger.task)))

    async def _perform_step(self, ledger: TaskRecorder, step: Step) -> None:
        """Every sub-step's place in DBOS's log is drawn before any runs, so that lanes may overtake each other."""
        lanes: dict[str, list[tuple[SubStep, StepReservation]]] = defaultdict(list)
        for sub_step in step.sub_steps:
            lanes[sub_step.work.lane].append((sub_step, DBOS.reserve_step()))
        failures: list[Exception] = []
        gate = ConcurrencyLimiter(ledger)
        await asyncio.gather(*(self._perform_lane(ledger, gate, lane, failures) for lane in lanes.values()))
        # An interrupted run takes precedence over a failed sub-step, which fails again when the run is resumed.
        for failure in sorted(failures, key=lambda failure: isinstance(failure, ActionFailed)):
            raise failure

    async def _perform_lane(
        self,
        ledger: TaskRecorder,
        gate: ConcurrencyLimiter,
        lane: list[tuple[SubStep, StepReservation]],
        failures: list[Exception],
    ) -> None:
        """Stops before its next sub-step when any lane has failed; what runs is let run to its end."""
        operation = self.operations[ledger.task.kind]
        for sub_step, reservation in lane:
            options = _options(f"{sub_step.action}:{sub_step.id}", operation.policies[sub_step.action])
            try:
                async with gate.turn():
                    if failures:
                        return
                    await reservation.run_async(options, self._perform, ledger.task.id, sub_step.id)
            except (ActionFailed, dbos_error.DBOSMaxStepRetriesExceeded) as error:
                failure = _root(error)
                if ledger.sub_step(sub_step.id).status == "EXECUTING":
                    await ledger.fail(sub_step.id, failure.code, failure.message)
                failures.append(failure)
            except Exception as broken:
                failures.append(broken)

    async def _perform(self, task_id: str, sub_step_id: str) -> None:
        ledger = self._ledgers[task_id]
        sub_step = ledger.sub_step(sub_step_id)
        if sub_step.status == "FINISH":
            return
        await ledger.begin(sub_step_id)
        operation = self.operations[ledger.task.kind]
        policy = operation.policies[sub_step.action]
        try:
            await _tried(policy, lambda: operation.perform(sub_step.action, StepContext(ledger, sub_step_id, policy)))
        except ActionFailed as failure:
            log.warning("task %s: %s: %s", task_id, sub_step.name, failure.message)
            raise
        await ledger.finish(sub_step_id)

    async def _recovered(self, ledger: TaskRecorder) -> bool:
        policy = self.operations[ledger.task.kind].policies[RECOVER]
        try:
            await DBOS.run_step_async(_options(RECOVER, policy), self._recover, ledger.task.id)
        except (ActionFailed, dbos_error.DBOSMaxStepRetriesExceeded):
            return False
        return True

    async def _recover(self, task_id: str) -> None:
        task = self._ledgers[task_id].task
        operation = self.operations[task.kind]
        await _tried(operation.policies[RECOVER], lambda: operation.recover(task))

    async def _end(self, task_id: str, failure: tuple[str, str] | None, recovered: bool) -> None:
        ledger = self._ledgers[task_id]
        code, message = failure or (None, "")
        operation = self.operations[ledger.task.kind]

        def conclude(connection: sa.Connection, task: Task) -> None:
            operation.conclude(connection, task, recovered)

        await ledger.end(error_code=code, message=message, also=conclude)


@DBOS.workflow(name="run_task", max_recovery_attempts=_RECOVERIES)
async def run_task(task_id: str) -> None:
    assert _engine is not None  # noqa: S101  # the engine registers itself before it starts DBOS
    await _engine.run(task_id)


async def _tried(policy: Policy, act: Callable[[], Awaitable[Result]]) -> Result:
    """One attempt. Begun again as often as the database does not take a write: that is no fault of what is tried, and
    all of it may be done twice."""
    while True:
        try:
            with _explained():
                async with asyncio.timeout(policy.timeout):
                    return await act()
        except DatabaseUnavailable as error:
            log.warning("database unavailable, retrying: %s", error)
            await asyncio.sleep(DATABASE_SECONDS)


@contextmanager
def _explained() -> Iterator[None]:
    """Turn unexpected errors of an operation into failures with an error code, and log their tracebacks."""
    try:
        yield
    except (ActionFailed, stored.StaleTask, DatabaseUnavailable):
        raise
    except TimeoutError as error:
        raise ActionFailed(_TIMED_OUT, "no end within the limit") from error
    except Exception as error:
        log.exception("unexpected error in a task")
        raise ActionFailed(_TASK_FAILED, f"{type(error).__name__}: {error}") from error


def _options(name: str, policy: Policy) -> StepOptions:
    return {
        "name": name,
        "retries_allowed": policy.attempts > 1,
        "max_attempts": policy.attempts,
        "interval_seconds": policy.first_delay,
        "backoff_rate": policy.backoff,
        "should_retry": _worth_another_attempt,
    }


def _worth_another_attempt(error: BaseException) -> bool:
    return isinstance(error, ActionFailed) and not error.final


def _root(error: ActionFailed | dbos_error.DBOSMaxStepRetriesExceeded) -> ActionFailed:
    if isinstance(error, ActionFailed):
        return error
    last = error.errors[-1]
    if not isinstance(last, ActionFailed):
        raise last
    return last

"""Runs plans durably, on DBOS.

One workflow runs all kinds of tasks: it makes the plan, performs steps in order and the lanes of a step concurrently,
and records the end. Each sub-step is one DBOS step, so finished sub-steps are not repeated after a crash. The queue is
partitioned by instance and runs one workflow per partition, so two tasks never change one instance at the same time.

DBOS keeps its functions in a process-wide registry, so there is one engine in a process, and the workflow finds it
in `_engine`.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import msgspec
import sqlalchemy as sa
from dbos import DBOS, DBOSConfig, StepReservation
from dbos import error as dbos_error

from cachewright.concurrency import end_tasks
from cachewright.errors import DatabaseUnavailable
from cachewright.logs import about
from cachewright.model.tasks import ENDED, Control, Step, SubStep, Task
from cachewright.store import tasks as stored
from cachewright.store.database import Database
from cachewright.tasks import calibration, learning
from cachewright.tasks.attempt import run_attempt, step_options
from cachewright.tasks.concurrency_limiter import ConcurrencyLimiter
from cachewright.tasks.feed import TaskFeed
from cachewright.tasks.interruption import Interruption
from cachewright.tasks.operation import PLAN, RECOVER, ActionFailed, Operation, StepContext, cancellation
from cachewright.tasks.queue import WakeableQueue
from cachewright.tasks.recorder import TaskRecorder
from cachewright.tasks.waiter import Waiter

log = logging.getLogger(__name__)

QUEUE = "instances"
APPLICATION = "cachewright"
"""Name of the application in DBOS's tables."""
WORKFLOW_VERSION = "1"
"""Version of the workflow. DBOS resumes only workflows of this version: keep it while the code can run old ones."""

_RECOVERIES = 1_000_000
_DELETED_PER_BATCH = 500
_ENDED_RUNS = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
_RUNS_KEPT = timedelta(hours=1)
_engine: "Engine | None" = None


class Engine:
    def __init__(
        self,
        database: Database,
        operations: Mapping[str, Operation],
        feed: TaskFeed,
        *,
        queue_polling: bool = False,
        queues: Sequence[str] = (QUEUE,),
    ) -> None:
        """:param operations: operations by kind.
        :param feed: gets every change of a running task.
        :param queue_polling: let DBOS poll its queues.
        :param queues: the queues of this process; those of agents are not among them.
        """
        self.database = database
        self.feed = feed
        self.operations = operations
        self._recorders: dict[str, TaskRecorder] = {}
        self._orphaned: set[str] = set()
        self._queues = queues
        self._queue = WakeableQueue(QUEUE, polling=queue_polling)

    def start(self) -> DBOS:
        """Start DBOS and resume unfinished tasks. Afterwards, tasks can be enqueued."""
        global _engine  # noqa: PLW0603  # see the module's docstring
        _engine = self
        config: DBOSConfig = {
            "name": APPLICATION,
            "system_database_url": self.database.workflow_url,
            "application_version": WORKFLOW_VERSION,
            "executor_id": "local",
            "console_log_level": "CRITICAL",  # failures are logged here, with ids of the task
            "notification_listener_polling_interval_sec": 0.25,
        }
        dbos = DBOS(config=config)
        DBOS.listen_queues(self._queues if self._queue.polling else [])
        DBOS.launch()
        self._queue.start(dbos)
        self.resume_orphans()
        return dbos

    def resume_orphans(self) -> None:
        """Enqueue unfinished tasks that have no workflow: it was never enqueued, or ended because the database was
        unavailable. Called every few seconds."""
        with self.database.read() as connection:
            unfinished = [task for task in stored.active(connection) if task.id not in self._recorders]
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
            elif status in _ENDED_RUNS:
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
        """Delete tasks that ended before `ended_before` (epoch milliseconds), and DBOS's records of finished runs, in
        small batches."""
        while True:
            with self.database.write() as connection:
                if stored.purge(connection, ended_before, _DELETED_PER_BATCH) < _DELETED_PER_BATCH:
                    break
        before = (datetime.now(UTC) - _RUNS_KEPT).isoformat()
        while True:
            runs = DBOS.list_workflows(
                status=_ENDED_RUNS,
                completed_before=before,
                limit=_DELETED_PER_BATCH,
                load_input=False,
                load_output=False,
            )
            DBOS.delete_workflows([run.workflow_id for run in runs])
            if len(runs) < _DELETED_PER_BATCH:
                break

    def enqueue(self, task: Task) -> None:
        """Enqueue a stored task behind the others of its instance, unless it is enqueued already. While the database is
        unavailable the task stays stored, and `resume_orphans` enqueues it later: it is no failure of the request. A
        scheduled task is enqueued when it may begin."""
        if task.is_scheduled:
            return
        try:
            self._queue.enqueue(task.run_id, task.instance_id, run_task, task.id)
        except DatabaseUnavailable as error:
            log.warning("task %s of instance %s is enqueued later: %s", task.id, task.instance_id, error)

    def stop(self) -> None:
        """Stop the engine. Running tasks resume at the next start."""
        self._queue.stop()
        DBOS.destroy(workflow_completion_timeout_sec=0)

    async def run(self, task_id: str) -> None:
        with self._queue.running():
            await self._run_unless_ended(task_id)

    async def _run_unless_ended(self, task_id: str) -> None:
        recorder = await TaskRecorder.load(self.database, task_id, self.feed.publish)
        if recorder.task.status in ENDED:
            return
        with about(task_id=task_id, instance_id=recorder.task.instance_id):
            await self._run(recorder)

    async def _run(self, recorder: TaskRecorder) -> None:
        task_id = recorder.task.id
        self._recorders[task_id] = recorder
        keeper = asyncio.create_task(recorder.keep())
        try:
            failure = await self._perform_plan(recorder)
            recovered = failure is None or await self._recovered(recorder)
            await DBOS.run_step_async({"name": "end"}, self._end, task_id, failure, recovered)
        finally:
            await end_tasks(keeper)  # the run gets the same error
            del self._recorders[task_id]

    async def _perform_plan(self, recorder: TaskRecorder) -> tuple[str, str] | None:
        """Perform the plan. Error code and message of a failure, else None."""
        try:
            policy = self.operations[recorder.task.kind].policies[PLAN]
            options = step_options(PLAN, policy, Interruption(recorder))
            await DBOS.run_step_async(options, self._plan, recorder.task.id)
            for step in recorder.task.steps:
                await self._perform_step(recorder, step)
        except (ActionFailed, dbos_error.DBOSMaxStepRetriesExceeded) as error:
            failure = cancellation(recorder.control) if recorder.control.for_deletion else _root(error)
            log.warning("task %s of instance %s: %s", recorder.task.id, recorder.task.instance_id, failure.message)
            return failure.code, failure.message
        return None

    async def _plan(self, task_id: str) -> None:
        recorder = self._recorders[task_id]
        if recorder.task.status == "WAITING":
            operation = self.operations[recorder.task.kind]
            waiter = Waiter(f"task {task_id}", recorder.show_before_plan, Interruption(recorder))
            steps = await run_attempt(operation.policies[PLAN], waiter, lambda: operation.plan(recorder.task))
            speeds = await asyncio.to_thread(self._speeds, recorder.task, steps)
            await recorder.start(learning.with_speeds(steps, speeds))

    def _speeds(self, task: Task, steps: Sequence[Step]) -> Mapping[str, learning.Speed]:
        with self.database.read() as connection:
            return learning.load(connection, steps, task.instance_id)

    async def _perform_step(self, recorder: TaskRecorder, step: Step) -> None:
        """Perform a step. The positions of all sub-steps in DBOS's log are reserved first, so that lanes are
        independent."""
        lanes: dict[str, list[tuple[SubStep, StepReservation]]] = defaultdict(list)
        for sub_step in step.sub_steps:
            lanes[sub_step.work.lane].append((sub_step, DBOS.reserve_step()))
        failures: list[Exception] = []
        limiter = ConcurrencyLimiter(recorder)
        await asyncio.gather(*(self._perform_lane(recorder, limiter, lane, failures) for lane in lanes.values()))
        # An interrupted run takes precedence over a failed sub-step, which fails again when the run is resumed.
        for failure in sorted(failures, key=lambda failure: isinstance(failure, ActionFailed)):
            raise failure

    async def _perform_lane(
        self,
        recorder: TaskRecorder,
        limiter: ConcurrencyLimiter,
        lane: list[tuple[SubStep, StepReservation]],
        failures: list[Exception],
    ) -> None:
        """Perform a lane. Stops before the next sub-step after any lane has failed; running sub-steps complete."""
        operation = self.operations[recorder.task.kind]
        for sub_step, reservation in lane:
            policy = operation.policies[sub_step.action]
            show = partial(recorder.show_wait, sub_step.id)
            options = step_options(f"{sub_step.action}:{sub_step.id}", policy, Interruption(recorder), show)
            try:
                if recorder.sub_step(sub_step.id).status == "FINISH":
                    # A resumed run replays it also if the task is cancelled now: DBOS compares the steps of both runs.
                    await reservation.run_async(options, self._perform, recorder.task.id, sub_step.id)
                    continue
                async with limiter.turn(sub_step.id):
                    if failures:
                        return
                    await reservation.run_async(options, self._perform, recorder.task.id, sub_step.id)
            except (ActionFailed, dbos_error.DBOSMaxStepRetriesExceeded) as error:
                failure = _root(error)
                if recorder.control.is_cancelled and error is failure and not failure.final:
                    failure = cancellation(recorder.control)  # during the pause before its next attempt
                if recorder.sub_step(sub_step.id).status == "EXECUTING":
                    await recorder.fail(sub_step.id, failure.code, failure.message)
                failures.append(failure)
            except Exception as error:
                failures.append(error)

    async def _perform(self, task_id: str, sub_step_id: str) -> None:
        recorder = self._recorders[task_id]
        sub_step = recorder.sub_step(sub_step_id)
        if sub_step.status == "FINISH":
            return
        await recorder.begin(sub_step_id)
        operation = self.operations[recorder.task.kind]
        context = StepContext(recorder, sub_step_id, operation.policies[sub_step.action])
        show = partial(recorder.show_wait, sub_step_id)
        waiter = Waiter(f"task {task_id}: {sub_step.name}", show, Interruption(recorder, sub_step_id))
        try:
            await run_attempt(context.policy, waiter, lambda: operation.perform(sub_step.action, context))
        except ActionFailed as failure:
            log.warning("task %s: %s: %s", task_id, sub_step.name, failure.message)
            raise
        await recorder.finish(sub_step_id)

    async def _recovered(self, recorder: TaskRecorder) -> bool:
        """Leave the instance usable after a failure. False if that failed. Before a deletion there is no recovery,
        and one that runs is cut short."""
        policy = self.operations[recorder.task.kind].policies[RECOVER]
        try:
            options = step_options(RECOVER, policy, Interruption(recorder, recovering=True))
            await DBOS.run_step_async(options, self._recover, recorder.task.id)
        except (ActionFailed, dbos_error.DBOSMaxStepRetriesExceeded):
            return False
        return True

    async def _recover(self, task_id: str) -> None:
        recorder = self._recorders[task_id]
        operation = self.operations[recorder.task.kind]
        if not recorder.control.for_deletion:
            waiter = Waiter(f"task {task_id}", lambda *_: None, Interruption(recorder, recovering=True))
            await run_attempt(operation.policies[RECOVER], waiter, lambda: operation.recover(recorder.task))

    async def _end(self, task_id: str, failure: tuple[str, str] | None, recovered: bool) -> None:
        recorder = self._recorders[task_id]
        code, message = failure or (None, "")

        def conclude(connection: sa.Connection, task: Task) -> None:
            operation = self.operations[task.kind]
            if task.status == "SUCCESS" and not recorder.was_resumed:
                self._learn(connection, operation, task, recorder.control)
            operation.conclude(connection, task, recovered)

        await recorder.end(error_code=code, message=message, also=conclude)

    def _learn(self, connection: sa.Connection, operation: Operation, task: Task, control: Control) -> None:
        """Learn from a task. An error must not keep the task from ending."""
        try:
            if operation.is_typical(task, control):
                learning.learn(connection, task)
                calibration.learn(connection, task)
                operation.learn(connection, task)
        except (ArithmeticError, LookupError, ValueError, msgspec.MsgspecError):
            log.exception("task %s teaches nothing", task.id)


@DBOS.workflow(name="run_task", max_recovery_attempts=_RECOVERIES)
async def run_task(task_id: str) -> None:
    assert _engine is not None  # noqa: S101  # the engine registers itself before it starts DBOS
    await _engine.run(task_id)


def _root(error: ActionFailed | dbos_error.DBOSMaxStepRetriesExceeded) -> ActionFailed:
    if isinstance(error, ActionFailed):
        return error
    last = error.errors[-1]
    if not isinstance(last, ActionFailed):
        raise last
    return last

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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import sqlalchemy as sa
from dbos import DBOS, DBOSConfig, SetEnqueueOptions, SetWorkflowID, StepOptions, StepReservation
from dbos import error as dbos_error

from cachewright.store import tasks as stored
from cachewright.store.database import Database
from cachewright.store.records import ENDED, Step, SubStep, Task
from cachewright.tasks.lanes import LaneGate
from cachewright.tasks.ledger import Ledger
from cachewright.tasks.operation import ActionFailed, Operation, Policy, Running

log = logging.getLogger(__name__)

QUEUE = "instances"
WORKFLOW_VERSION = "1"
"""Of the workflow below. DBOS resumes only workflows of its own version, so this stays while old ones can be run."""

_POLL_SECONDS = 0.05
_RECOVERIES = 1_000_000
_TASK_FAILED = "DCS.4842"
_TIMED_OUT = "DCS.9006"
_engine: "Engine | None" = None


class Engine:
    def __init__(self, database: Database, operations: Mapping[str, Operation]) -> None:
        """`operations` by kind."""
        self.database = database
        self.operations = operations
        self._ledgers: dict[str, Ledger] = {}

    def start(self) -> None:
        """Takes up every task that has not ended. Returns when new ones can be enqueued."""
        global _engine  # noqa: PLW0603  # see the module's docstring
        _engine = self
        config: DBOSConfig = {
            "name": "cachewright",
            "system_database_url": self.database.engine.url.render_as_string(hide_password=False),
            "application_version": WORKFLOW_VERSION,
            "executor_id": "local",
            "console_log_level": "CRITICAL",  # what fails is logged here, with the task it belongs to,
            "notification_listener_polling_interval_sec": 0.25,
        }
        DBOS(config=config)
        DBOS.launch()
        DBOS.register_queue(
            QUEUE, partition_concurrency=1, polling_interval_sec=_POLL_SECONDS, on_conflict="always_update"
        )
        with self.database.read() as connection:
            unfinished = stored.unfinished(connection)
        for task in unfinished:
            self.enqueue(task)

    def enqueue(self, task: Task) -> None:
        """Puts a stored task in line behind the others of its instance; does nothing where it is in line."""
        with SetWorkflowID(task.run_id), SetEnqueueOptions(queue_partition_key=task.instance_id):
            DBOS.enqueue_workflow(QUEUE, run_task, task.id)

    def stop(self) -> None:
        """Running tasks stay where they are and go on at the next start."""
        DBOS.destroy(workflow_completion_timeout_sec=0)

    async def run(self, task_id: str) -> None:
        ledger = await Ledger.load(self.database, task_id)
        if ledger.task.status in ENDED:
            return
        self._ledgers[task_id] = ledger
        keeping = asyncio.create_task(ledger.keep())
        try:
            failure = await self._perform_plan(ledger)
            recovered = failure is None or await self._recovered(task_id)
            await DBOS.run_step_async({"name": "end"}, self._end, task_id, failure, recovered)
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
            del self._ledgers[task_id]

    async def _perform_plan(self, ledger: Ledger) -> tuple[str, str] | None:
        """None, or the error code and message that the task ends with."""
        try:
            await DBOS.run_step_async({"name": "plan"}, self._plan, ledger.task.id)
            for step in ledger.task.steps:
                await self._perform_step(ledger, step)
        except ActionFailed as failure:
            log.warning("task %s of instance %s: %s", ledger.task.id, ledger.task.instance_id, failure.message)
            return failure.code, failure.message
        return None

    async def _plan(self, task_id: str) -> None:
        ledger = self._ledgers[task_id]
        if ledger.task.status == "WAITING":
            operation = self.operations[ledger.task.kind]
            with _explained():
                steps = await operation.plan(ledger.task)
            await ledger.start(steps)

    async def _perform_step(self, ledger: Ledger, step: Step) -> None:
        """Every sub-step's place in DBOS's log is drawn before any runs, so that lanes may overtake each other."""
        lanes: dict[str, list[tuple[SubStep, StepReservation]]] = defaultdict(list)
        for sub_step in step.sub_steps:
            lanes[sub_step.work.lane].append((sub_step, DBOS.reserve_step()))
        failures: list[ActionFailed] = []
        gate = LaneGate(ledger)
        await asyncio.gather(*(self._perform_lane(ledger, gate, lane, failures) for lane in lanes.values()))
        if failures:
            raise failures[0]

    async def _perform_lane(
        self,
        ledger: Ledger,
        gate: LaneGate,
        lane: list[tuple[SubStep, StepReservation]],
        failures: list[ActionFailed],
    ) -> None:
        """Stops before its next sub-step when any lane has failed; what runs is let run to its end."""
        operation = self.operations[ledger.task.kind]
        for sub_step, reservation in lane:
            options = _options(sub_step, operation.policies[sub_step.action])
            try:
                async with gate.turn():
                    if failures:
                        return
                    await reservation.run_async(options, self._perform, ledger.task.id, sub_step.id)
            except (ActionFailed, dbos_error.DBOSMaxStepRetriesExceeded, dbos_error.DBOSStepTimeoutError) as error:
                failure = _root(error)
                if ledger.sub_step(sub_step.id).status == "EXECUTING":
                    await ledger.fail(sub_step.id, failure.code, failure.message)
                failures.append(failure)

    async def _perform(self, task_id: str, sub_step_id: str) -> None:
        ledger = self._ledgers[task_id]
        sub_step = ledger.sub_step(sub_step_id)
        if sub_step.status == "FINISH":
            return
        await ledger.begin(sub_step_id)
        operation = self.operations[ledger.task.kind]
        try:
            with _explained():
                await operation.perform(sub_step.action, Running(ledger, sub_step_id))
        except ActionFailed as failure:
            log.warning("task %s: %s: %s", task_id, sub_step.name, failure.message)
            raise
        await ledger.finish(sub_step_id)

    async def _recovered(self, task_id: str) -> bool:
        try:
            await DBOS.run_step_async(_RECOVERY, self._recover, task_id)
        except (ActionFailed, dbos_error.DBOSMaxStepRetriesExceeded, dbos_error.DBOSStepTimeoutError):
            return False
        return True

    async def _recover(self, task_id: str) -> None:
        task = self._ledgers[task_id].task
        with _explained():
            await self.operations[task.kind].recover(task)

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


@contextmanager
def _explained() -> Iterator[None]:
    """Turns what an operation did not foresee into a failure with a code; the trace goes to the log."""
    try:
        yield
    except (ActionFailed, stored.StaleTask):
        raise
    except Exception as error:
        log.exception("unforeseen")
        raise ActionFailed(_TASK_FAILED, f"{type(error).__name__}: {error}") from error


def _options(sub_step: SubStep, policy: Policy) -> StepOptions:
    return {
        "name": f"{sub_step.action}:{sub_step.id}",
        "retries_allowed": policy.attempts > 1,
        "max_attempts": policy.attempts,
        "interval_seconds": policy.first_delay,
        "backoff_rate": policy.backoff,
        "should_retry": _worth_another_attempt,
        "timeout_seconds": policy.timeout,
    }


def _worth_another_attempt(error: BaseException) -> bool:
    return isinstance(error, dbos_error.DBOSStepTimeoutError) or (isinstance(error, ActionFailed) and not error.final)


def _root(
    error: ActionFailed | dbos_error.DBOSMaxStepRetriesExceeded | dbos_error.DBOSStepTimeoutError,
) -> ActionFailed:
    if isinstance(error, dbos_error.DBOSMaxStepRetriesExceeded):
        last = error.errors[-1]
        if not isinstance(last, ActionFailed | dbos_error.DBOSStepTimeoutError):
            raise last
        return _root(last)
    if isinstance(error, dbos_error.DBOSStepTimeoutError):
        return ActionFailed(_TIMED_OUT, f"no end within the limit: {error}", final=True)
    return error


_RECOVERY: StepOptions = {
    "name": "recover",
    "retries_allowed": True,
    "max_attempts": 8,
    "should_retry": _worth_another_attempt,
    "timeout_seconds": 120,
}

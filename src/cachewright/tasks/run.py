"""One run of a task: it makes the plan, performs steps in order and the lanes of a step concurrently, and records the
end. Each sub-step is one DBOS step, so finished sub-steps are not repeated after a crash."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial

import msgspec
import sqlalchemy as sa
from dbos import DBOS, StepReservation
from dbos import error as dbos_error

from cachewright.errors import UNEXPECTED_TASK_ERROR
from cachewright.model.tasks import Step, SubStep, Task
from cachewright.store.database import Database
from cachewright.tasks import calibration, learning
from cachewright.tasks.attempt import run_attempt, step_options
from cachewright.tasks.concurrency_limiter import ConcurrencyLimiter
from cachewright.tasks.interruption import Interruption
from cachewright.tasks.operation import PLAN, RECOVER, ActionFailed, Operation, StepContext, cancellation
from cachewright.tasks.recorder import TaskRecorder
from cachewright.tasks.waiter import Waiter

log = logging.getLogger(__name__)


class TaskRun:
    def __init__(self, database: Database, operation: Operation, recorder: TaskRecorder) -> None:
        self._database = database
        self._operation = operation
        self._recorder = recorder
        self._title = f"task {recorder.task.id}"
        self._show_recovery = partial(recorder.show_beside_plan, "recovery")

    async def perform(self) -> None:
        """Perform the plan, recover from a failure, and record the end. Called in the workflow of the task."""
        self._show_recovery("", 0.0)  # what a killed server has left is no sub-step to perform
        failure = await self._perform_plan()
        recovered = failure is None or await self._recovered()
        await DBOS.run_step_async({"name": "end"}, self._end, failure, recovered)

    async def _perform_plan(self) -> tuple[str, str] | None:
        """Perform the plan. Error code and message of a failure, else None."""
        try:
            policy = self._operation.policies[PLAN]
            options = step_options(PLAN, policy, Interruption(self._recorder))
            await DBOS.run_step_async(options, self._plan)
            for step in self._recorder.task.steps:
                await self._perform_step(step)
        except (ActionFailed, dbos_error.DBOSMaxStepRetriesExceeded) as error:
            failure = cancellation(self._recorder.control) if self._recorder.control.for_deletion else _root(error)
            log.warning("%s of instance %s: %s", self._title, self._recorder.task.instance_id, failure.message)
            return failure.code, failure.message
        return None

    async def _plan(self) -> None:
        if self._recorder.task.status == "WAITING":
            show = partial(self._recorder.show_beside_plan, PLAN)
            waiter = Waiter(self._title, show, Interruption(self._recorder))
            steps = await run_attempt(self._operation.policies[PLAN], waiter, self._make_plan)
            speeds = await asyncio.to_thread(self._speeds, self._recorder.task, steps)
            await self._recorder.start(learning.with_speeds(steps, speeds))

    async def _make_plan(self) -> tuple[Step, ...]:
        self._recorder.begin_planning()
        return await self._operation.plan(self._recorder.task)

    def _speeds(self, task: Task, steps: Sequence[Step]) -> Mapping[str, learning.Speed]:
        with self._database.read() as connection:
            return learning.load(connection, steps, task.instance_id)

    async def _perform_step(self, step: Step) -> None:
        """Perform a step. The positions of all sub-steps in DBOS's log are reserved first, so that lanes are
        independent."""
        lanes: dict[str, list[tuple[SubStep, StepReservation]]] = defaultdict(list)
        for sub_step in step.sub_steps:
            lanes[sub_step.work.lane].append((sub_step, DBOS.reserve_step()))
        failures: list[Exception] = []
        limiter = ConcurrencyLimiter(self._recorder)
        await asyncio.gather(*(self._perform_lane(limiter, lane, failures) for lane in lanes.values()))
        # An interrupted run takes precedence over a failed sub-step, which fails again when the run is resumed.
        for failure in sorted(failures, key=lambda failure: isinstance(failure, ActionFailed)):
            raise failure

    async def _perform_lane(
        self,
        limiter: ConcurrencyLimiter,
        lane: list[tuple[SubStep, StepReservation]],
        failures: list[Exception],
    ) -> None:
        """Perform a lane. Stops before the next sub-step after any lane has failed; running sub-steps complete."""
        for sub_step, reservation in lane:
            policy = self._operation.policies[sub_step.action]
            show = partial(self._recorder.show_wait, sub_step.id)
            options = step_options(f"{sub_step.action}:{sub_step.id}", policy, Interruption(self._recorder), show)
            before = self._recorder.sub_step(sub_step.id)
            if before.status == "FAILED":
                # A resumed run must not perform it again: the recovery may have begun.
                failures.append(ActionFailed(before.error_code or UNEXPECTED_TASK_ERROR, before.detail, True))
                return
            try:
                if before.status == "FINISH":
                    # A resumed run replays it also if the task is cancelled now: DBOS compares the steps of both runs.
                    await reservation.run_async(options, self._perform, sub_step.id)
                    continue
                async with limiter.turn(sub_step.id):
                    if failures:
                        return
                    await reservation.run_async(options, self._perform, sub_step.id)
            except (ActionFailed, dbos_error.DBOSMaxStepRetriesExceeded) as error:
                failure = _root(error)
                if self._recorder.control.is_cancelled and error is failure and not failure.final:
                    failure = cancellation(self._recorder.control)  # during the pause before its next attempt
                if self._recorder.sub_step(sub_step.id).status == "EXECUTING":
                    await self._recorder.fail(sub_step.id, failure.code, failure.message)
                failures.append(failure)
            except Exception as error:
                failures.append(error)

    async def _perform(self, sub_step_id: str) -> None:
        sub_step = self._recorder.sub_step(sub_step_id)
        if sub_step.status == "FINISH":
            return
        await self._recorder.begin(sub_step_id)
        context = StepContext(self._recorder, sub_step_id, self._operation.policies[sub_step.action])
        show = partial(self._recorder.show_wait, sub_step_id)
        waiter = Waiter(f"{self._title}: {sub_step.name}", show, Interruption(self._recorder, sub_step_id))
        try:
            await run_attempt(context.policy, waiter, lambda: self._operation.perform(sub_step.action, context))
        except ActionFailed as failure:
            log.warning("%s: %s: %s", self._title, sub_step.name, failure.message)
            raise
        await self._recorder.finish(sub_step_id)

    async def _recovered(self) -> bool:
        """Leave the instance usable after a failure. False if that failed. Before a deletion there is no recovery,
        and one that runs is cut short."""
        policy = self._operation.policies[RECOVER]
        try:
            options = step_options(RECOVER, policy, Interruption(self._recorder, recovering=True))
            await DBOS.run_step_async(options, self._recover)
        except (ActionFailed, dbos_error.DBOSMaxStepRetriesExceeded):
            return False
        return True

    async def _recover(self) -> None:
        if not self._recorder.control.for_deletion:
            waiter = Waiter(self._title, self._show_recovery, Interruption(self._recorder, recovering=True))
            await run_attempt(
                self._operation.policies[RECOVER], waiter, lambda: self._operation.recover(self._recorder.task)
            )

    async def _end(self, failure: tuple[str, str] | None, recovered: bool) -> None:
        code, message = failure or (None, "")

        def conclude(connection: sa.Connection, task: Task) -> None:
            if task.status == "SUCCESS" and not self._recorder.was_resumed:
                self._learn(connection, task)
            self._operation.conclude(connection, task, recovered)

        await self._recorder.end(error_code=code, message=message, also=conclude)

    def _learn(self, connection: sa.Connection, task: Task) -> None:
        """Learn from a task. An error must not keep the task from ending."""
        try:
            if self._operation.is_typical(task, self._recorder.control):
                learning.learn(connection, task)
                calibration.learn(connection, task)
                self._operation.learn(connection, task)
        except (ArithmeticError, LookupError, ValueError, msgspec.MsgspecError):
            log.exception("%s teaches nothing", self._title)


def _root(error: ActionFailed | dbos_error.DBOSMaxStepRetriesExceeded) -> ActionFailed:
    if isinstance(error, ActionFailed):
        return error
    last = error.errors[-1]
    if not isinstance(last, ActionFailed):
        raise last
    return last

"""Background tasks of instances: the one way to start them, and to control, cancel and retry them.

Each change is decided in one write transaction, so that its checks still hold when the task is stored. Resources of the
host are read before the transaction, so that it does not delay others. The task is enqueued after the commit; if the
server ends in between, its next start enqueues the task.
"""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.clock import now_ms
from cachewright.errors import ApiError
from cachewright.model.identity import Principal
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import ENDED, Control, Task
from cachewright.monitoring.inspection import NodeBudget
from cachewright.monitoring.node_stats import StatsCollector
from cachewright.operations import OPERATIONS, acceptance, admission
from cachewright.operations.context import OperationContext
from cachewright.operations.execution import node_errors_as_failures
from cachewright.operations.instance_status import set_status_after
from cachewright.operations.operation import Accepted, Operation, ParamsT, RequestT
from cachewright.operations.requests import ResizeRequest
from cachewright.operations.resize import RESIZE, Preview
from cachewright.placement.capacity import Limits, Shortage
from cachewright.services.lookup import instance_of, task_of
from cachewright.store import instances, task_controls, tasks
from cachewright.tasks import plan
from cachewright.tasks.feed import TaskFeed
from cachewright.tasks.operation import CANCELLED, ActionFailed
from cachewright.threads import RequestThreads

_PREVIEW_SECONDS = 30.0


class TaskService(msgspec.Struct, frozen=True):
    """All of its methods raise ApiError DCS.3022 where the project has no such instance, DCS.4958 where the instance
    has no such task.

    :ivar feed: where changes of tasks are published.
    :ivar enqueue: hands a stored task to the engine.
    :ivar statistics: the latest counters of the nodes.
    :ivar budget: how many previews each project may run at a time.
    :ivar threads: for the reads of previews.
    """

    context: OperationContext
    feed: TaskFeed
    enqueue: Callable[[Task], None]
    statistics: StatsCollector
    budget: NodeBudget
    threads: RequestThreads

    def submit(
        self, operation: Operation[RequestT, ParamsT], principal: Principal, instance_id: str, request: RequestT
    ) -> Task:
        """Starts an operation on an instance. Returns its task, which waits until the other tasks of the instance have
        ended.

        ApiError from `Operation.validate`, `acceptance.require_acceptable` (busy) or `admission.require_room`.
        """
        limits = admission.limits(self.context.host, self.context.settings)
        with self.context.database.write() as connection:
            instance = instance_of(connection, principal.project_id, instance_id)
            unfinished = tasks.unfinished_of(connection, instance_id)
            if not operation.repeatable:
                for task in unfinished:
                    if task.kind == operation.kind:
                        return task
            acceptance.require_acceptable(operation, instance, unfinished)
            nodes = instances.nodes_of(connection, instance_id)
            accepted = operation.validate(instance, nodes, request)
            self._require_room(connection, limits, operation, instance, nodes=nodes, params=accepted.params)
            task = add_task(connection, operation, principal, instance, accepted)
        self.enqueue(task)
        return task

    async def preview_resize(
        self, principal: Principal, instance_id: str, request: ResizeRequest
    ) -> tuple[Instance, Preview]:
        """The instance, what a resize would do now, and what it would be refused for or fail on. Changes nothing.

        ApiError as `submit`, but an instance in any state is accepted, and missing room is a blocker of the preview;
        DCS.4049 where the nodes do not answer in time, DCS.4974 where too many requests of the project wait.
        """

        def draft() -> tuple[Instance, Task]:
            with self.context.database.read() as connection:
                instance = instance_of(connection, principal.project_id, instance_id)
                accepted = RESIZE.validate(instance, instances.nodes_of(connection, instance_id), request)
            return instance, _new_task(RESIZE, principal, instance, accepted)

        instance, task = await self.threads.read(principal.project_id, draft)
        return instance, await self._preview(task)

    async def _preview(self, task: Task) -> Preview:
        async with self.budget.preview(task.project_id):
            try:
                async with asyncio.timeout(_PREVIEW_SECONDS):
                    with node_errors_as_failures():
                        preview = await RESIZE.preview(self.context, task)
                    shortages = await self.threads.read(task.project_id, lambda: self._shortages(task))
            except (ActionFailed, TimeoutError) as failure:
                raise ApiError(errors.INSTANCE_NOT_RUNNING) from failure
        blockers = (*((shortage.code, shortage.reason) for shortage in shortages), *preview.blockers)
        return msgspec.structs.replace(preview, blockers=blockers)

    def control(self, principal: Principal, instance_id: str, task_id: str, control: Control) -> Task:
        """Pauses, resumes, throttles or cancels a task. ApiError DCS.4957 where it has ended or is not interruptible.

        A task that waits ends as soon as it is cancelled; one that runs ends when the instance is usable again.
        """
        with self.context.database.write() as connection:
            task = task_of(connection, principal.project_id, instance_id, task_id)
            interrupts = control.state != "running"
            if task.status in ENDED or (interrupts and not OPERATIONS[task.kind].interruptible):
                raise ApiError(errors.TASK_STATE_CONFLICT)
            task_controls.put(connection, task_id, control)
            if control.state == "cancelled" and task.status == "WAITING":
                _end_cancelled(connection, task)
            changed = tasks.load(connection, task_id)
        self.feed.publish(changed)
        return changed

    def cancel_resize(self, principal: Principal, instance_id: str, task_id: str) -> None:
        """Cancels a resize. ApiError DCS.4957 where the task is of another kind or has ended."""
        with self.context.database.read() as connection:
            task = task_of(connection, principal.project_id, instance_id, task_id)
        if task.kind != RESIZE.kind:
            raise ApiError(errors.TASK_STATE_CONFLICT)
        self.control(principal, instance_id, task_id, Control(state="cancelled"))

    def retry(self, principal: Principal, instance_id: str, task_id: str) -> Task:
        """Resumes a task that has failed: finished work stays, the rest is planned again. ApiError DCS.4957 where the
        task has not failed; DCS.4036, DCS.4039 or DCS.9007 where there is no room for it; or busy."""
        limits = admission.limits(self.context.host, self.context.settings)
        with self.context.database.write() as connection:
            task = task_of(connection, principal.project_id, instance_id, task_id)
            instance = instance_of(connection, principal.project_id, instance_id)
            operation = OPERATIONS[task.kind]
            if task.status != "FAILED":
                raise ApiError(errors.TASK_STATE_CONFLICT)
            acceptance.require_retriable(operation, instance)
            nodes = instances.nodes_of(connection, instance_id)
            self._require_room(connection, limits, operation, instance, nodes=nodes, params=operation.params_of(task))
            task_controls.remove(connection, [task_id])
            waiting = msgspec.structs.replace(
                task, status="WAITING", end_time=None, error_code=None, message="", attempt=task.attempt + 1
            )
            saved = tasks.save(connection, waiting)
            instances.change(
                connection, instance_id, status=operation.status_while_running, updated_at=now_ms(), error_code=None
            )
        self.feed.publish(saved)
        self.enqueue(saved)
        return saved

    def _require_room(
        self,
        connection: sa.Connection,
        limits: Limits,
        operation: Operation[Any, ParamsT],
        instance: Instance,
        *,
        nodes: Sequence[Node],
        params: ParamsT,
    ) -> None:
        room = operation.required_room(nodes, params, self.statistics.used_memory(instance.id))
        if room is not None:
            admission.require_room(connection, limits, instance.project_id, room, instance)

    def _shortages(self, task: Task) -> list[Shortage]:
        """What a resize would be refused for. The disk is left out: the checks of its plan know the bytes that move."""
        limits = admission.limits(self.context.host, self.context.settings)
        with self.context.database.read() as connection:
            instance = instances.find(connection, task.instance_id)
            nodes = instances.nodes_of(connection, task.instance_id)
            room = RESIZE.required_room(nodes, RESIZE.params_of(task), None)
            return admission.shortages(connection, limits, task.project_id, room, instance)


def add_task(
    connection: sa.Connection,
    operation: Operation[Any, ParamsT],
    principal: Principal,
    instance: Instance,
    accepted: Accepted[ParamsT],
) -> Task:
    """Stores a task. The instance gets the status of the operation, unless another task must end first."""
    task = _new_task(operation, principal, instance, accepted)
    # Lists are in the order of this time: a clock that was set back must not hide the latest request.
    created_at = max(task.created_at, tasks.last_created_at(connection, principal.project_id))
    task = msgspec.structs.replace(task, created_at=created_at)
    is_next = not tasks.unfinished_of(connection, instance.id)
    tasks.add(connection, task)
    if is_next:
        instances.change(connection, instance.id, status=operation.status_while_running, updated_at=task.created_at)
    return task


def _new_task(
    operation: Operation[Any, ParamsT], principal: Principal, instance: Instance, accepted: Accepted[ParamsT]
) -> Task:
    task_id = uuid.uuid4().hex
    return Task(
        id=task_id,
        instance_id=instance.id,
        project_id=principal.project_id,
        kind=operation.kind,
        name=operation.name,
        status="WAITING",
        params=msgspec.to_builtins(accepted.params),
        details=dict(accepted.details),
        user_id=principal.user_id,
        user_name=principal.user_name,
        created_at=now_ms(),
        steps=plan.outline(task_id, operation.outline),
    )


def _end_cancelled(connection: sa.Connection, task: Task) -> None:
    """Ends a task that has not started."""
    tasks.change(
        connection,
        task.id,
        status="FAILED",
        error_code=CANCELLED,
        message="cancelled before it began",
        end_time=max(now_ms(), task.created_at),
        revision=task.revision + 1,
    )
    set_status_after(connection, tasks.load(connection, task.id))

"""Start, control, cancel and retry background tasks of instances.

Each change is checked and stored in one write transaction, so that its checks still hold when the task is stored.
Resources of the host are read before the transaction, so that it does not delay others. The task is enqueued after the
commit. If the server ends in between, its next start enqueues the task.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.clock import now_ms
from cachewright.errors import ApiError
from cachewright.model.identity import Principal
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import ENDED, Control, ControlledTask, Task
from cachewright.monitoring.node_stats import StatsCollector
from cachewright.operations import OPERATIONS, acceptance, admission, node_placement
from cachewright.operations.context import OperationContext
from cachewright.operations.expected_duration import estimated
from cachewright.operations.instance_status import set_status_after
from cachewright.operations.operation import Accepted, Operation, ParamsT, RequestT
from cachewright.operations.resize.operation import RESIZE
from cachewright.placement.capacity import Limits
from cachewright.services.instance_attributes import AttributeChange
from cachewright.services.instance_attributes import store as store_attributes
from cachewright.services.lookup import instance_of, task_of, with_tasks_before
from cachewright.services.new_tasks import add_task
from cachewright.store import incidents, instances, task_controls, tasks
from cachewright.tasks.feed import TaskFeed
from cachewright.tasks.operation import CANCELLED
from cachewright.threads import RequestThreads


class TaskService(msgspec.Struct, frozen=True):
    """Changes tasks. All methods raise ApiError DCS.3022 if the instance does not exist in the project, DCS.4958 if the
    task does not exist.

    :ivar feed: publishes changes of tasks.
    :ivar enqueue: passes a stored task to the engine.
    :ivar statistics: latest counters of the nodes.
    :ivar threads: threads for the reads and changes of requests that query nodes.
    """

    context: OperationContext
    feed: TaskFeed
    enqueue: Callable[[Task], None]
    statistics: StatsCollector
    threads: RequestThreads

    def submit(
        self,
        operation: Operation[RequestT, ParamsT],
        principal: Principal,
        instance_id: str,
        request: RequestT,
        attributes: Callable[[Instance], AttributeChange] | None = None,
    ) -> Task:
        """Start an operation on an instance. Return its task, which waits until the other tasks of the instance have
        ended. `Operation.cancels_others` cancels them: those that wait end now, the one that runs ends soon.

        :param attributes: decides a change of name and attributes that is stored together with the task.

        Raises ApiError of `Operation.validate`, `acceptance.require_acceptable` (busy) or `admission.require_room`.
        """
        limits = node_placement.limits(self.context.host, self.context.settings)
        with self.context.database.write() as connection:
            instance = instance_of(connection, principal.project_id, instance_id)
            unfinished = tasks.unfinished_of(connection, instance_id)
            if not operation.repeatable:
                for task in unfinished:
                    if task.kind == operation.kind:
                        return task
            accepted = self.accept(connection, operation, instance, request, unfinished=unfinished, limits=limits)
            cancelled = _cancel(connection, unfinished) if operation.cancels_others else []
            dataset = self.statistics.used_memory(instance_id)
            task = add_task(connection, operation, principal, instance, accepted, dataset=dataset)
            operation.requested(connection, instance, request, task)
            if attributes is not None:
                store_attributes(connection, instance, attributes(instance))
            if accepted.control != Control():
                task_controls.put(connection, task.id, accepted.control)
        for other in cancelled:
            self.feed.publish(other)
        self.enqueue(task)
        return task

    def submit_scheduled(
        self,
        operation: Operation[Any, Any],
        owner: Principal,
        instance_id: str,
        request: Any,
        attributes: Callable[[Instance], Mapping[str, Any]],
    ) -> Task:
        """Same as `submit`, and store changed attributes of the instance together with the task."""
        return self.submit(
            operation, owner, instance_id, request, lambda instance: AttributeChange(attributes=attributes(instance))
        )

    def accept(
        self,
        connection: sa.Connection,
        operation: Operation[RequestT, ParamsT],
        instance: Instance,
        request: RequestT,
        *,
        unfinished: Sequence[Task],
        limits: Limits,
    ) -> Accepted[ParamsT]:
        """Return the stored parts of a request that may be made now. Raises ApiError like `submit`.

        :param unfinished: the tasks of the instance that have not ended.
        """
        acceptance.require_acceptable(operation, instance, unfinished, incidents.open_of(connection, instance.id))
        nodes = instances.nodes_of(connection, instance.id)
        if all(task.is_scheduled for task in unfinished):
            acceptance.require_no_stopped_node(operation, nodes)
        accepted = operation.validate(instance, nodes, request)
        self._require_room(connection, limits, operation, instance, nodes=nodes, params=accepted.params)
        return accepted

    def control(self, principal: Principal, instance_id: str, task_id: str, control: Control) -> ControlledTask:
        """Pause, resume or throttle a task. Raises ApiError DCS.4957 if it has ended, is cancelled, or is to be paused
        and not interruptible."""
        return self._change_control(principal, instance_id, task_id, lambda _: control)

    def cancel(self, principal: Principal, instance_id: str, task_id: str) -> ControlledTask:
        """Cancel a task. Its other control settings stay, for a retry. Raises ApiError DCS.4957 if it has ended or is
        not interruptible.

        A task that waits ends immediately, one that runs when the instance is usable again.
        """
        return self._change_control(
            principal, instance_id, task_id, lambda control: msgspec.structs.replace(control, state="cancelled")
        )

    def _change_control(
        self, principal: Principal, instance_id: str, task_id: str, change: Callable[[Control], Control]
    ) -> ControlledTask:
        with self.context.database.write() as connection:
            task = task_of(connection, principal.project_id, instance_id, task_id)
            before = task_controls.get(connection, task_id)
            control = change(before)
            if task.status in ENDED:
                raise ApiError(errors.TASK_STATE_CONFLICT, reason="it has ended")
            if control.state != "running" and not OPERATIONS[task.kind].can_interrupt(task):
                raise ApiError(errors.TASK_STATE_CONFLICT, reason="it cannot be interrupted now")
            if before.is_cancelled:
                if control.is_cancelled:
                    return ControlledTask(task, before)
                raise ApiError(errors.TASK_STATE_CONFLICT, reason="it is being cancelled")
            task_controls.put(connection, task_id, control)
            if control.is_cancelled and task.status == "WAITING":
                _end_cancelled(connection, task, "cancelled before it began")
            changed = tasks.load(connection, task_id)
            shown = with_tasks_before(connection, changed)
        self.feed.publish(changed)
        return ControlledTask(shown, control)

    def cancel_resize(self, principal: Principal, instance_id: str, task_id: str) -> None:
        """Cancel a resize. Raises ApiError DCS.4957 if the task is of another kind or has ended."""
        with self.context.database.read() as connection:
            task = task_of(connection, principal.project_id, instance_id, task_id)
        if task.kind != RESIZE.kind:
            raise ApiError(errors.TASK_STATE_CONFLICT, reason="it is no resize")
        self.cancel(principal, instance_id, task_id)

    def retry(self, principal: Principal, instance_id: str, task_id: str) -> ControlledTask:
        """Resume a failed task. Finished work is kept, the rest is planned again. Mode and limits stay as they were.

        Raises ApiError DCS.4957 if the task has not failed or cannot be repeated; DCS.4036, DCS.4039 or DCS.9007 if
        resources or quotas are insufficient; or busy."""
        limits = node_placement.limits(self.context.host, self.context.settings)
        with self.context.database.write() as connection:
            task = task_of(connection, principal.project_id, instance_id, task_id)
            instance = instance_of(connection, principal.project_id, instance_id)
            operation = OPERATIONS[task.kind]
            if task.status != "FAILED":
                raise ApiError(errors.TASK_STATE_CONFLICT, reason="it has not failed")
            if not operation.can_retry(task):
                raise ApiError(errors.TASK_STATE_CONFLICT, reason="it cannot be repeated; request the change again")
            acceptance.require_retriable(operation, instance)
            acceptance.require_none_scheduled(operation, tasks.unfinished_of(connection, instance_id))
            nodes = instances.nodes_of(connection, instance_id)
            self._require_room(connection, limits, operation, instance, nodes=nodes, params=operation.params_of(task))
            former = task_controls.get(connection, task_id)
            control = msgspec.structs.replace(former, state="running", for_deletion=False)
            task_controls.put(connection, task_id, control)
            waiting = msgspec.structs.replace(
                task, status="WAITING", end_time=None, error_code=None, message="", attempt=task.attempt + 1
            )
            dataset = self.statistics.used_memory(instance_id)
            saved = tasks.save(
                connection, estimated(connection, operation, waiting, nodes, mode=control.mode, dataset=dataset)
            )
            operation.retried(connection, saved)
            shown = with_tasks_before(connection, saved)
            instances.change(
                connection, instance_id, status=operation.status_while_running, updated_at=now_ms(), error_code=None
            )
        self.feed.publish(saved)
        self.enqueue(saved)
        return ControlledTask(shown, control)

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


def _cancel(connection: sa.Connection, unfinished: Sequence[Task]) -> list[Task]:
    """Cancel tasks of an instance that is deleted, also those that callers cannot interrupt. Return those that have
    ended, because they had not started."""
    ended = []
    for task in unfinished:
        control = msgspec.structs.replace(task_controls.get(connection, task.id), state="cancelled", for_deletion=True)
        task_controls.put(connection, task.id, control)
        if task.status == "WAITING":
            _end_cancelled(connection, task, f"{control.cancellation}, before it began")
            ended.append(tasks.load(connection, task.id))
    return ended


def _end_cancelled(connection: sa.Connection, task: Task, message: str) -> None:
    """End a task that has not begun, although its plan may be in the making. One that waited for a maintenance window
    had not changed the status of its instance."""
    tasks.change(
        connection,
        task.id,
        status="FAILED",
        error_code=CANCELLED,
        message=message,
        end_time=max(now_ms(), task.created_at),
        begins_at=None,
        revision=task.revision + 1,
    )
    OPERATIONS[task.kind].withdrawn(connection, task)
    if task.is_scheduled:
        return
    set_status_after(connection, tasks.load(connection, task.id))

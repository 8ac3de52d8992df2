"""The declaration of an operation: what the rest of the code knows of it, in one object."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
import sqlalchemy as sa

from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Control, Step, Task
from cachewright.operations.context import OperationContext
from cachewright.placement.capacity import Request as RoomRequest

RequestT = TypeVar("RequestT")
ParamsT = TypeVar("ParamsT", bound=msgspec.Struct)


class NoParams(msgspec.Struct, frozen=True):
    """Parameters of an operation whose tasks need only their instance."""


class Accepted(NamedTuple, Generic[ParamsT]):
    """The stored parts of a valid request.

    :ivar params: parameters of the plan, `Task.params`.
    :ivar details: description for lists of tasks, in the cloud's words, `Task.details`.
    :ivar control: first control settings of the task.
    :ivar in_window: the task begins in the maintenance window of its instance.
    """

    params: ParamsT
    details: Mapping[str, Any] = {}
    control: Control = Control()
    in_window: bool = False


class Operation(Generic[RequestT, ParamsT]):
    """One kind of change to an instance. It has no state: the context and the task are arguments of each call.

    `plan` and `recover` may run twice, after a crash or a failure, so both ensure their result.

    :cvar kind: the operation's own name. Stored with its tasks, so it never changes.
    :cvar name: the cloud's name of its tasks.
    :cvar permission: the action that a caller must be allowed to start, control, cancel and retry its tasks.
    :cvar params: the type of what its tasks store, see `Accepted`.
    :cvar outline: names of its steps, shown as WAITING until the plan is made.
    :cvar accepts: instance statuses in which it may be requested.
    :cvar not_accepted: error code in other statuses; None for the `busy` code of the operation in progress.
    :cvar busy: error code for other requests while a task of this operation runs; None to accept them.
    :cvar needs_every_node: it is refused while a node is broken (an incident `broken_node`).
    :cvar cancels_others: it is accepted while other tasks are unfinished, cancels them, and runs when they have ended.
    :cvar repeatable: False: while one of its tasks has not ended, another request returns that task.
    :cvar interruptible: its tasks can be paused and cancelled while they run, see `can_interrupt`.
    :cvar reserves_room: the room that it requires counts as allocated until its task has ended.
    :cvar status_while_running: instance status while a task of it runs.
    :cvar status_after_success: None if the instance no longer exists then.
    :cvar status_after_failure: instance status after a failure, if `recover` has left the instance usable.
    :cvar nodes_should_run: while it runs, nodes are restarted when they die, measured, and keep their parameters.
    """

    kind: str
    name: str
    permission: str
    params: type[ParamsT]
    outline: Sequence[str]
    accepts: frozenset[str] = frozenset({"RUNNING"})
    not_accepted: str | None = None
    busy: str | None = None
    needs_every_node: bool = False
    cancels_others: bool = False
    repeatable: bool = True
    interruptible: bool = True
    reserves_room: bool = False
    status_while_running: str
    status_after_success: str | None = "RUNNING"
    status_after_failure: str = "RUNNING"
    nodes_should_run: bool = True

    def validate(self, instance: Instance, nodes: Sequence[Node], request: RequestT) -> Accepted[ParamsT]:
        """Validate a request. Pure. ApiError if the instance, which has these nodes, cannot be changed as requested."""
        raise NotImplementedError

    def expected_seconds(self, task: Task, nodes: Sequence[Node], dataset: int) -> float:
        """Expected duration of a task that has no plan yet, on a host that has not learned its own. Pure; asks no node.

        :param nodes: of the instance, at the request.
        :param dataset: the instance's data in bytes; 0 if it has not been measured.
        """
        return 1.0

    def required_room(self, nodes: Sequence[Node], params: ParamsT, dataset: int | None) -> RoomRequest | None:
        """Room that host and quota must have; None for no requirement. Pure. `dataset` is the instance's data in bytes;
        None leaves the disk out."""
        return None

    async def plan(self, context: OperationContext, task: Task) -> tuple[Step, ...]:
        """Read the state of the instance and return the steps of the task. ActionFailed if the operation is not
        possible. Errors of nodes that do not respond may pass through."""
        raise NotImplementedError

    async def recover(self, context: OperationContext, task: Task) -> None:
        """Leave the instance usable after a failure, at whichever sub-step it happened."""

    def requested(self, connection: sa.Connection, instance: Instance, request: RequestT, task: Task) -> None:
        """Record what the task is about to change, in the transaction that stores it. `instance` is as it was."""

    def retried(self, connection: sa.Connection, task: Task) -> None:
        """Record what the task is about to change, in the transaction that repeats it."""

    def withdrawn(self, connection: sa.Connection, task: Task) -> None:
        """Remove what a plan has stored, in the transaction that cancels a task before its first sub-step."""

    def succeeded(self, context: OperationContext, connection: sa.Connection, task: Task) -> None:
        """Record changes besides the status, in the transaction that ends the task with success."""

    def can_interrupt(self, task: Task) -> bool:
        """Whether a task can be paused or cancelled now. Pure."""
        return self.interruptible

    def can_retry(self, task: Task) -> bool:
        """Whether a failed task can be repeated. Pure."""
        return True

    def is_typical(self, task: Task, control: Control) -> bool:
        """Whether a task that has succeeded shows how fast its rates are (`tasks.learning`). Pure."""
        return control.parallel is None and control.latency_ceiling_ms is None

    def params_of(self, task: Task) -> ParamsT:
        """Stored parameters of a task of this operation."""
        return msgspec.convert(task.params, self.params)

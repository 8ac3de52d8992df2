"""Background tasks: steps, sub-steps, estimates, control settings."""

from typing import Any, Literal

import msgspec

MigrationMode = Literal["fastest", "balanced", "gentle"]
"""How slots move while clients use their source. `fastest`: whole ranges. `balanced`: small atomic batches, so that
clients wait for some tens of milliseconds at most. `gentle`: a few keys at a time, for the shortest waits."""

MODES: tuple[MigrationMode, ...] = ("fastest", "balanced", "gentle")
DEFAULT_MODE: MigrationMode = "balanced"

StepStatus = Literal["WAITING", "EXECUTING", "FINISH", "FAILED"]


TaskStatus = Literal["WAITING", "EXECUTING", "SUCCESS", "FAILED"]


UNFINISHED: tuple[TaskStatus, ...] = ("WAITING", "EXECUTING")


ENDED: tuple[TaskStatus, ...] = ("SUCCESS", "FAILED")


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """Effort of a sub-step, in a unit that a counter of a server counts.

    :ivar unit: `bytes`, `keys`, `nodes`, ...; for display only, calculations use seconds.
    :ivar seconds: expected duration, including `fixed`.
    :ivar fixed: part of `seconds` that no counter measures (a handover, an election); complete at its end.
    :ivar latency: part of `seconds` that hardly uses the processors (handshakes), so that other lanes work meanwhile.
    :ivar lane: sub-steps of one lane run one after another; lanes run concurrently.
    :ivar turns: number of lanes that run at full speed at the same time; None for all.
    :ivar rate: name of the rate that is learned from this work; by default the name of the action.
    :ivar speed: learned speed by which the declared seconds were divided.
    :ivar evidence: seconds of measurement that `seconds` count as.
    """

    unit: str
    total: float
    seconds: float
    fixed: float = 0.0
    latency: float = 0.0
    lane: str
    turns: int | None = None
    rate: str = ""
    speed: float = 1.0
    evidence: float = 0.5


class Wait(msgspec.Struct, frozen=True):
    """A wait of a sub-step, which is no work.

    :ivar since: epoch milliseconds.
    :ivar cause: what it waits for, such as a script on a node, or the end of a pause.
    """

    since: int
    cause: str


class SubStep(msgspec.Struct, frozen=True, kw_only=True):
    """One sub-step. `action` names the function that performs it, `arguments` are its parameters.

    :ivar work: its effort in the mode that the task had when the plan was made.
    :ivar work_in_modes: its effort in other modes, if it differs.
    :ivar done: finished part of `work.total`, from a counter.
    :ivar scale: its counted effort as known now, as a multiple of the planned one.
    :ivar uncounted: part of `work.total` after `done` that passes now and has no counter, such as a handover;
        :ivar uncounted_busy: the last part of it, which uses the processors, such as a deletion; :ivar uncounted_at:
        when it began, later by the waits since.
    :ivar progress_at: when `done` last increased, in epoch milliseconds; None before it has.
    :ivar waiting: the present wait; None while it works.
    :ivar waited_ms: milliseconds of earlier waits since `begin_time`, :ivar limited_ms: of those for a latency ceiling.
    """

    id: str
    name: str
    action: str
    arguments: dict[str, Any]
    work: Work
    work_in_modes: dict[MigrationMode, Work] = {}
    done: float = 0.0
    scale: float = 1.0
    uncounted: float = 0.0
    uncounted_busy: float = 0.0
    uncounted_at: int | None = None
    status: StepStatus = "WAITING"
    begin_time: int | None = None
    end_time: int | None = None
    progress_at: int | None = None
    waiting: Wait | None = None
    waited_ms: int = 0
    limited_ms: int = 0
    detail: str = ""
    error_code: str | None = None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar planning_ms: of the first step of a plan, the milliseconds that it took to make the plan."""

    id: str
    name: str
    sub_steps: tuple[SubStep, ...]
    status: StepStatus = "WAITING"
    begin_time: int | None = None
    end_time: int | None = None
    error_code: str | None = None
    planning_ms: int = 0


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """Estimate at the time when a task first reached a percent, and its accuracy.

    :ivar at: time of the estimate.
    :ivar low: remaining seconds at the 10th percentile, :ivar high: at the 90th; None for tasks of earlier releases.
    :ivar error: error of the estimated end as a share of the task's duration, negative if too early; None until the
        task has succeeded.
    """

    percent: int
    at: int
    remaining_seconds: float
    low: float | None = None
    high: float | None = None
    error: float | None = None


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """Control settings of a task.

    :ivar state: `paused` stops between two ranges; `cancelled` ends the task and leaves the cluster healthy.
    :ivar parallel: maximum number of lanes that run concurrently; None for all.
    :ivar latency_ceiling_ms: the task slows down so that 99 of 100 client requests to a source node take less time.
    :ivar mode: how slots move; the next batch uses it.
    :ivar for_deletion: the task was cancelled because its instance is deleted, so nothing needs to be left usable.
    """

    state: Literal["running", "paused", "cancelled"] = "running"
    parallel: int | None = None
    latency_ceiling_ms: float | None = None
    mode: MigrationMode = DEFAULT_MODE
    for_deletion: bool = False

    @property
    def is_cancelled(self) -> bool:
        return self.state == "cancelled"

    @property
    def cancellation(self) -> str:
        """Message of the task when it is cancelled."""
        return "cancelled: the instance is deleted" if self.for_deletion else "cancelled"


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One run of an operation on one instance.

    :ivar kind: name of the operation; `name` is the cloud's name for it.
    :ivar begins_at: begin of the maintenance window that it waits for, epoch milliseconds; None if it waits for none.
    :ivar percent: 0-100, never decreases; 100 only with SUCCESS.
    :ivar remaining_seconds: estimate at the time `estimated_at`.
    :ivar remaining_low: seconds in which 10 % of such tasks end; :ivar remaining_high: in which 90 % do.
    :ivar attempt: number of retries after failures.
    :ivar revision: incremented by every change; a writer must name the revision that it read.
    """

    id: str
    instance_id: str
    project_id: str
    kind: str
    name: str
    status: TaskStatus
    params: dict[str, Any]
    details: dict[str, Any]
    user_id: str
    user_name: str
    created_at: int
    begins_at: int | None = None
    begin_time: int | None = None
    end_time: int | None = None
    error_code: str | None = None
    message: str = ""
    percent: int = 0
    remaining_seconds: float = 0.0
    remaining_low: float = 0.0
    remaining_high: float = 0.0
    estimated_at: int | None = None
    attempt: int = 0
    revision: int = 0
    forecasts: tuple[Forecast, ...] = ()
    steps: tuple[Step, ...] = ()

    @property
    def is_scheduled(self) -> bool:
        """Whether it waits for a maintenance window. It has no place in the queue of its instance before that."""
        return self.status == "WAITING" and self.begins_at is not None

    @property
    def run_id(self) -> str:
        """Id of the present attempt."""
        return f"{self.id}.{self.attempt}" if self.attempt else self.id


class ControlledTask(msgspec.Struct, frozen=True):
    """A task with its control settings."""

    task: Task
    control: Control

"""Extensions of this project: control settings of a task, and its whole record."""

from typing import Annotated, Literal

import msgspec

from cachewright.api.schemas import iso
from cachewright.api.schemas.task_activity import TaskActivity, activity
from cachewright.api.schemas.tasks import Progress, TaskItem, progress, task_item
from cachewright.model.tasks import DEFAULT_MODE, Control, MigrationMode, Task
from cachewright.operations import OPERATIONS

_STATE_OF_WISH: dict[str, Literal["running", "paused"]] = {"run": "running", "pause": "paused"}
_MODE_OF_PRIORITY: dict[str, MigrationMode] = {"speed": "fastest", "latency": "balanced"}
_DEPRECATED = msgspec.Meta(extra_json_schema={"deprecated": True})


class ControlBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Replaces the control settings of a task. Omitted fields are reset to their defaults: running, all ranges
    concurrently, no latency ceiling, mode `balanced`. Unknown fields are an error.

    `wish` (`run` or `pause`) is the name that version 0.1.0 had for `state`. It is deprecated and has no effect
    together with `state`. `priority` (`speed` or `latency`) is an older name of the modes `fastest` and `balanced`. It
    is deprecated and has no effect together with `mode`.
    """

    state: Literal["running", "paused"] | None = None
    parallel: Annotated[int, msgspec.Meta(ge=1, le=1024)] | None = None
    latency_ceiling_ms: Annotated[float, msgspec.Meta(gt=0, le=60_000)] | None = None
    mode: MigrationMode | None = None
    wish: Annotated[Literal["run", "pause"] | None, _DEPRECATED] = None
    priority: Annotated[Literal["latency", "speed"] | None, _DEPRECATED] = None


class ForecastItem(msgspec.Struct, frozen=True):
    """`error` is the error of the estimated end as a share of the task's duration, positive if too late; null until the
    task has succeeded."""

    progress: int
    at: str | None
    remain_seconds: float
    error: float | None


class ControlRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Present control settings of a task, with the names of `ControlBody`."""

    state: Literal["running", "paused", "cancelled"]
    parallel: int | None
    latency_ceiling_ms: float | None
    mode: MigrationMode


class TaskRecord(TaskActivity, frozen=True, kw_only=True):
    """`interruptible`: the task can be paused, and cancelled while it runs. `heartbeat`: time of the last progress of
    any sub-step, null before it. `waiting`: present waits of sub-steps. `remain_seconds`: estimate of the remaining
    time; 10 % of tasks end within `remain_low`, 90 % within `remain_high`, which are 0 if the interval is not known.
    `effort`: the effort of the task as known now, as a multiple of the planned one."""

    instance_id: str
    task: TaskItem
    message: str
    attempt: int
    interruptible: bool
    control: ControlRecord
    forecasts: list[ForecastItem]
    progress: Progress


def control(body: ControlBody) -> Control:
    """Return the settings in the body."""
    return Control(
        state=body.state or _STATE_OF_WISH.get(body.wish or "", "running"),
        parallel=body.parallel,
        latency_ceiling_ms=body.latency_ceiling_ms,
        mode=body.mode or _MODE_OF_PRIORITY.get(body.priority or "", DEFAULT_MODE),
    )


def record(task: Task, control: Control) -> TaskRecord:
    """Return the record of a task with its control settings."""
    forecasts = [
        ForecastItem(forecast.percent, iso(forecast.at), forecast.remaining_seconds, forecast.error)
        for forecast in task.forecasts
    ]
    return TaskRecord(
        instance_id=task.instance_id,
        task=task_item(task),
        message=task.message,
        attempt=task.attempt,
        interruptible=OPERATIONS[task.kind].can_interrupt(task),
        control=msgspec.convert(control, ControlRecord, from_attributes=True),
        forecasts=forecasts,
        progress=progress(task),
        **msgspec.structs.asdict(activity(task)),
    )

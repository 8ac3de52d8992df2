"""Extensions of this project: how a task is wanted to run, and its whole record."""

from typing import Annotated, Literal

import msgspec

from cachewright.api.schemas import iso
from cachewright.api.schemas.tasks import Progress, TaskItem, progress, task_item
from cachewright.model.tasks import Control, Task


class ControlBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is left out goes back to its default: run, all lanes side by side, no ceiling, no
    hurry. A word that is not known is
    refused: a pause that was misspelt must not be taken for a wish to run."""

    wish: Literal["run", "pause"] = "run"
    parallel: Annotated[int, msgspec.Meta(ge=1, le=1024)] | None = None
    latency_ceiling_ms: Annotated[float, msgspec.Meta(gt=0, le=60_000)] | None = None
    hurry: bool = False


class ForecastItem(msgspec.Struct, frozen=True):
    """`error` is the share of the task's duration by which its end was predicted too late; null until it has ended."""

    progress: int
    at: str | None
    remain_seconds: float
    error: float | None


class TaskRecord(msgspec.Struct, frozen=True, kw_only=True):
    instance_id: str
    task: TaskItem
    message: str
    attempt: int
    control: Control
    forecasts: list[ForecastItem]
    progress: Progress


def control(body: ControlBody) -> Control:
    return msgspec.convert(msgspec.to_builtins(body), Control)


def record(task: Task, control: Control) -> TaskRecord:
    forecasts = [ForecastItem(f.percent, iso(f.at), f.remaining_seconds, f.error) for f in task.forecasts]
    return TaskRecord(
        instance_id=task.instance_id,
        task=task_item(task),
        message=task.message,
        attempt=task.attempt,
        control=control,
        forecasts=forecasts,
        progress=progress(task),
    )

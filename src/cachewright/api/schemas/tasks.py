"""Shapes of background tasks: ListBackgroundTask, ShowBackgroundTaskProgress, DeleteBackgroundTask, ListCenterTask,
DeleteCenterTask."""

import math
from typing import Annotated

import msgspec

from cachewright.api.schemas import forms, iso
from cachewright.api.schemas.paging import Limit, Offset
from cachewright.model.tasks import UNFINISHED, Step, SubStep, Task

_TEXT_LIMIT = 1024
_Moment = Annotated[str, msgspec.Meta(pattern=forms.MOMENT)]


class ListQuery(msgspec.Struct, frozen=True):
    """`begin_time` is an alias of `start_time`, which the reference's example and some clients use."""

    offset: Offset = 0
    limit: Limit = 10
    start_time: _Moment | None = None
    begin_time: _Moment | None = None
    end_time: _Moment | None = None


class TaskDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Changes by a task. All members of the contract are present; those of other kinds of tasks are null."""

    old_capacity: str | None = None
    new_capacity: str | None = None
    old_resource_spec_code: str | None = None
    new_resource_spec_code: str | None = None
    old_cache_mode: str | None = None
    new_cache_mode: str | None = None
    old_cache_type: str | None = None
    new_cache_type: str | None = None
    old_replica_num: int | None = None
    new_replica_num: int | None = None
    replica_ip: str | None = None
    replica_az: str | None = None
    group_name: str | None = None
    old_port: int | None = None
    new_port: int | None = None
    is_only_adjust_charging: bool | None = None
    enable_public_ip: bool | None = None
    public_ip_id: str | None = None
    public_ip_address: str | None = None
    enable_ssl: bool | None = None
    account_name: str | None = None
    source_ip: str | None = None
    target_ip: str | None = None
    node_name: str | None = None
    rename_commands: list[str] | None = None
    updated_config_length: int | None = None


class TaskItem(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    details: TaskDetails
    user_name: str
    user_id: str
    params: str
    status: str
    created_at: str | None
    updated_at: str | None
    error_code: str | None
    enable_show: bool
    job_id: str


class TaskList(msgspec.Struct, frozen=True):
    """`task_count` is a string as in the SDKs. The Go SDK refuses numbers."""

    task_count: str
    tasks: list[TaskItem]


class SubStepDetail(msgspec.Struct, frozen=True, kw_only=True):
    sub_step_id: str
    sub_step_name: str
    sub_step_status: str
    begin_time: str | None
    end_time: str | None
    detail: str
    error_code: str | None


class StepDetail(msgspec.Struct, frozen=True, kw_only=True):
    step_id: str
    step_name: str
    step_status: str
    begin_time: str | None
    end_time: str | None
    error_code: str | None
    sub_step_details: list[SubStepDetail]


class Progress(msgspec.Struct, frozen=True):
    """Progress of a task: `progress` in percent, `remain_time` in seconds."""

    progress: int
    remain_time: int
    step_details: list[StepDetail]


class DeleteCenterBody(msgspec.Struct, frozen=True):
    """The reference describes a response as this body. It is ignored."""

    message: str | None = None


class Deleted(msgspec.Struct, frozen=True):
    message: str = ""


def task_item(task: Task) -> TaskItem:
    """Return a task as a list item. As in the reference, `updated_at` is the end of the task, and null before it."""
    return TaskItem(
        id=task.id,
        name=task.name,
        details=msgspec.convert(task.details, TaskDetails),
        user_name=task.user_name,
        user_id=task.user_id,
        params=msgspec.json.encode(task.params).decode(),
        status=task.status,
        created_at=iso(task.created_at),
        updated_at=iso(task.end_time),
        error_code=task.error_code,
        enable_show=True,
        job_id=task.id,
    )


def progress(task: Task) -> Progress:
    """Return the progress. The remaining time of an unfinished task is at least one second."""
    return Progress(task.percent, _remaining(task), [_step(step) for step in task.steps])


def tag(task: Task) -> str:
    """Return the entity tag (RFC 9110, 8.8.3), which changes with the task. The remaining time of a task that waits
    also changes with the tasks before it."""
    queue = f"-{_remaining(task)}" if task.status == "WAITING" else ""
    return f'"{task.id}-{task.revision}{queue}"'


def _remaining(task: Task) -> int:
    return max(math.ceil(task.remaining_seconds), 1) if task.status in UNFINISHED else 0


def _step(step: Step) -> StepDetail:
    return StepDetail(
        step_id=step.id,
        step_name=step.name[:_TEXT_LIMIT],
        step_status=step.status,
        begin_time=iso(step.begin_time),
        end_time=iso(step.end_time),
        error_code=step.error_code,
        sub_step_details=[_sub_step(sub_step) for sub_step in step.sub_steps],
    )


def _sub_step(sub_step: SubStep) -> SubStepDetail:
    return SubStepDetail(
        sub_step_id=sub_step.id,
        sub_step_name=sub_step.name[:_TEXT_LIMIT],
        sub_step_status=sub_step.status,
        begin_time=iso(sub_step.begin_time),
        end_time=iso(sub_step.end_time),
        detail=sub_step.detail[:_TEXT_LIMIT],
        error_code=sub_step.error_code,
    )

"""Extensions of this project: whether a task works or waits, and the range of its remaining time."""

import msgspec

from cachewright.api.schemas import iso
from cachewright.api.schemas.tasks import StepDetail, progress
from cachewright.model.tasks import ENDED, SubStep, Task
from cachewright.tasks.progress import effort


class TaskWait(msgspec.Struct, frozen=True, kw_only=True):
    """A present wait of the sub-step with the id `sub_step`. `cause` is `paused` in a paused task."""

    since: str | None
    cause: str
    sub_step: str


class TaskActivity(msgspec.Struct, frozen=True, kw_only=True):
    """`heartbeat` is the time of the last progress of any sub-step, null before it. `remain_seconds` is the estimate of
    the remaining time; 10 % of tasks end within `remain_low`, 90 % within `remain_high`. Both are 0 if the interval is
    not known. `effort` is the effort of the task as known now, as a multiple of the planned one."""

    heartbeat: str | None
    waiting: list[TaskWait]
    remain_seconds: float
    remain_low: float
    remain_high: float
    effort: float


class ProgressEvent(TaskActivity, frozen=True, kw_only=True):
    """Data of an event of a task: its progress as in the contract, and its activity."""

    progress: int
    remain_time: int
    step_details: list[StepDetail]


def activity(task: Task) -> TaskActivity:
    sub_steps = [sub_step for step in task.steps for sub_step in step.sub_steps]
    ended = task.status in ENDED
    return TaskActivity(
        heartbeat=iso(max((sub.progress_at for sub in sub_steps if sub.progress_at is not None), default=None)),
        waiting=[] if ended else [wait for sub in sub_steps for wait in _waits(sub)],
        remain_seconds=0.0 if ended else task.remaining_seconds,
        remain_low=0.0 if ended else task.remaining_low,
        remain_high=0.0 if ended else task.remaining_high,
        effort=round(effort(task.steps), 3),
    )


def progress_event(task: Task) -> ProgressEvent:
    current = progress(task)
    return ProgressEvent(
        progress=current.progress,
        remain_time=current.remain_time,
        step_details=current.step_details,
        **msgspec.structs.asdict(activity(task)),
    )


def _waits(sub_step: SubStep) -> list[TaskWait]:
    wait = sub_step.waiting
    return [TaskWait(since=iso(wait.since), cause=wait.cause, sub_step=sub_step.id)] if wait else []

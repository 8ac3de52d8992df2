"""Status and times of a step, from its sub-steps. Pure."""

from collections.abc import Callable

import msgspec

from cachewright.model.tasks import Step, SubStep
from cachewright.tasks import waits


def with_sub_step(step: Step, sub_step_id: str, change: Callable[[SubStep], SubStep]) -> Step:
    """Return the step with one changed sub-step, if it has that sub-step."""
    if all(sub.id != sub_step_id for sub in step.sub_steps):
        return step
    sub_steps = tuple(change(sub) if sub.id == sub_step_id else sub for sub in step.sub_steps)
    return _summed(msgspec.structs.replace(step, sub_steps=sub_steps))


def _summed(step: Step) -> Step:
    """Derive the status of a step: FAILED if a sub-step failed and none runs, FINISH if all finished, else
    EXECUTING."""
    statuses = {sub.status for sub in step.sub_steps}
    begun = [sub.begin_time for sub in step.sub_steps if sub.begin_time is not None]
    ended = [sub.end_time for sub in step.sub_steps if sub.end_time is not None]
    codes = [sub.error_code for sub in step.sub_steps if sub.error_code]
    begin_time = min(begun, default=None)
    if statuses == {"FINISH"}:
        return msgspec.structs.replace(
            step, status="FINISH", begin_time=begin_time, end_time=max(ended), error_code=None
        )
    if "FAILED" in statuses and "EXECUTING" not in statuses:
        return msgspec.structs.replace(
            step, status="FAILED", begin_time=begin_time, end_time=max(ended), error_code=codes[0]
        )
    status = "WAITING" if statuses == {"WAITING"} else "EXECUTING"
    return msgspec.structs.replace(step, status=status, begin_time=begin_time, end_time=None, error_code=None)


def ended(step: Step, error_code: str | None, now: int) -> Step:
    """End a step of an ended task: its waits end, and what executes becomes FAILED. That includes a step that has
    finished one sub-step and not begun the next one."""
    sub_steps = tuple(
        msgspec.structs.replace(sub, status="FAILED", end_time=now, error_code=error_code)
        if sub.status == "EXECUTING"
        else sub
        for sub in (waits.end_wait(sub, now) for sub in step.sub_steps)
    )
    if sub_steps != step.sub_steps:
        step = _summed(msgspec.structs.replace(step, sub_steps=sub_steps))
    if step.status == "EXECUTING":
        return msgspec.structs.replace(step, status="FAILED", end_time=now, error_code=error_code)
    return step

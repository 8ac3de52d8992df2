"""Waits of sub-steps: times in which they cannot work. Pure; the caller passes the time in epoch milliseconds.

The waits of a sub-step follow one another and never overlap. The last one is open while the sub-step waits
(`SubStep.waiting`); the lengths of the others are summed in `SubStep.waited_ms`. A sub-step that has not begun can be
held back: its wait is shown, but has no length.
"""

import msgspec

from cachewright.model.tasks import Step, SubStep, Task, Wait
from cachewright.tasks.waiting import with_status, without_status

SHORTEST_SECONDS = 0.3
"""Shorter waits need not be recorded."""

PAUSED = "paused"
CEILING = "waiting for the latency ceiling"
NEXT_ATTEMPT = "waiting for the next attempt"
DATABASE = "waiting for the database"
SERVER_DOWN = "the server did not run"

_PREFIX = "waiting for "
_CEILING_CAUSE = CEILING.removeprefix(_PREFIX)


def begin_wait(sub_step: SubStep, status: str, now: int, *, since: int, cause: str = "") -> SubStep:
    """Begin a wait at `since`, which may be earlier than `now`, and show it. A wait for the same cause goes on; a wait
    for another cause ends now.

    :param status: what the sub-step waits for, as the member `status` of its detail.
    :param cause: the same as it is recorded, if the status also tells how far the wait has come.
    """
    cause = cause or status.removeprefix(_PREFIX)
    shown = msgspec.structs.replace(sub_step, detail=with_status(sub_step.detail, status))
    if sub_step.waiting is None:
        since = min(max(since, sub_step.begin_time or since), now)
        return msgspec.structs.replace(shown, waiting=Wait(since, cause))
    if sub_step.waiting.cause == cause:
        return shown
    return msgspec.structs.replace(_closed(shown, now), waiting=Wait(now, cause))


def end_wait(sub_step: SubStep, now: int) -> SubStep:
    """End the open wait, if there is one."""
    if sub_step.waiting is None:
        return sub_step
    return msgspec.structs.replace(_closed(sub_step, now), detail=without_status(sub_step.detail))


def _closed(sub_step: SubStep, now: int) -> SubStep:
    waited = waited_ms(sub_step, now)
    uncounted_at = sub_step.uncounted_at
    return msgspec.structs.replace(
        sub_step,
        waiting=None,
        waited_ms=waited,
        limited_ms=limited_ms(sub_step, now),
        uncounted_at=None if uncounted_at is None else uncounted_at + waited - sub_step.waited_ms,
    )


def limited_ms(sub_step: SubStep, now: int) -> int:
    """Return the milliseconds that a sub-step has waited for a latency ceiling, with the open wait."""
    is_limited = sub_step.waiting is not None and sub_step.waiting.cause == _CEILING_CAUSE
    return sub_step.limited_ms + (waited_ms(sub_step, now) - sub_step.waited_ms if is_limited else 0)


def waited_ms(sub_step: SubStep, now: int) -> int:
    """Return the milliseconds that a sub-step has waited since its begin, with the open wait."""
    if sub_step.waiting is None or sub_step.begin_time is None:
        return sub_step.waited_ms
    return sub_step.waited_ms + max(now - sub_step.waiting.since, 0)


def interrupted(task: Task) -> Task:
    """Return a stored task whose worker has ended. Each sub-step that was executing waits since the last write, until
    it begins again. An open wait goes on."""
    return msgspec.structs.replace(task, steps=tuple(_interrupted(step, task.estimated_at) for step in task.steps))


def _interrupted(step: Step, written_at: int | None) -> Step:
    if written_at is None or step.status != "EXECUTING":
        return step
    sub_steps = tuple(
        msgspec.structs.replace(sub, waiting=sub.waiting or Wait(max(written_at, sub.begin_time or 0), SERVER_DOWN))
        if sub.status == "EXECUTING"
        else sub
        for sub in step.sub_steps
    )
    return msgspec.structs.replace(step, sub_steps=sub_steps)

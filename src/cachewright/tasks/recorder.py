"""State of one running task, and its persistence.

State changes are written immediately, counters up to ten times a second (`TaskRecorder.keep`). If the database is
unavailable, the task waits: each change must be stored before the next action. A write succeeds only over the revision
that this recorder wrote last; a worker that was replaced meanwhile gets `StaleTask` and must stop.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from cachewright.clock import Clock, steady_from
from cachewright.errors import DatabaseUnavailable
from cachewright.model.tasks import ENDED, Control, Step, SubStep, Task, Work
from cachewright.store import task_controls
from cachewright.store import tasks as stored
from cachewright.store.database import Database
from cachewright.tasks import calibration, waits
from cachewright.tasks.estimator import Estimator
from cachewright.tasks.forecast import with_errors
from cachewright.tasks.plan import with_planning
from cachewright.tasks.progress import Widths
from cachewright.tasks.stall_detector import StallDetector
from cachewright.tasks.step_status import ended, with_sub_step
from cachewright.tasks.waiting import status_of, with_status, without_status

log = logging.getLogger(__name__)

KEEP_SECONDS = 0.1
_STORING_MS = 100
"""Longest time from the end of a sub-step to the begin of the next one in which only results are stored."""

_MESSAGE_LIMIT = 1024
DATABASE_SECONDS = 1.0
"""Pause between two attempts to write to an unavailable database."""

Record = TypeVar("Record", bound=msgspec.Struct)
Conclusion = Callable[[sa.Connection, Task], None]


class TaskRecorder:
    def __init__(
        self,
        database: Database,
        task: Task,
        control: Control,
        publish: Callable[[Task], None],
        widths: Mapping[int, Widths],
    ) -> None:
        """`publish` is called for each stored change, `widths` are those of the intervals of this kind of task.

        :ivar was_resumed: another worker has begun the task.
        :ivar control: control settings of the task, as of its last write; `keep` limits their age.
        :ivar stale: the error with which this recorder's last write failed, if another one has written the task.
        """
        self._database = database
        self._task = task
        self._publish = publish
        self.control = control
        self.stale: stored.StaleTask | None = None
        self._now: Clock = steady_from(max(task.created_at, task.begin_time or 0, task.estimated_at or 0))
        self._writing = asyncio.Lock()
        self._requested = 0
        self._stored = 0
        self._planning_since: int | None = None
        self._waits_ended: dict[str, int] = {}
        self._estimator = Estimator(task, widths)
        self.was_resumed = task.status == "EXECUTING"

    @classmethod
    async def load(cls, database: Database, task_id: str, publish: Callable[[Task], None]) -> "TaskRecorder":
        """Read a task and its control settings. Sub-steps that an earlier worker has begun wait until they begin
        again."""

        def read() -> tuple[Task, Control, Mapping[int, Widths]]:
            with database.read() as connection:
                task = stored.load(connection, task_id)
                return task, task_controls.get(connection, task_id), calibration.load(connection, task.kind)

        task, control, widths = await asyncio.to_thread(read)
        return cls(database, waits.interrupted(task), control, publish, widths)

    @property
    def task(self) -> Task:
        return self._task

    def begin_planning(self) -> None:
        """Note the begin of an attempt to make the plan. The task begins with the attempt that succeeds."""
        self._planning_since = self._now()

    async def start(self, steps: tuple[Step, ...]) -> None:
        """Store the plan and the status EXECUTING. Steps that an earlier attempt finished are kept."""
        since = self._planning_since or self._now()
        begin = self._task.begin_time or since
        finished = tuple(step for step in self._task.steps if step.status == "FINISH")
        planned = with_planning(steps, self._now() - since)
        self._task = replace(self._task, status="EXECUTING", begin_time=begin, steps=(*finished, *planned))
        await self.write()

    def show_beside_plan(self, what: str, status: str, seconds: float) -> None:
        """Show what the plan or the recovery waits for, and has waited for `seconds`, as a sub-step of the first step
        that has not finished. An empty status removes it, and so does `start`. The next `keep` stores it."""
        waiting = [step for step in self._task.steps if step.status != "FINISH"]
        if not waiting:
            return
        shown = SubStep(
            id=f"{waiting[0].id}-{what}",
            name=f"{what.capitalize()}.",
            action=what,
            arguments={},
            work=Work(unit="seconds", total=0.0, seconds=0.0, lane=what),
        )
        earlier = next((sub for sub in waiting[0].sub_steps if sub.id == shown.id), shown)
        shown = waits.begin_wait(earlier, status, self._now(), since=self._ago(seconds))
        others = tuple(sub for sub in waiting[0].sub_steps if sub.id != shown.id)
        changed = replace(waiting[0], sub_steps=(*others, shown) if status else others)
        self._task = replace(
            self._task, steps=tuple(changed if step is waiting[0] else step for step in self._task.steps)
        )

    async def end(self, *, error_code: str | None, message: str, also: Conclusion) -> None:
        """Store the end of the task. Steps that never ran stay WAITING; a running step becomes FAILED.

        :param message: cause of the failure; warnings of the run follow it.
        :param also: writes the resulting state of the instance in the same transaction.
        """
        if self._task.status in ENDED:
            return
        failed = error_code is not None
        steps = tuple(ended(step, error_code, self._now()) for step in self._task.steps)
        self._task = replace(
            self._task,
            status="FAILED" if failed else "SUCCESS",
            begin_time=self._task.begin_time or self._now(),
            end_time=self._now(),
            error_code=error_code,
            message="; ".join(part for part in (message, self._task.message) if part)[:_MESSAGE_LIMIT],
            steps=steps,
            percent=self._task.percent if failed else 100,
            forecasts=() if failed else with_errors(self._task.forecasts, self._task.begin_time, self._now()),
            remaining_seconds=0.0,
            remaining_low=0.0,
            remaining_high=0.0,
        )
        await self.write(also)

    async def begin(self, sub_step_id: str) -> None:
        """Store the begin of a sub-step, which ends its wait. It begins when the one before it has ended: in between,
        results are stored, and no other time of the task would include that. A sub-step that is repeated after a crash
        keeps its first begin time."""

        def begun(sub: SubStep) -> SubStep:
            sub = waits.end_wait(sub, self._now())
            begin, detail = sub.begin_time or self._last_end(), without_status(sub.detail)
            return replace(sub, status="EXECUTING", begin_time=begin, end_time=None, error_code=None, detail=detail)

        self._change(sub_step_id, begun)
        await self.write(waiting=sub_step_id)

    def _last_end(self) -> int:
        """When the last sub-step has ended; now, if that is too long ago."""
        ends = [sub.end_time for step in self._task.steps for sub in step.sub_steps if sub.end_time]
        now, last = self._now(), max(ends, default=0)
        return last if last > now - _STORING_MS else now

    async def finish(self, sub_step_id: str) -> None:
        def finished(sub: SubStep) -> SubStep:
            now = self._now()
            progress_at = now if sub.done < sub.work.total else sub.progress_at
            sub = waits.end_wait(sub, now)
            return replace(sub, status="FINISH", end_time=now, done=sub.work.total, progress_at=progress_at)

        self._change(sub_step_id, finished)
        await self.write()

    async def fail(self, sub_step_id: str, error_code: str, detail: str) -> None:
        def failed(sub: SubStep) -> SubStep:
            sub = waits.end_wait(sub, self._now())
            shown = detail[:_MESSAGE_LIMIT]
            return replace(sub, status="FAILED", end_time=self._now(), error_code=error_code, detail=shown)

        self._change(sub_step_id, failed)
        await self.write()

    def measure(
        self,
        sub_step_id: str,
        done: float | None = None,
        detail: str | None = None,
        *,
        uncounted: float = 0.0,
        uncounted_busy: float = 0.0,
        scale: float | None = None,
    ) -> None:
        """Update a counter, and the detail except its status. The next `keep` stores it."""

        def measured(sub: SubStep) -> SubStep:
            new_scale = sub.scale if scale is None else scale
            before = sub.done * min(sub.scale / new_scale, 1.0)  # the same work is a smaller share of a larger effort
            progress = before if done is None else max(before, min(done, sub.work.total))
            begins = uncounted > 0 and (not sub.uncounted or progress > before)
            return replace(
                sub,
                done=progress,
                scale=new_scale,
                uncounted=uncounted if done is not None else sub.uncounted,
                uncounted_busy=uncounted_busy if done is not None else sub.uncounted_busy,
                uncounted_at=self._now() if begins else sub.uncounted_at,
                progress_at=self._now() if progress > before else sub.progress_at,
                detail=sub.detail if detail is None else with_status(detail, status_of(sub.detail))[:_MESSAGE_LIMIT],
            )

        self._change(sub_step_id, measured)

    def show(self, sub_step_id: str, status: str) -> None:
        """Show a status in the detail of a sub-step, unless it shows a wait; an empty text ends the display. The next
        `keep` stores it."""
        if self.sub_step(sub_step_id).waiting is None:
            self._change(sub_step_id, lambda sub: replace(sub, detail=with_status(sub.detail, status)))

    def begin_wait(self, sub_step_id: str, status: str, *, cause: str = "", seconds: float = 0.0) -> None:
        """Record and show a wait that has lasted for `seconds`; see `waits.begin_wait`. The next `keep` stores it."""
        since = max(self._ago(seconds), self._waits_ended.get(sub_step_id, 0))
        self._change(sub_step_id, lambda sub: waits.begin_wait(sub, status, self._now(), since=since, cause=cause))

    def end_wait(self, sub_step_id: str) -> None:
        """End the wait of a sub-step, if it waits. The next `keep` stores it."""
        if self.sub_step(sub_step_id).waiting is not None:
            now = self._waits_ended[sub_step_id] = self._now()
            self._change(sub_step_id, lambda sub: waits.end_wait(sub, now))

    def show_wait(self, sub_step_id: str, status: str, seconds: float) -> None:
        """Begin or end a wait; see `ShowWait`."""
        if status:
            self.begin_wait(sub_step_id, status, seconds=seconds)
        else:
            self.end_wait(sub_step_id)

    def waited_seconds(self, sub_step_id: str) -> float:
        """Return how long a sub-step has waited since its begin."""
        return waits.waited_ms(self.sub_step(sub_step_id), self._now()) / 1000

    def _ago(self, seconds: float) -> int:
        return self._now() - round(seconds * 1000)

    def warn(self, text: str) -> None:
        """Add a warning to the message of the task, unless it is there. The next `keep` stores it."""
        message = self._task.message
        if text not in message:
            self._task = replace(self._task, message=f"{message}; {text}"[:_MESSAGE_LIMIT] if message else text)

    def sub_step(self, sub_step_id: str) -> SubStep:
        return next(sub for step in self._task.steps for sub in step.sub_steps if sub.id == sub_step_id)

    async def keep(self, pause: Callable[[], float] = lambda: KEEP_SECONDS) -> None:
        """Store counters and log stalls, until cancelled, with pauses of so many seconds."""
        detector = StallDetector()
        while True:
            await asyncio.sleep(pause())
            await self.write()
            if self.control.state == "running":
                for sub_step, seconds in detector.stalled(self._task, self._now()):
                    log.warning("task %s: %s: no progress for %d s", self._task.id, sub_step.name, seconds)

    async def write(self, also: Conclusion | None = None, *, waiting: str | None = None) -> None:
        """Store all changes; wait while the database is unavailable, as a wait of the sub-step `waiting`. One write
        serves all lanes that wait for it."""
        self._requested += 1
        own_request = self._requested
        while True:
            try:
                async with self._writing:
                    if also or self._stored < own_request:
                        await self._write(also)
            except DatabaseUnavailable as error:
                if waiting:
                    self.begin_wait(waiting, waits.DATABASE)
                log.warning("task %s: database unavailable, retrying: %s", self._task.id, error)
                await asyncio.sleep(DATABASE_SECONDS)
            else:
                if waiting:
                    self.end_wait(waiting)
                return

    async def _write(self, also: Conclusion | None) -> None:
        if self._task.status in ENDED and not also:
            return
        self._task = self._estimator.estimated(self._task, self.control, self._now())
        written, requested = self._task, self._requested

        def save() -> tuple[Task, Control]:
            with self._database.write() as connection:
                saved = stored.save(connection, written)
                if also:
                    also(connection, saved)
                return saved, task_controls.get(connection, saved.id)

        try:
            saved, self.control = await asyncio.to_thread(save)
        except stored.StaleTask as stale:
            self.stale = stale
            raise
        self._task = replace(self._task, revision=saved.revision)
        self._stored = requested
        self._publish(saved)

    def _change(self, sub_step_id: str, change: Callable[[SubStep], SubStep]) -> None:
        self._task = replace(
            self._task, steps=tuple(with_sub_step(step, sub_step_id, change) for step in self._task.steps)
        )


def replace(record: Record, **changes: Any) -> Record:
    return msgspec.structs.replace(record, **changes)

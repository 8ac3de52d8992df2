"""The port of a migration to its sub-step and its record, in an agent: by what the server says."""

from collections.abc import Collection
from typing import Any

import msgspec

from cachewright.jobs.migrations.orders import VALID_SECONDS, Event, Orders, Progress, stage_of
from cachewright.jobs.work import OrderedWork
from cachewright.model.online_migrations import LogLevel, ResumeMode
from cachewright.valkey.sources.copier import TargetNotReady
from cachewright.valkey.sources.target import TargetMap

_MOST_EVENTS = 100
"""Events that are kept for the server. Of more, the oldest are forgotten."""


class OrderedCaller:
    """Implements `Caller`."""

    def __init__(self, work: OrderedWork) -> None:
        self._work = work
        self._progress = Progress()
        self._last_event = 0
        work.on_orders = self._obey

    def raise_if_cancelled(self) -> None:
        """No effect: the server ends the job of a task that is cancelled."""

    async def wait_until_allowed(self) -> None:
        """Also waits for orders, if the last ones are old."""
        if not self._must_wait():
            return
        self._tell(is_held=True)
        while self._must_wait():
            await self._work.next_orders()
        self._tell(is_held=False)

    def _must_wait(self) -> bool:
        return self._work.orders.is_paused or self._work.seconds_without_orders > VALID_SECONDS

    def begin_wait(self, status: str, *, cause: str = "") -> None:
        self._tell(waits=status, cause=cause)

    def end_wait(self) -> None:
        self._tell(waits="", cause="")

    def measure(self, done: float | None = None, detail: str | None = None) -> None:
        now = self._progress
        self._tell(done=now.done if done is None else done, detail=now.detail if detail is None else detail)

    def show(self, status: str) -> None:
        self._tell(shown=status)

    async def resume_mode(self) -> ResumeMode:
        return self._work.orders.resume_mode

    async def is_cut_over(self) -> bool:
        return self._work.orders.is_cut_over

    async def find_target(self) -> TargetMap:
        answer = await self._answer(libraries=None)
        if answer.target is None:
            raise TargetNotReady(answer.refusal)
        return answer.target

    async def keep_libraries(self, names: Collection[str]) -> None:
        await self._answer(libraries=tuple(sorted(names)))

    async def note(self, level: LogLevel, message: str) -> None:
        self._last_event += 1
        event = Event(self._last_event, level, message)
        self._tell(events=(*self._progress.events, event)[-_MOST_EVENTS:])

    async def _answer(self, libraries: tuple[str, ...] | None) -> Orders:
        """Request something of the server, and return its answer."""
        number = self._progress.request + 1
        self._tell(stage_of(number), request=number, libraries=libraries)
        while self._work.orders.answered != number:
            await self._work.next_orders()
        return self._work.orders

    def _obey(self, orders: Orders) -> None:
        """Forget events that are in the log."""
        left = tuple(event for event in self._progress.events if event.number > orders.noted)
        if left != self._progress.events:
            self._tell(events=left)

    def _tell(self, stage: str | None = None, **changes: Any) -> None:
        self._progress = msgspec.structs.replace(self._progress, **changes)
        self._work.tell(self._progress, stage)

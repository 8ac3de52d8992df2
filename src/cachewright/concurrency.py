"""Limits on concurrent work in one event loop: fair between keys, such as projects, with bounded queues."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from cachewright import errors
from cachewright.errors import ApiError

Key = TypeVar("Key", bound=Hashable)
Answer = TypeVar("Answer")
Item = TypeVar("Item")

_RETRY_SECONDS = 2
_CANCEL_AGAIN_SECONDS = 1.0
_SHARE_OF_WAIT = 0.05
_LONGEST_PAUSE_SECONDS = 1.0


async def gather_limited(act: Callable[[Item], Awaitable[Answer]], items: Iterable[Item], at_once: int) -> list[Answer]:
    """Run `act` for each item, at most `at_once` concurrently; results in the order of the items. At the first error,
    the others are cancelled, and it is raised when they have ended."""
    room = asyncio.Semaphore(at_once)

    async def one(item: Item) -> Answer:
        async with room:
            return await act(item)

    running = [asyncio.create_task(one(item)) for item in items]
    try:
        return await asyncio.gather(*running)
    except BaseException:
        await end_tasks(*running)
        raise


async def end_tasks(*tasks: asyncio.Future[Any], cancel_again_seconds: float = _CANCEL_AGAIN_SECONDS) -> None:
    """Cancel tasks, and return when they have ended. Their results and errors are ignored.

    The cancellation is repeated until they end, because `asyncio.wait_for` of Python 3.11, which the client library
    uses, drops a cancellation that arrives together with its result.

    :param cancel_again_seconds: time until the next cancellation; longer than a task needs to clean up.
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=cancel_again_seconds)
    await asyncio.gather(*tasks, return_exceptions=True)


async def until_ended(task: asyncio.Future[Any]) -> None:
    """Return when a task has ended, also if the caller is cancelled meanwhile, which then takes effect. The task is not
    cancelled: one that waits for a thread would end before the thread does."""
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is not None:
        await asyncio.gather(task, return_exceptions=True)  # marks its error as read
        raise cancellation


class GrowingPauses:
    """Pauses between checks whether a wait has ended: a small share of the time since the first check, within limits.
    So many long waits cost little, and the end of each is noticed late by that share at most."""

    def __init__(self, shortest: float, longest: float = _LONGEST_PAUSE_SECONDS) -> None:
        self._shortest = shortest
        self._longest = longest
        self._began = time.monotonic()

    async def next(self) -> None:
        waited = time.monotonic() - self._began
        await asyncio.sleep(min(max(self._shortest, _SHARE_OF_WAIT * waited), self._longest))


class FairLimit:
    """Limit on concurrent work for each key. Further work of a key waits in order and delays no other key."""

    def __init__(self, at_once: int, *, waiting: int | None = None, waiting_in_all: int | None = None) -> None:
        """:param waiting: maximum number waiting for one key; None for no limit.
        :param waiting_in_all: maximum number waiting for all keys.
        """
        self._at_once = at_once
        self._waiting = waiting
        self._waiting_in_all = waiting_in_all
        self._total = 0
        self._lines: dict[str, _Line] = {}

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        """Wait for a permit of `key` and hold it within the block. ApiError DCS.4974 if too many wait already."""
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line(self._at_once)
        if line.users >= self._at_once and self._is_full(line):
            raise ApiError(errors.PROJECT_BUSY, retry_after=_RETRY_SECONDS)
        line.users += 1
        waits = line.users > self._at_once
        self._total += waits
        try:
            async with line.room:
                self._total -= waits
                waits = False
                yield
        finally:
            self._total -= waits
            line.users -= 1
            if not line.users:
                del self._lines[key]

    def _is_full(self, line: "_Line") -> bool:
        if self._waiting is not None and line.users - self._at_once >= self._waiting:
            return True
        return self._waiting_in_all is not None and self._total >= self._waiting_in_all


class _Line:
    """Permits of one key.

    :ivar users: number of holders and waiters.
    """

    def __init__(self, at_once: int) -> None:
        self.room = asyncio.Semaphore(at_once)
        self.users = 0


class SharedCalls(Generic[Key, Answer]):
    """Calls shared by several callers. The first caller starts the call; it is cancelled when all callers have left."""

    def __init__(self) -> None:
        self._calls: dict[Key, _Call[Answer]] = {}

    async def get(self, key: Key, start: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """Result of the running call of this key, or else of `start`."""
        call = self._calls.get(key)
        if call is None:
            call = self._calls[key] = _Call(asyncio.create_task(start()))
            call.task.add_done_callback(lambda _: self._forget(key, call))
        call.callers += 1
        try:
            return await asyncio.shield(call.task)
        finally:
            call.callers -= 1
            if not call.callers and not call.task.done():
                self._forget(key, call)
                call.task.cancel()

    def _forget(self, key: Key, call: "_Call[Answer]") -> None:
        if self._calls.get(key) is call:
            del self._calls[key]


class _Call(Generic[Answer]):
    """:ivar callers: number of waiting callers."""

    def __init__(self, task: asyncio.Task[Answer]) -> None:
        self.task = task
        self.callers = 0

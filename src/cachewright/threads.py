"""Threads for blocking work. What the server does by itself has threads of its own, which no request can occupy, and
requests have others: some to read, some to change."""

import asyncio
import contextvars
import functools
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from cachewright.concurrency import FairLimit

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_BACKGROUND_THREADS = 16
_READ_THREADS = 16
_CHANGE_THREADS = 8
_READS_AT_ONCE = 4
_CHANGES_AT_ONCE = 2
_WAITING = 250
_WAITING_IN_ALL = 2000

_background = ThreadPoolExecutor(_BACKGROUND_THREADS, thread_name_prefix="background")


async def in_background(
    act: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Result:
    """Runs `act` on a thread for work that belongs to no request: supervision, checks, the engine's bookkeeping,
    webhooks."""
    return await _run(_background, functools.partial(act, *args, **kwargs))


class RequestThreads:
    """Runs the database work of requests. Each project has a few turns at a time, and only so many of its requests
    wait. Changes wait for the database's one writer, so they have threads of their own and keep no reader waiting."""

    def __init__(self) -> None:
        self._readers = ThreadPoolExecutor(_READ_THREADS, thread_name_prefix="reads")
        self._writers = ThreadPoolExecutor(_CHANGE_THREADS, thread_name_prefix="changes")
        self._reads = FairLimit(_READS_AT_ONCE, waiting=_WAITING, waiting_in_all=_WAITING_IN_ALL)
        self._changes = FairLimit(_CHANGES_AT_ONCE, waiting=_WAITING, waiting_in_all=_WAITING_IN_ALL)

    async def read(self, project: str, act: Callable[[], Result]) -> Result:
        """ApiError DCS.4974 where too many requests wait."""
        async with self._reads.turn(project):
            return await _run(self._readers, act)

    async def change(self, project: str, act: Callable[[], Result]) -> Result:
        """ApiError DCS.4974 where too many requests wait; `act` has not begun then."""
        async with self._changes.turn(project):
            return await _run(self._writers, act)


async def _run(executor: Executor, act: Callable[[], Result]) -> Result:
    """With the caller's context, as `asyncio.to_thread` does it: what is logged carries the caller's ids."""
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(executor, functools.partial(context.run, act))

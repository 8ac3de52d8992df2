"""Threads for blocking work: one pool for background work, which requests cannot occupy, and pools for reads and for
changes of requests."""

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
_STORAGE_THREADS = 8
_READ_THREADS = 16
_CHANGE_THREADS = 8
_READS_AT_ONCE = 4
_CHANGES_AT_ONCE = 2
_WAITING = 250
_WAITING_IN_ALL = 2000

_background = ThreadPoolExecutor(_BACKGROUND_THREADS, thread_name_prefix="background")
_storage = ThreadPoolExecutor(_STORAGE_THREADS, thread_name_prefix="storage")


async def in_background(
    act: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Result:
    """Run `act` on a thread for background work."""
    return await _run(_background, functools.partial(act, *args, **kwargs))


async def on_storage(act: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
    """Run `act` on a thread for folders that may be on a disk of the network. If that does not answer, nothing else
    waits."""
    return await _run(_storage, functools.partial(act, *args, **kwargs))


class RequestThreads:
    """Runs database work of requests, with limits for each project. Changes wait for the only writer of the database,
    so they have their own threads and delay no reads."""

    def __init__(self) -> None:
        self._readers = ThreadPoolExecutor(_READ_THREADS, thread_name_prefix="reads")
        self._writers = ThreadPoolExecutor(_CHANGE_THREADS, thread_name_prefix="changes")
        self._reads = FairLimit(_READS_AT_ONCE, waiting=_WAITING, waiting_in_all=_WAITING_IN_ALL)
        self._changes = FairLimit(_CHANGES_AT_ONCE, waiting=_WAITING, waiting_in_all=_WAITING_IN_ALL)

    async def read(self, project: str, act: Callable[[], Result]) -> Result:
        """Run a read. ApiError DCS.4974 if too many requests wait."""
        async with self._reads.turn(project):
            return await _run(self._readers, act)

    async def change(self, project: str, act: Callable[[], Result]) -> Result:
        """Run a change. ApiError DCS.4974 if too many requests wait; `act` has not started then."""
        async with self._changes.turn(project):
            return await _run(self._writers, act)


async def _run(executor: Executor, act: Callable[[], Result]) -> Result:
    """Run with the caller's context, like `asyncio.to_thread`, so that log lines have the caller's ids."""
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(executor, functools.partial(context.run, act))

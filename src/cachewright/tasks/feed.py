"""Tells those who watch a task of each of its changes, within this process, so that nobody has to look again and again.

Whoever changes a task publishes it, from whichever thread; whoever watches sees the latest, never all.
"""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from cachewright.store.records import Task


class Watch:
    """One who watches, in the event loop it was made in."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._latest: Task | None = None

    async def changed(self, seconds: float) -> Task | None:
        """The task as it is now, when it has changed since the last call; None where it does not within the time."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return None
        self._changed.clear()
        return self._latest

    def tell(self, task: Task) -> None:
        self._loop.call_soon_threadsafe(self._see, task)

    def _see(self, task: Task) -> None:
        self._latest = task
        self._changed.set()


class Feed:
    def __init__(self) -> None:
        self._watches: defaultdict[str, set[Watch]] = defaultdict(set)
        self._changing = threading.Lock()

    def publish(self, task: Task) -> None:
        with self._changing:
            for watch in self._watches.get(task.id, ()):
                watch.tell(task)

    @contextmanager
    def watching(self, task_id: str) -> Iterator[Watch]:
        watch = Watch()
        with self._changing:
            self._watches[task_id].add(watch)
        try:
            yield watch
        finally:
            with self._changing:
                self._watches[task_id].discard(watch)
                if not self._watches[task_id]:
                    del self._watches[task_id]

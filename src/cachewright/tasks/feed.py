"""Tells those who watch a task of each of its changes, within this process, so that nobody has to look again and again.

Whoever changes a task publishes it, from whichever thread; whoever watches sees the latest, never all.
"""

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cachewright.errors import CachewrightError
from cachewright.model.tasks import Task

log = logging.getLogger(__name__)


class FeedClosed(CachewrightError):
    """There will be no more changes: the server stops."""


class TaskSubscription:
    """One who watches, in the event loop it was made in."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._latest: Task | None = None
        self._closed = False

    async def changed(self, seconds: float) -> Task | None:
        """The task as it is now, when it has changed since the last call; None where it does not within the time.
        FeedClosed where it never will."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return None
        self.check()
        self._changed.clear()
        return self._latest

    def check(self) -> None:
        """FeedClosed where there will be no more changes."""
        if self._closed:
            raise FeedClosed

    def tell(self, task: Task) -> None:
        self._loop.call_soon_threadsafe(self._see, task)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self._closed = True
        self._changed.set()

    def _see(self, task: Task) -> None:
        self._latest = task
        self._changed.set()


class TaskFeed:
    def __init__(self) -> None:
        self._watches: defaultdict[str, set[TaskSubscription]] = defaultdict(set)
        self._listeners: list[Callable[[Task], None]] = []
        self._changing = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """Everybody who watches is told that it is over, and so is who comes later."""
        with self._changing:
            self._closed = True
            for watches in self._watches.values():
                for watch in watches:
                    watch.close()

    def listen(self, listener: Callable[[Task], None]) -> None:
        """`listener` is told of every change of every task, in the thread that made it; it must be quick."""
        self._listeners.append(listener)

    def publish(self, task: Task) -> None:
        for listener in self._listeners:
            try:
                listener(task)
            except Exception:
                log.exception("a listener failed")  # the task goes on: it is on record already
        with self._changing:
            for subject in (task.id, task.instance_id):
                for watch in self._watches.get(subject, ()):
                    watch.tell(task)

    @contextmanager
    def watching(self, subject: str) -> Iterator[TaskSubscription]:
        """`subject` is the id of a task, or of an instance for all of its tasks."""
        watch = TaskSubscription()
        with self._changing:
            self._watches[subject].add(watch)
            if self._closed:
                watch.close()
        try:
            yield watch
        finally:
            with self._changing:
                self._watches[subject].discard(watch)
                if not self._watches[subject]:
                    del self._watches[subject]

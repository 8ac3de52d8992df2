"""Publishes changes of tasks to subscribers within this process, so that they need not poll.

Any thread can publish. A subscriber gets the latest state and may miss states in between.
"""

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager

from cachewright.errors import CachewrightError
from cachewright.model.tasks import Task

log = logging.getLogger(__name__)


class FeedClosed(CachewrightError):
    """The server is stopping; there are no more changes."""


class TaskSubscription:
    """Subscription to changes of a task. Belongs to the event loop that created it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._latest: Task | None = None
        self._closed = False

    async def changed(self, seconds: float) -> Task | None:
        """Wait for a change since the last call; None after `seconds` without one. FeedClosed if the feed is closed."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return None
        self.check()
        self._changed.clear()
        return self._latest

    def check(self) -> None:
        """FeedClosed if the feed is closed."""
        if self._closed:
            raise FeedClosed

    def send(self, task: Task) -> None:
        self._loop.call_soon_threadsafe(self._update, task)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self._closed = True
        self._changed.set()

    def _update(self, task: Task) -> None:
        if self._latest and self._latest.id == task.id and task.revision < self._latest.revision:
            return  # changes of another server may arrive late
        self._latest = task
        self._changed.set()


class TaskFeed:
    def __init__(self) -> None:
        self._subscriptions: defaultdict[str, set[TaskSubscription]] = defaultdict(set)
        self._listeners: list[Callable[[Task], None]] = []
        self._changing = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """Close all present and future subscriptions."""
        with self._changing:
            self._closed = True
            for subscriptions in self._subscriptions.values():
                for subscription in subscriptions:
                    subscription.close()

    def listen(self, listener: Callable[[Task], None]) -> None:
        """Call `listener` for every change of every task, in the publishing thread; it must return quickly."""
        self._listeners.append(listener)

    def publish(self, task: Task) -> None:
        for listener in self._listeners:
            try:
                listener(task)
            except Exception:
                log.exception("a listener failed")  # the change is already stored
        self.relay(task)

    def watched(self) -> Set[str]:
        """Return the subjects with subscribers."""
        with self._changing:
            return set(self._subscriptions)

    def relay(self, task: Task) -> None:
        """Publish a change to subscribers alone: another server has counted it."""
        with self._changing:
            for subject in (task.id, task.instance_id):
                for subscription in self._subscriptions.get(subject, ()):
                    subscription.send(task)

    @contextmanager
    def watching(self, subject: str) -> Iterator[TaskSubscription]:
        """Subscribe to `subject`: the id of a task, or of an instance for all its tasks."""
        subscription = TaskSubscription()
        with self._changing:
            self._subscriptions[subject].add(subscription)
            if self._closed:
                subscription.close()
        try:
            yield subscription
        finally:
            with self._changing:
                self._subscriptions[subject].discard(subscription)
                if not self._subscriptions[subject]:
                    del self._subscriptions[subject]

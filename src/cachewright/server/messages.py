"""Messages of the other servers on the same PostgreSQL database: new tasks, and changes of tasks.

They only save time. Tasks whose message is lost are found by housekeeping; clients of event streams get the present
state when the connection is there again.
"""

import logging
import threading
from collections.abc import Callable, Mapping

from cachewright.errors import DatabaseUnavailable
from cachewright.model.tasks import Task
from cachewright.store import tasks
from cachewright.store.database import Database
from cachewright.store.notifications import announce_task, listen, server_channels
from cachewright.tasks.feed import TaskFeed

log = logging.getLogger(__name__)


class Messages:
    def __init__(
        self, database: Database, feed: TaskFeed, performs: Callable[[str], bool], enqueue: Callable[[Task], None]
    ) -> None:
        """:param feed: gets changes of other servers.
        :param performs: whether this server performs a task, so that the feed has its changes already.
        :param enqueue: passes a task to the engine, if this server performs tasks.
        """
        self._database = database
        self._feed = feed
        self._performs = performs
        self._enqueue = enqueue
        self._stopped = threading.Event()

    def start(self) -> None:
        threading.Thread(
            target=listen,
            args=(self._database.workflow_url, self._receivers, self._stopped, self._relay_watched),
            name="messages",
            daemon=True,
        ).start()

    def stop(self) -> None:
        self._stopped.set()

    def announce(self, task: Task) -> None:
        """Tell the server that performs tasks about a new one. It is no failure of a request if that is not
        possible."""
        try:
            announce_task(self._database, task.id)
        except DatabaseUnavailable as error:
            log.warning("task %s of instance %s is enqueued later: %s", task.id, task.instance_id, error)

    def _receivers(self) -> Mapping[str, Callable[[str], None]]:
        new, changed = server_channels(self._database)
        return {new: self._new, changed: self._changed}

    def _new(self, task_id: str) -> None:
        if task := self._load(task_id):
            self._enqueue(task)

    def _changed(self, message: str) -> None:
        task_id, instance_id = message.split()
        if not self._performs(task_id) and {task_id, instance_id} & self._feed.watched():
            self._relay(task_id)

    def _relay_watched(self) -> None:
        for subject in self._feed.watched():
            self._relay(subject)

    def _relay(self, task_id: str) -> None:
        if task := self._load(task_id):
            self._feed.relay(task)

    def _load(self, task_id: str) -> Task | None:
        with self._database.read() as connection:
            return tasks.find(connection, task_id)

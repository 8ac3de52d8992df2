"""Queues of DBOS that wake up when a workflow is enqueued, and are otherwise polled once a second.

DBOS polls each queue on its own thread with a fixed interval, and cannot wake that thread. A short interval costs a
tenth of a core while idle. All workflows are enqueued by this process, so it can wake the thread: DBOS listens to no
queue, and its worker `queue_worker_thread` runs here with a stop event whose wait can end early. DBOS still owns the
queue, the order and recovery after a crash.

`queue_worker_thread` is not part of DBOS's public API, which has no equivalent. It is used only with tested versions of
DBOS. With newer versions, or with the option `--queue-polling`, DBOS polls the queues itself; workflows then start up
to a few seconds later.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from dbos import DBOS, Queue, SetEnqueueOptions, SetWorkflowID

from cachewright.store.driver_errors import translate_errors

log = logging.getLogger(__name__)

IDLE_SECONDS = 1.0
_BUSY_SECONDS = 0.05
_KEEP_AWAKE_SECONDS = 1.0
"""Time of frequent polling after an event: DBOS records the end of a workflow with a delay, and the next can start
then."""

_END_SECONDS = 10.0

POLLED_SECONDS = 0.25
"""Interval with which DBOS polls a queue itself."""

_TESTED = (3, 4)
"""Newest DBOS version whose `queue_worker_thread` the tests cover."""


class WakeableQueue:
    """A partitioned queue that runs one workflow of each partition at a time."""

    def __init__(self, name: str, at_once: int | None = None, *, polling: bool = False) -> None:
        """:param at_once: maximum number of concurrent workflows of all partitions; None for no limit.
        :ivar polling: DBOS polls the queue itself, always so with an untested version, and must listen to it.
        """
        self.name = name
        self.polling = polling or not is_tested(version("dbos"))
        self._at_once = at_once
        self._event = _WakeEvent()
        self._worker: threading.Thread | None = None

    def start(self, dbos: DBOS) -> None:
        """Start the worker. `dbos` must be launched and, unless `polling` is set, listen to no queue."""
        queue = DBOS.register_queue(
            self.name,
            partition_concurrency=1,
            worker_concurrency=self._at_once,
            polling_interval_sec=POLLED_SECONDS if self.polling else IDLE_SECONDS,
            on_conflict="always_update",
        )
        if self.polling:
            log.info("queue %s is polled by DBOS %s, every %g s", self.name, version("dbos"), POLLED_SECONDS)
            return
        self._worker = threading.Thread(target=self._work, args=(dbos, queue), name=f"queue {self.name}", daemon=True)
        self._worker.start()
        self.wake()

    def stop(self) -> None:
        """Start no more workflows. A queue that DBOS polls stops with DBOS."""
        self._event.set()
        if self._worker:
            self._worker.join(_END_SECONDS)

    def enqueue(
        self,
        workflow_id: str,
        partition: str,
        workflow: Callable[[str], Coroutine[Any, Any, None]],
        argument: str,
        delay_seconds: float | None = None,
    ) -> None:
        """Queue the workflow behind the others of its partition; do nothing if it is queued. Raises
        DatabaseUnavailable."""
        options = SetEnqueueOptions(queue_partition_key=partition, delay_seconds=delay_seconds)
        with translate_errors(), SetWorkflowID(workflow_id), options:
            DBOS.enqueue_workflow(self.name, workflow, argument)
        if delay_seconds is None:
            self.wake()

    def wake(self) -> None:
        """Make the worker check the queue."""
        self._event.wake()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Context of a running workflow: keeps the worker awake at its end, when the next of its partition can
        start."""
        try:
            yield
        finally:
            self._event.keep_awake()

    def _work(self, dbos: DBOS, queue: Queue) -> None:
        from dbos._queue import queue_worker_thread  # noqa: PLC0415  # a newer DBOS may not have it

        while not self._event.is_set():
            try:
                queue_worker_thread(self._event, dbos, queue)
            except Exception:
                log.exception("unexpected error in the worker of queue %s; restarting it", self.name)
            self._event.wait(IDLE_SECONDS)


def is_tested(dbos_version: str) -> bool:
    """Whether the tests cover `queue_worker_thread` of this version of DBOS."""
    return tuple(int(part) for part in re.findall(r"\d+", dbos_version)[:2]) <= _TESTED


class _WakeEvent(threading.Event):
    """Stop event for DBOS's worker. `wake` ends a wait early; `keep_awake` shortens waits for a second."""

    def __init__(self) -> None:
        super().__init__()
        self._wake = threading.Event()
        self._quiet_at = 0.0

    def wake(self) -> None:
        self.keep_awake()
        self._wake.set()

    def keep_awake(self) -> None:
        was_quiet = self._is_quiet()
        self._quiet_at = time.monotonic() + _KEEP_AWAKE_SECONDS
        if was_quiet:
            self._wake.set()

    def set(self) -> None:
        super().set()
        self._wake.set()

    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_set():
            self._wake.wait(timeout if self._is_quiet() else _BUSY_SECONDS)
            self._wake.clear()
        return self.is_set()

    def _is_quiet(self) -> bool:
        return time.monotonic() >= self._quiet_at

"""Queues of DBOS that are polled seldom while nothing happens, and at once when something is put in line.

DBOS polls each queue on a thread of its own, at one interval, and has nothing to wake that thread. An interval short
enough for whoever waits costs a tenth of a core for as long as nobody does. Whatever is put in line is put there by
this very process, so it can wake the thread itself: DBOS is told to listen to no queue, and its own worker,
`queue_worker_thread`, is run here with a stop event whose wait ends early. What is in line, whose turn it is and what
a crash leaves of it is DBOS's affair as before.

That function is no public API of DBOS, and there is none for this. Nothing else of its inside is used.
"""

import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from dbos import DBOS, Queue, SetEnqueueOptions, SetWorkflowID
from dbos._queue import queue_worker_thread

log = logging.getLogger(__name__)

SELDOM_SECONDS = 1.0
_OFTEN_SECONDS = 0.05
_ASTIR_SECONDS = 1.0
"""For so long after something happened the queue is polled often: what ended is on record a little later, and the next
in line may begin then."""

_END_SECONDS = 10.0


class PromptQueue:
    """A queue of partitions, in each of which one workflow runs at a time."""

    def __init__(self, name: str, at_once: int | None = None) -> None:
        """`at_once`: workflows of all partitions together; None for any number."""
        self.name = name
        self._at_once = at_once
        self._bell = _Bell()
        self._worker: threading.Thread | None = None

    def start(self, dbos: DBOS) -> None:
        """`dbos` has been launched, and listens to no queue itself."""
        queue = DBOS.register_queue(
            self.name,
            partition_concurrency=1,
            worker_concurrency=self._at_once,
            polling_interval_sec=SELDOM_SECONDS,
            on_conflict="always_update",
        )
        self._worker = threading.Thread(target=self._work, args=(dbos, queue), name=f"queue {self.name}", daemon=True)
        self._worker.start()
        self.wake()

    def stop(self) -> None:
        """Nothing more is begun."""
        self._bell.set()
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
        """Puts it in line behind the others of its partition; does nothing where it is in line."""
        options = SetEnqueueOptions(queue_partition_key=partition, delay_seconds=delay_seconds)
        with SetWorkflowID(workflow_id), options:
            DBOS.enqueue_workflow(self.name, workflow, argument)
        if delay_seconds is None:
            self.wake()

    def wake(self) -> None:
        """Something may be in line."""
        self._bell.ring()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Around a workflow of this queue: when it has ended, the next of its partition may begin."""
        try:
            yield
        finally:
            self._bell.stir()

    def _work(self, dbos: DBOS, queue: Queue) -> None:
        while not self._bell.is_set():
            try:
                queue_worker_thread(self._bell, dbos, queue)
            except Exception:
                log.exception("the worker of queue %s was interrupted; it goes on", self.name)
            self._bell.wait(SELDOM_SECONDS)


class _Bell(threading.Event):
    """Set to stop, as its listener knows it. Rung, it ends a wait early; stirred, it keeps waits short for a while."""

    def __init__(self) -> None:
        super().__init__()
        self._rung = threading.Event()
        self._quiet_at = 0.0

    def ring(self) -> None:
        self.stir()
        self._rung.set()

    def stir(self) -> None:
        was_quiet = self._is_quiet()
        self._quiet_at = time.monotonic() + _ASTIR_SECONDS
        if was_quiet:
            self._rung.set()

    def set(self) -> None:
        super().set()
        self._rung.set()

    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_set():
            self._rung.wait(timeout if self._is_quiet() else _OFTEN_SECONDS)
            self._rung.clear()
        return self.is_set()

    def _is_quiet(self) -> bool:
        return time.monotonic() >= self._quiet_at

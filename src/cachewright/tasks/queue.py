"""Queues of DBOS that are polled seldom while nothing happens, and at once when something is put in line.

DBOS polls each queue on a thread of its own, at one interval, and has nothing to wake that thread. An interval short
enough for whoever waits costs a tenth of a core for as long as nobody does. Whatever is put in line is put there by
this very process, so it can wake the thread itself: DBOS is told to listen to no queue, and its own worker,
`queue_worker_thread`, is run here with a stop event whose wait ends early. What is in line, whose turn it is and what
a crash leaves of it is DBOS's affair as before.

That function is no public API of DBOS, and there is none for this. Nothing else of its inside is used, and it is used
only with a version of DBOS that the tests have run with. With a newer one, or where the operator chooses it, DBOS polls
the queues itself, through its public API alone: a workflow then begins up to a few seconds later.
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

SELDOM_SECONDS = 1.0
_OFTEN_SECONDS = 0.05
_ASTIR_SECONDS = 1.0
"""For so long after something happened the queue is polled often: what ended is on record a little later, and the next
in line may begin then."""

_END_SECONDS = 10.0

POLLED_SECONDS = 0.25
"""Between two polls of a queue that DBOS polls itself."""

_TESTED = (3, 4)
"""The DBOS version whose `queue_worker_thread` the tests have run."""


class WakeableQueue:
    """A queue of partitions, in each of which one workflow runs at a time."""

    def __init__(self, name: str, at_once: int | None = None, *, polling: bool = False) -> None:
        """`at_once`: workflows of all partitions together; None for any number. `polling`: DBOS polls the queue itself,
        as it always does with a version that has not been tested.

        :ivar polling: whether DBOS polls it itself, and so must listen to it.
        """
        self.name = name
        self.polling = polling or not is_tested(version("dbos"))
        self._at_once = at_once
        self._bell = _WakeEvent()
        self._worker: threading.Thread | None = None

    def start(self, dbos: DBOS) -> None:
        """`dbos` has been launched, and listens to no queue itself unless `polling` is set."""
        queue = DBOS.register_queue(
            self.name,
            partition_concurrency=1,
            worker_concurrency=self._at_once,
            polling_interval_sec=POLLED_SECONDS if self.polling else SELDOM_SECONDS,
            on_conflict="always_update",
        )
        if self.polling:
            log.info("queue %s is polled by DBOS %s, every %g s", self.name, version("dbos"), POLLED_SECONDS)
            return
        self._worker = threading.Thread(target=self._work, args=(dbos, queue), name=f"queue {self.name}", daemon=True)
        self._worker.start()
        self.wake()

    def stop(self) -> None:
        """Begins nothing more. A queue that DBOS polls itself ends with DBOS."""
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
        """Queue the workflow behind the others of its partition; do nothing if it is queued. Raises
        DatabaseUnavailable."""
        options = SetEnqueueOptions(queue_partition_key=partition, delay_seconds=delay_seconds)
        with translate_errors(), SetWorkflowID(workflow_id), options:
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
        from dbos._queue import queue_worker_thread  # noqa: PLC0415  # a newer DBOS may not have it

        while not self._bell.is_set():
            try:
                queue_worker_thread(self._bell, dbos, queue)
            except Exception:
                log.exception("unexpected error in the worker of queue %s; restarting it", self.name)
            self._bell.wait(SELDOM_SECONDS)


def is_tested(dbos_version: str) -> bool:
    """Whether the private function that runs a queue's worker is known to work in this version of DBOS."""
    return tuple(int(part) for part in re.findall(r"\d+", dbos_version)[:2]) <= _TESTED


class _WakeEvent(threading.Event):
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

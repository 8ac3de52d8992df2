"""Notices that calls to agents have ended: one query for all that wait in a schema, however many they are."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from dbos import DBOSClient

from cachewright.logs import RARELY
from cachewright.store.driver_errors import translate_errors
from cachewright.store.workflow_runs import ENDED

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.05
_PAUSE_PER_POLL = 4.0
"""A pause is as many times as long as the queries before it, so that many hosts do not fill the database."""

Client = Callable[[str], DBOSClient]
"""Returns DBOS's client for a schema."""


class CallEnds:
    """Thread-safe. Its thread runs while calls wait."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._waiting: dict[str, dict[str, Future[None]]] = {}
        self._thread: threading.Thread | None = None

    def expect(self, schema: str, call_id: str) -> Future[None]:
        """Return a future that is done when the call has ended, or cannot be read: then it has the error. A cancelled
        one is forgotten."""
        future: Future[None] = Future()
        future.add_done_callback(lambda _: self._forget(schema, call_id))
        with self._lock:
            self._waiting.setdefault(schema, {})[call_id] = future
            if self._thread is None:
                self._thread = threading.Thread(target=self._poll, name="ends of calls", daemon=True)
                self._thread.start()
        return future

    def _forget(self, schema: str, call_id: str) -> None:
        with self._lock:
            calls = self._waiting.get(schema, {})
            calls.pop(call_id, None)
            if not calls:
                self._waiting.pop(schema, None)

    def _poll(self) -> None:
        while True:
            begun = time.monotonic()
            with self._lock:
                waiting = {schema: dict(calls) for schema, calls in self._waiting.items()}
                if not waiting:
                    self._thread = None
                    return
            for schema, calls in waiting.items():
                self._look(schema, calls)
            time.sleep(max(_POLL_SECONDS, _PAUSE_PER_POLL * (time.monotonic() - begun)))

    def _look(self, schema: str, calls: dict[str, Future[None]]) -> None:
        """Complete the futures of those calls that have ended."""
        try:
            with translate_errors():
                found = self._client(schema).list_workflows(
                    workflow_ids=list(calls), status=ENDED, load_input=False, load_output=False
                )
        except Exception as error:
            log.warning("ends of calls to agents cannot be read: %s", type(error).__name__, extra=RARELY)
            for future in calls.values():
                if future.set_running_or_notify_cancel():
                    future.set_exception(error)
            return
        for run in found:
            future = calls[run.workflow_id]
            if future.set_running_or_notify_cancel():
                future.set_result(None)

"""Audit entries of refused requests. Repeated ones are counted in one row, so that they cannot fill the database."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec
import sqlalchemy as sa

from cachewright.model.audit import AuditEntry
from cachewright.store import audit

_MOST_KEYS = 10_000

Key = tuple[str | None, ...]


class _Stored(msgspec.Struct):
    """The rows of one key within its window.

    :ivar since: beginning of the window.
    :ivar rows: sequence number and request id of the last added rows.
    :ivar added: number of requests with their own rows.
    """

    since: float
    rows: Sequence[tuple[int, str]]
    added: int = 1


class AuditRepeats:
    def __init__(self, window_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """A window begins with the first request of a key. A request after its end begins a new window."""
        self._window = window_seconds
        self._clock = clock
        self._stored: OrderedDict[Key, _Stored] = OrderedDict()

    def add(self, connection: sa.Connection, key: Key, entries: Sequence[AuditEntry], *, singly: int = 1) -> None:
        """Store the entries of one request, in the caller's write transaction. Within a window, the first `singly`
        requests of a key have their own rows. Later ones are counted in the last of these rows."""
        now = self._clock()
        stored = self._stored.get(key)
        if stored is not None and now - stored.since >= self._window:
            stored = None
        if stored is not None and stored.added >= singly:
            # The rows are missing if their transaction was not committed, or if they were deleted.
            counted = [audit.count_again(connection, sequence, request_id) for sequence, request_id in stored.rows]
            if any(counted):
                return
        rows = [(audit.add(connection, entry), entry.request_id) for entry in entries]
        if stored is None:
            self._stored[key] = _Stored(since=now, rows=rows)
            self._stored.move_to_end(key)
            while len(self._stored) > _MOST_KEYS:
                self._stored.popitem(last=False)
        else:
            stored.rows = rows
            stored.added += 1

"""Audit entries of refused calls. Repeated ones are counted in one row, so that they cannot fill the database."""

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

    :ivar rows: number and request id of the rows that were added last.
    :ivar added: how many calls have rows of their own.
    """

    since: float
    rows: Sequence[tuple[int, str]]
    added: int = 1


class AuditRepeats:
    def __init__(self, window_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """A window begins with the first call of a key; a call after its end begins another."""
        self._window = window_seconds
        self._clock = clock
        self._stored: OrderedDict[Key, _Stored] = OrderedDict()

    def add(self, connection: sa.Connection, key: Key, entries: Sequence[AuditEntry], *, singly: int = 1) -> None:
        """Stores the entries of one call, in the caller's write transaction. Within a window the first `singly` calls
        of a key have rows of their own; each later one is counted in the rows of the last of these."""
        now = self._clock()
        known = self._stored.get(key)
        if known is not None and now - known.since >= self._window:
            known = None
        if known is not None and known.added >= singly:
            # Where that transaction was not committed, or the rows are deleted, there is nothing to count in.
            counted = [audit.count_again(connection, sequence, request_id) for sequence, request_id in known.rows]
            if any(counted):
                return
        rows = [(audit.add(connection, entry), entry.request_id) for entry in entries]
        if known is None:
            self._stored[key] = _Stored(since=now, rows=rows)
            self._stored.move_to_end(key)
            while len(self._stored) > _MOST_KEYS:
                self._stored.popitem(last=False)
        else:
            known.rows = rows
            known.added += 1

"""The audit log: entries of requests that may change something, and their list.

The entry of a request is stored in the transaction of the change and completed before the response is sent, so that
every change has an entry. A refused request needs one write transaction; repeated refusals are counted in one entry.
"""

import asyncio
import logging

import msgspec

from cachewright import errors
from cachewright.errors import DatabaseUnavailable
from cachewright.model.audit import AuditEntry
from cachewright.model.identity import Principal
from cachewright.services.audit_repeats import AuditRepeats
from cachewright.store import audit
from cachewright.store.audit import PendingEntry
from cachewright.store.database import Database

__all__ = ["AuditLog", "PendingEntry"]

log = logging.getLogger(__name__)

_REPEATS_SECONDS = 60.0
_SINGLY = 10
"""Requests per minute that fail for the same reason and have their own entries. If the role forbids them, only one has.
"""
_NOT_ALLOWED = 403


class AuditLog:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._refused = AuditRepeats(_REPEATS_SECONDS)

    def begin(self, entry: AuditEntry) -> PendingEntry:
        """Let the first write transaction of this request store `entry`. The request is the current asyncio task with
        the threads that work for it."""
        pending = PendingEntry(entry)
        audit.PENDING.set(pending)
        return pending

    async def complete(self, pending: PendingEntry, status: int, error_code: str | None) -> None:
        """Store the result of the request. If the database is unavailable, the entry stays incomplete: the change was
        made, and the response reports its success."""
        pending.close()
        if pending.sequence is None and error_code == errors.DATABASE_UNAVAILABLE:
            return  # nothing was changed, and the request has already waited for the database
        try:
            await asyncio.to_thread(self._complete, pending, status, error_code)
        except DatabaseUnavailable as error:
            entry = pending.entry
            log.warning("the audit entry of %s (%s) stays without its end: %s", entry.request_id, entry.action, error)

    def _complete(self, pending: PendingEntry, status: int, error_code: str | None) -> None:
        entry = msgspec.structs.replace(pending.entry, status=status, error_code=error_code)
        with self._database.write() as connection:
            if pending.sequence is not None:
                audit.end(connection, pending.sequence, status, error_code, entry.subjects)
            elif error_code is None:
                audit.add(connection, entry)
            else:
                singly = 1 if status == _NOT_ALLOWED else _SINGLY
                key = (entry.user_id, entry.project_id, entry.action, error_code)
                self._refused.add(connection, key, [entry], singly=singly)

    def page(
        self,
        principal: Principal,
        *,
        offset: int,
        limit: int,
        start: int | None,
        end: int | None,
        user_name: str | None,
    ) -> tuple[int, list[AuditEntry]]:
        """Return the number of entries of the project from `start` to `end` (epoch milliseconds), and one page of them,
        newest first."""
        with self._database.read() as connection:
            return audit.page(
                connection, principal.project_id, offset=offset, limit=limit, start=start, end=end, user_name=user_name
            )

"""Before a route does anything: may this caller do it, and how is it recorded?

An entry of the audit log is stored in the transaction of the change itself and completed before the answer, so that no
change is without one, whatever dies in between. A call that is refused has one write transaction, and calls that are
refused over and over are counted. Nothing of a body gets there but the ids of what a call concerns.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
from litestar import Request
from litestar.types import HTTPScope

from cachewright import errors
from cachewright.api.auth.limits import RateLimit
from cachewright.api.auth.permissions import OPTION, Action, require
from cachewright.api.responses import ERROR_CODE, REQUEST_ID
from cachewright.clock import now_ms
from cachewright.errors import DatabaseUnavailable
from cachewright.model.audit import AuditEntry
from cachewright.model.identity import Identity
from cachewright.services.audit_repeats import AuditRepeats
from cachewright.services.sign_in_audit import Origin
from cachewright.store import audit
from cachewright.store.database import Database

log = logging.getLogger(__name__)

IDENTITY = "identity"
THREADS = "request_threads"
"""Name of the application's `RequestThreads` in its state."""

_ENTRY = "audit_entry"
_PATH_LIMIT = 300
_MOST_SUBJECTS = 100
_REPEATS_SECONDS = 60.0
_SINGLY = 10
"""So many calls a minute that fail for one reason have entries of their own; of those that the role does not allow it
is one."""
_NOT_ALLOWED = 403
_UNWRITTEN = errors.DATABASE_UNAVAILABLE

Guard = Callable[[Request[Any, Any, Any]], Awaitable[None]]


def guarding(changes: RateLimit) -> Guard:
    """What the framework calls before each route, before it reads any parameter. ApiError DCS.2007, or DCS.4962 where
    one user asks for more changes than `changes` allows."""

    async def guard(request: Request[Any, Any, Any]) -> None:
        action: Action | None = request.scope["route_handler"].opt[OPTION]
        if action is None:
            return
        state = request.scope["state"]
        identity: Identity = state[IDENTITY]
        if action.changing:
            changes.count(identity.user_id)
            pending = audit.PendingEntry(_entry(request, identity, action))
            state[_ENTRY] = pending
            audit.PENDING.set(pending)
        require(identity, action)

    return guard


def name_subjects(request: Request[Any, Any, Any], ids: Iterable[str]) -> None:
    """Records which instances a call concerns whose path does not say so, up to 100 of them."""
    pending: audit.PendingEntry | None = request.scope["state"].get(_ENTRY)
    if pending is not None:
        subjects = tuple(dict.fromkeys(ids))[:_MOST_SUBJECTS]
        pending.entry = msgspec.structs.replace(pending.entry, subjects=subjects)


class CallAudit:
    """Completes the entries of calls that were to change something."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._refused = AuditRepeats(_REPEATS_SECONDS)

    async def conclude(self, scope: HTTPScope, status: int) -> None:
        """Called when the answer is about to be sent. A database that does not take it leaves the entry without an end:
        what was asked for has been done, and the caller is told so."""
        pending: audit.PendingEntry | None = scope["state"].pop(_ENTRY, None)
        if pending is None:
            return
        pending.close()
        error_code = scope["state"].get(ERROR_CODE)
        if pending.sequence is None and error_code == _UNWRITTEN:
            return  # nothing was changed, and the database has just been waited for
        try:
            await asyncio.to_thread(self._end, pending, status, error_code)
        except DatabaseUnavailable as error:
            entry = pending.entry
            log.warning("the audit entry of %s (%s) stays without its end: %s", entry.request_id, entry.action, error)

    def _end(self, pending: audit.PendingEntry, status: int, error_code: str | None) -> None:
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


def _entry(request: Request[Any, Any, Any], identity: Identity, action: Action) -> AuditEntry:
    return AuditEntry(
        at=now_ms(),
        request_id=request.scope["state"][REQUEST_ID],
        project_id=identity.project_id,
        user_id=identity.user_id,
        user_name=identity.user_name,
        credential=identity.credential,
        source=source(request.scope),
        action=action.name,
        method=str(request.scope.get("method")),
        path=request.scope["path"][:_PATH_LIMIT],
    )


def source(scope: Any) -> str:
    """The address that a request came from."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def origin(scope: Any) -> Origin:
    """The request that signs in, for the audit log."""
    return Origin(
        request_id=scope["state"][REQUEST_ID],
        source=source(scope),
        method=str(scope.get("method")),
        path=scope["path"][:_PATH_LIMIT],
    )

"""Authorization of a request and its audit entry, before the route runs.

An audit entry (`services.audit_log`) contains nothing from the body except the ids of the affected instances.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
from litestar import Request
from litestar.types import HTTPScope

from cachewright.api.auth.limits import RateLimit
from cachewright.api.auth.permissions import OPTION, Action, require
from cachewright.api.responses import ERROR_CODE, REQUEST_ID
from cachewright.clock import now_ms
from cachewright.model.audit import AuditEntry
from cachewright.model.identity import Identity
from cachewright.services.audit_log import AuditLog, PendingEntry
from cachewright.services.sign_in_audit import Origin

IDENTITY = "identity"
THREADS = "request_threads"
"""Name of the application's `RequestThreads` in its state."""

_ENTRY = "audit_entry"
_PATH_LIMIT = 300
_MOST_SUBJECTS = 100

Guard = Callable[[Request[Any, Any, Any]], Awaitable[None]]


def guarding(changes: RateLimit, audit_log: AuditLog) -> Guard:
    """Return a function for the framework to call before each route and before it reads any parameter. That raises
    ApiError DCS.2007, or DCS.4962 if a user sends more changes than `changes` allows."""

    async def guard(request: Request[Any, Any, Any]) -> None:
        action: Action | None = request.scope["route_handler"].opt[OPTION]
        if action is None:
            return
        state = request.scope["state"]
        identity: Identity = state[IDENTITY]
        if action.changing:
            changes.count(identity.user_id)
            state[_ENTRY] = audit_log.begin(_entry(request, identity, action))
        require(identity, action)

    return guard


def name_subjects(request: Request[Any, Any, Any], ids: Iterable[str]) -> None:
    """Record what a request affects, at most 100 ids or addresses, if its path does not contain it."""
    pending: PendingEntry | None = request.scope["state"].get(_ENTRY)
    if pending is not None:
        subjects = tuple(dict.fromkeys(ids))[:_MOST_SUBJECTS]
        pending.entry = msgspec.structs.replace(pending.entry, subjects=subjects)


async def complete_entry(audit_log: AuditLog, scope: HTTPScope, status: int) -> None:
    """Complete the audit entry of a request that may have changed something, before its response is sent."""
    pending: PendingEntry | None = scope["state"].pop(_ENTRY, None)
    if pending is not None:
        await audit_log.complete(pending, status, scope["state"].get(ERROR_CODE))


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
    """Return the address of the client."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def origin(scope: Any) -> Origin:
    """Return the request of a sign-in, for the audit log."""
    return Origin(
        request_id=scope["state"][REQUEST_ID],
        source=source(scope),
        method=str(scope.get("method")),
        path=scope["path"][:_PATH_LIMIT],
    )

"""Before a route does anything: may this caller do it, and is it on record that it was asked for?

An entry of the audit log is written before the change and completed before the answer, so that no change is without
one, whatever dies in between. Nothing of a body gets there.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import sqlalchemy as sa
from litestar import Request
from litestar.types import HTTPScope

from cachewright.api.answers import ERROR_CODE, REQUEST_ID
from cachewright.api.auth.permissions import OPTION, Action, require
from cachewright.store import audit
from cachewright.store.database import Database
from cachewright.store.records import AuditEntry, Identity
from cachewright.tasks.clock import now_ms
from cachewright.threads import RequestThreads

log = logging.getLogger(__name__)

IDENTITY = "identity"
THREADS = "request_threads"
"""Name of the application's `RequestThreads` in its state."""

_ENTRY = "audit_entry"

Guard = Callable[[Request[Any, Any, Any]], Awaitable[None]]


def guarding(database: Database) -> Guard:
    """What the framework calls before each route, before it reads any parameter. Refusal DCS.2007."""

    async def guard(request: Request[Any, Any, Any]) -> None:
        action: Action | None = request.scope["route_handler"].opt[OPTION]
        if action is None:
            return
        state = request.scope["state"]
        identity: Identity = state[IDENTITY]
        if action.changing:
            entry = _entry(request, identity, action)
            threads: RequestThreads = request.app.state[THREADS]
            owner = identity.project_id or identity.user_id
            state[_ENTRY] = await threads.change(owner, lambda: record(database, entry))
        require(identity, action)

    return guard


def record(database: Database, entry: AuditEntry) -> int:
    with database.write() as connection:
        return audit.add(connection, entry)


async def conclude(database: Database, scope: HTTPScope, status: int) -> None:
    """Called when the answer is about to be sent. A database that does not take it leaves the entry without an end:
    what was asked for has been done, and the caller is told so."""
    entry = scope["state"].pop(_ENTRY, None)
    if entry is None:
        return

    def end() -> None:
        with database.write() as connection:
            audit.end(connection, entry, status, scope["state"].get(ERROR_CODE))

    try:
        await asyncio.to_thread(end)
    except sa.exc.OperationalError as error:
        log.warning("audit entry %s stays without its end: %s", entry, error.orig)


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
        path=request.scope["path"],
    )


def source(scope: Any) -> str:
    """The address that a request came from."""
    client = scope.get("client")
    return str(client[0]) if client else ""
